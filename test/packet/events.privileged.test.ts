/** Events from the programs to a listener: through the kernel's ring buffer and the worker that reads it. */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { EventType, mapSpecs } from '@ciliate/abi';
import { EventStream } from '@ciliate/datapath';
import {
  createNetworkNamespace,
  inNetworkNamespace,
  KernelPerCpuMap,
  type LoadedObject,
  loadObject,
  removeNetworkNamespace,
  testRun,
} from '@ciliate/kernel';
import { eventually } from '../lib/cluster.ts';
import { privileged } from '../lib/privileged.ts';
import { fullConfig, objectPath } from './config.ts';
import { eth } from './packet.ts';

const namespace = `/run/netns/events-test-${process.pid}`;
/** Of drop events: struct event_header and 128 bytes of the packet, and the ring's own head. */
const ringHolds = Math.floor((1 << 20) / (40 + 128 + 8));

suite('events', privileged('bpf'), () => {
  let object: LoadedObject;
  let losses: KernelPerCpuMap<number, { readonly count: bigint }>;
  let stream: EventStream;
  const errors: unknown[] = [];
  const data = eth().ipv4('10.244.1.99', '10.0.0.1').tcp(1, 2, 'SYN').build();

  const fdOf = (map: string): number => {
    const fd = object.maps.get(map);
    assert.ok(fd !== undefined);
    return fd;
  };
  const kernelLost = (): number => (losses.lookup(0) ?? []).reduce((sum, { count }) => sum + Number(count), 0);
  /** Packets of a pod that nobody knows. */
  const drop = (times: number): void => {
    const program = object.programs.get('from_container');
    assert.ok(program !== undefined);
    inNetworkNamespace(namespace, () => testRun(program.fd, { data, repeat: times }));
  };

  before(() => {
    createNetworkNamespace(namespace);
    object = loadObject({ path: objectPath('lxc.bpf.o'), rodata: fullConfig() });
    losses = new KernelPerCpuMap(fdOf('events_lost'), mapSpecs.events_lost);
    stream = new EventStream({ ringFd: fdOf('events'), kernelLost, onError: error => errors.push(error) });
  });
  after(() => {
    stream?.stop();
    object?.close();
    removeNetworkNamespace(namespace);
  });

  test('a full ring: what finds no room is counted to the last record', () => {
    const before = kernelLost();
    drop(ringHolds + 1000);
    const lost = kernelLost() - before;
    assert.ok(lost >= 1000 && lost <= 1001, `${lost} lost`);
  });

  test('who subscribes hears what comes from then on; only the types that were asked for', async () => {
    const heard: Uint8Array[] = [];
    const others: Uint8Array[] = [];
    const unsubscribe = [
      stream.subscribe({
        types: [EventType.EVENT_DROP],
        record: bytes => heard.push(bytes),
        lost: count => assert.fail(`${count} lost`),
      }),
      stream.subscribe({
        types: [EventType.EVENT_TRACE],
        record: bytes => others.push(bytes),
        lost: count => assert.fail(`${count} lost`),
      }),
    ];
    drop(500);
    await eventually('500 records', async () => (heard.length >= 500 ? true : undefined), 10_000);
    await delay(50);
    assert.equal(heard.length, 500);
    assert.deepEqual(others, []);
    assert.deepEqual([heard[499]?.[0], heard[499]?.[1], heard[499]?.length], [EventType.EVENT_DROP, 132, 168]);
    for (const one of unsubscribe) one();
    assert.equal(stream.lost, 0);
  });

  test('left and come back at once: one reader after the other, nothing twice', async () => {
    let heard = 0;
    for (let round = 0; round < 3; round++)
      stream.subscribe({ record: () => heard++, lost: count => assert.fail(`${count} lost`) })();
    const unsubscribe = stream.subscribe({ record: () => heard++, lost: count => assert.fail(`${count} lost`) });
    drop(100);
    await eventually('100 records', async () => (heard >= 100 ? true : undefined), 10_000);
    await delay(50);
    assert.equal(heard, 100);
    unsubscribe();
  });

  test('a main thread that is busy: what is heard and what was lost make up what was sent', async () => {
    let heard = 0;
    let lost = 0;
    const unsubscribe = stream.subscribe({
      record: () => heard++,
      lost: count => {
        lost += count;
      },
    });
    drop(1);
    await eventually('the first record', async () => (heard === 1 ? true : undefined), 10_000);
    const total = 40 * ringHolds;
    for (let sent = 0; sent < total; sent += ringHolds) drop(ringHolds);
    await eventually('all is told', async () => (heard + lost === total + 1 ? true : undefined), 20_000);
    assert.ok(lost > 0, 'it was too fast to be lost');
    assert.equal(stream.lost, lost);
    unsubscribe();
    assert.deepEqual(errors, []);
  });
});
