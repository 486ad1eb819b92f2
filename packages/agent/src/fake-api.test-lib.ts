/** An API server's store in memory: create, get, list, merge-patch, delete with preconditions. */
import { type KubeApi, type KubeObject, type RequestOptions, SourceError } from '@ciliate/sources';

export class FakeApi implements KubeApi {
  readonly objects = new Map<string, KubeObject>();
  readonly requests: string[] = [];
  /** Called before each request is answered. */
  before: (method: string, path: string) => void = () => undefined;
  #version = 1;

  request(method: string, path: string, options: RequestOptions = {}): Promise<KubeObject> {
    this.requests.push(`${method} ${path}`);
    this.before(method, path);
    try {
      return Promise.resolve(this.#answer(method, path, (options.body ?? {}) as KubeObject));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Nothing is ever said. */
  async *stream(_path: string, { signal }: RequestOptions): AsyncIterable<KubeObject> {
    if (signal?.aborted === true) return;
    await new Promise(resolve => signal?.addEventListener('abort', resolve));
  }

  put(path: string, object: KubeObject): KubeObject {
    this.#version += 1;
    const name = path.slice(path.lastIndexOf('/') + 1);
    const namespace = /\/namespaces\/([^/]+)\//.exec(path)?.[1];
    const metadata = {
      ...{ name, uid: `uid-${this.#version}`, ...(namespace === undefined ? {} : { namespace }) },
      ...object.metadata,
      resourceVersion: String(this.#version),
    };
    const stored = { ...object, metadata };
    this.objects.set(path, stored);
    return stored;
  }

  #answer(method: string, path: string, body: KubeObject): KubeObject {
    const there = this.objects.get(path);
    switch (method) {
      case 'GET':
        return there ?? this.#list(path);
      case 'POST': {
        const target = `${path}/${body.metadata?.name ?? ''}`;
        if (this.objects.has(target)) throw status(409);
        return this.put(target, body);
      }
      case 'PATCH':
        if (there === undefined) throw status(404);
        return this.put(path, merge(there, body) as KubeObject);
      default: {
        const { uid, resourceVersion } = (body as { preconditions?: KubeObject['metadata'] }).preconditions ?? {};
        if (there === undefined) throw status(404);
        if (uid !== undefined && uid !== there.metadata?.uid) throw status(409);
        if (resourceVersion !== undefined && resourceVersion !== there.metadata?.resourceVersion) throw status(409);
        this.objects.delete(path);
        return {};
      }
    }
  }

  /** Of every namespace when the path names none. */
  #list(path: string): KubeObject {
    const collection = path.slice(path.lastIndexOf('/') + 1);
    const isSingle = /\/(ciliumidentities|ciliumendpoints|pods)\/[^/]+$/.test(path);
    if (isSingle) throw status(404);
    const items = [...this.objects].filter(([key]) => key.split('/').at(-2) === collection).map(([, object]) => object);
    return { items, metadata: {} } as KubeObject;
  }
}

const status = (code: number): SourceError =>
  new SourceError({ code: 'API_STATUS', object: '', status: code }, `answered ${code}`);

function merge(a: unknown, b: unknown): unknown {
  if (typeof a !== 'object' || a === null || typeof b !== 'object' || b === null || Array.isArray(b)) return b;
  const result: Record<string, unknown> = { ...a };
  for (const [key, value] of Object.entries(b)) result[key] = merge(result[key], value);
  return result;
}
