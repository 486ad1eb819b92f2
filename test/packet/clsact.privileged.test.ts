/** Attaching without tcx, as kernels before 6.6 need it. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, suite, test } from 'node:test';
import {
  attachClsact,
  clsactProgram,
  createNetworkNamespace,
  type Direction,
  detachClsact,
  KernelError,
  type LoadedObject,
  loadObject,
  NetlinkSocket,
  removeNetworkNamespace,
} from '@ciliate/kernel';
import { privileged } from '../lib/privileged.ts';
import { fullConfig, objectPath } from './config.ts';

const namespace = `/run/netns/clsact-test-${process.pid}`;
const loopback = 1;

suite('clsact', privileged('bpf'), () => {
  let object: LoadedObject;
  let socket: NetlinkSocket;

  before(() => {
    createNetworkNamespace(namespace);
    socket = new NetlinkSocket(namespace);
    object = loadObject({ path: objectPath('host.bpf.o'), rodata: fullConfig() });
  });
  after(() => {
    socket?.close();
    object?.close();
    removeNetworkNamespace(namespace);
  });

  function attach(name: string, direction: Direction): string {
    const program = object.programs.get(name);
    assert.ok(program !== undefined);
    const ids = { program: program.fd, programId: program.info.id };
    return attachClsact(socket, { ifindex: loopback, direction, name, ...ids });
  }

  for (const direction of ['ingress', 'egress'] as const) {
    test(`${direction}: made, adopted, updated in place, taken off, taken off again`, () => {
      assert.equal(attach('from_netdev', direction), 'created');
      assert.equal(attach('from_netdev', direction), 'adopted');
      assert.equal(attach('to_netdev', direction), 'updated');
      assert.equal(clsactProgram(socket, loopback, direction), object.programs.get('to_netdev')?.info.id);
      detachClsact(socket, loopback, direction);
      assert.equal(clsactProgram(socket, loopback, direction), undefined);
      detachClsact(socket, loopback, direction);
    });
  }

  test('the filter acts directly, as tc itself shows it', () => {
    attach('from_netdev', 'ingress');
    const shown = execFileSync('nsenter', [`--net=${namespace}`, 'tc', 'filter', 'show', 'dev', 'lo', 'ingress']);
    assert.match(String(shown), /protocol all pref 1 bpf .*handle 0x1 from_netdev direct-action/);
  });

  test('a device that is not there is an error by name', () => {
    const program = object.programs.get('from_netdev');
    assert.ok(program !== undefined);
    const spec = { direction: 'ingress', name: 'x', program: program.fd, programId: program.info.id } as const;
    assert.throws(
      () => attachClsact(socket, { ifindex: 4711, ...spec }),
      (error: unknown) => error instanceof KernelError && error.errno === 'ENODEV' && /4711/.test(error.message),
    );
    detachClsact(socket, 4711, 'ingress');
  });
});
