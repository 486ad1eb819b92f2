import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SourceError } from './errors.ts';
import type { KubeApi, RequestOptions } from './kube-client.ts';
import { type KubeObject, objectKey } from './kube-object.ts';
import { Reflector, type Sink } from './reflector.ts';

/** One answer of the API server: a list, a watch, or a failure. */
type Step =
  | { readonly list: readonly KubeObject[]; readonly version: string }
  | { readonly watch: readonly KubeObject[]; readonly failing?: Error }
  | { readonly fail: Error };

const named = (name: string, version: string): KubeObject => ({ metadata: { name, resourceVersion: version } });
const event = (type: string, object: KubeObject): KubeObject => ({ type, object });
const status = (code: number): SourceError =>
  new SourceError({ code: 'API_STATUS', object: '/x', status: code }, `status ${code}`);

/** Plays `steps` in order, then keeps a watch open until it is aborted. */
class ScriptedApi implements KubeApi {
  readonly calls: string[] = [];
  readonly #steps: Step[];

  constructor(steps: readonly Step[]) {
    this.#steps = [...steps];
  }

  /** The script is over and a watch stays open. */
  idle = false;

  async request(_method: string, _path: string, options: RequestOptions = {}): Promise<KubeObject> {
    this.calls.push(options.query?.limit === 1 ? 'age' : 'list');
    const step = this.#steps.shift();
    if (step !== undefined && 'fail' in step) throw step.fail;
    assert.ok(step !== undefined && 'list' in step, 'a list was asked for that the script does not have');
    return { metadata: { resourceVersion: step.version }, items: step.list };
  }

  async *stream(_path: string, options: RequestOptions): AsyncIterable<KubeObject> {
    this.calls.push(`watch ${options.query?.resourceVersion}`);
    const step = this.#steps.shift();
    if (step !== undefined && 'fail' in step) throw step.fail;
    if (step !== undefined && 'watch' in step) {
      yield* step.watch;
      if (step.failing !== undefined) throw step.failing;
      return;
    }
    this.idle = true;
    await new Promise<void>(resolve => options.signal?.addEventListener('abort', () => resolve()));
  }
}

class MemorySink implements Sink {
  readonly objects = new Map<string, string>();
  replaced = 0;

  replace(objects: readonly KubeObject[]): void {
    this.replaced += 1;
    this.objects.clear();
    for (const object of objects) this.apply(object);
  }

  apply(object: KubeObject): void {
    this.objects.set(objectKey(object), object.metadata?.resourceVersion ?? '');
  }

  remove(object: KubeObject): void {
    this.objects.delete(objectKey(object));
  }
}

async function play(
  steps: readonly Step[],
  optional = false,
): Promise<{ api: ScriptedApi; sink: MemorySink; reflector: Reflector }> {
  const api = new ScriptedApi(steps);
  const sink = new MemorySink();
  const reflector = new Reflector({ name: 'x', path: '/x', optional }, { api, sink, random: () => 1 });
  reflector.start();
  while (!api.idle) await new Promise(resolve => setTimeout(resolve, 5));
  await new Promise(resolve => setTimeout(resolve, 5));
  await reflector.stop();
  return { api, sink, reflector };
}

test('list, then watch from its version; events in order', async () => {
  const { api, sink } = await play([
    { list: [named('a', '1'), named('b', '2')], version: '5' },
    { watch: [event('MODIFIED', named('a', '6')), event('DELETED', named('b', '7')), event('ADDED', named('c', '8'))] },
  ]);
  assert.deepEqual(Object.fromEntries(sink.objects), { a: '6', c: '8' });
  assert.deepEqual(api.calls, ['list', 'watch 5', 'watch 8']);
  assert.equal(sink.replaced, 1);
});

test('a bookmark moves the version and changes nothing', async () => {
  const { api, sink } = await play([
    { list: [named('a', '1')], version: '5' },
    { watch: [event('BOOKMARK', { metadata: { resourceVersion: '90' } })] },
  ]);
  assert.equal(api.calls.at(-1), 'watch 90');
  assert.deepEqual([...sink.objects.keys()], ['a']);
});

for (const [name, step] of [
  ['as an event', { watch: [event('ERROR', { code: 410, message: 'too old' })] }],
  ['as a status', { fail: status(410) }],
] as const) {
  test(`410 Gone ${name}: listed again, what is gone is deleted`, async () => {
    const { api, sink } = await play([
      { list: [named('a', '1'), named('b', '2')], version: '5' },
      step,
      { list: [named('b', '2')], version: '20' },
    ]);
    assert.deepEqual([...sink.objects.keys()], ['b']);
    assert.equal(api.calls.at(-1), 'watch 20');
  });
}

test('a server that came back older is listed again', async () => {
  const { api, sink } = await play([
    { list: [named('a', '900')], version: '1000' },
    { watch: [], failing: new SourceError({ code: 'API_UNREACHABLE', object: '/x' }, 'gone') },
    { list: [], version: '999' },
    { list: [named('old', '3')], version: '999' },
  ]);
  assert.deepEqual(api.calls, ['list', 'watch 1000', 'age', 'list', 'watch 999']);
  assert.deepEqual([...sink.objects.keys()], ['old']);
});

test('a server that came back newer resumes where we were', async () => {
  const { api } = await play([
    { list: [named('a', '900')], version: '1000' },
    { watch: [], failing: new SourceError({ code: 'API_UNREACHABLE', object: '/x' }, 'gone') },
    { list: [], version: '1500' },
  ]);
  assert.deepEqual(api.calls, ['list', 'watch 1000', 'age', 'watch 1000']);
});

test('an unreachable server deletes nothing and initializes nothing', async () => {
  const down = new SourceError({ code: 'API_UNREACHABLE', object: '/x' }, 'refused');
  const { sink, reflector } = await play([{ fail: down }, { list: [named('a', '1')], version: '5' }]);
  assert.equal(sink.replaced, 1);
  assert.equal(reflector.health.failures, 1);
  assert.equal(reflector.health.synced, true);
});

test('a resource that is not registered yet counts as empty when optional', async () => {
  const { sink } = await play([{ fail: status(404) }, { list: [named('a', '1')], version: '5' }], true);
  assert.equal(sink.replaced, 2);
});
