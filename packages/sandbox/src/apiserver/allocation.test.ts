import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parsePrefix } from '@ciliate/model';
import { allocatePodCidrs, allocateService, checkRanges, type Ranges, ServiceIndex } from './allocation.ts';
import { type JsonObject, type KubeObject, listAt, numberAt, textAt } from './object.ts';
import { ApiError } from './status.ts';

const ranges: Ranges = {
  serviceCidrs: ['10.96.0.0/24', 'fd00:10:96::/112'].map(parsePrefix),
  podCidrs: ['10.244.0.0/16', 'fd00:10:244::/56'].map(parsePrefix),
  nodePorts: [30_000, 30_001],
  nodeMaskIPv4: 24,
  nodeMaskIPv6: 64,
};
const service = (name: string, spec: JsonObject): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name, namespace: 'default' },
  spec: { ports: [{ port: 80 }], ...spec },
});
const index = new ServiceIndex();
const allocate = (given: KubeObject, before?: KubeObject, among = index): KubeObject =>
  allocateService(given, before, among.takenByOthers(given), ranges);

describe('services', () => {
  const cases: readonly (readonly [string, JsonObject, readonly RegExp[]])[] = [
    ['one family by default', {}, [/^10\.96\.0\.\d+$/]],
    ['dual stack when preferred', { ipFamilyPolicy: 'PreferDualStack' }, [/^10\.96\.0\./, /^fd00:10:96::/]],
    ['IPv6 first when asked', { ipFamilyPolicy: 'RequireDualStack', ipFamilies: ['IPv6'] }, [/^fd00:/, /^10\./]],
    ['headless has none', { clusterIP: 'None' }, [/^None$/]],
    ['the address that is asked for', { clusterIP: '10.96.0.10' }, [/^10\.96\.0\.10$/]],
  ];
  for (const [name, spec, expected] of cases) {
    test(name, () => {
      const addresses = listAt(allocate(service('a', spec)), 'spec', 'clusterIPs').map(String);
      assert.equal(addresses.length, expected.length);
      for (const [at, pattern] of expected.entries()) assert.match(addresses[at] ?? '', pattern);
    });
  }

  const wrong: readonly (readonly [string, JsonObject, RegExp])[] = [
    ['an address outside the range', { clusterIP: '10.1.0.1' }, /spec\.clusterIPs\[0\].*not in the valid range/],
    ['an address that is none', { clusterIP: 'x' }, /spec\.clusterIPs\[0\].*must be a valid IP/],
    [
      'a node port outside the range',
      { type: 'NodePort', ports: [{ port: 80, nodePort: 80 }] },
      /spec\.ports\[0\]\.nodePort.*30000-30001/,
    ],
  ];
  for (const [name, spec, message] of wrong) {
    test(`${name} is refused`, () => {
      assert.throws(
        () => allocate(service('a', spec)),
        (error: unknown) => error instanceof ApiError && error.httpCode === 422 && message.test(error.message),
      );
    });
  }

  test('what another service has is taken, until it is gone; when no node port is free the range is named', () => {
    const among = new ServiceIndex();
    const first = allocate(service('a', { type: 'NodePort', clusterIP: '10.96.0.20' }), undefined, among);
    among.add(first);
    assert.throws(() => allocate(service('b', { clusterIP: '10.96.0.20' }), undefined, among), /already allocated/);
    const second = allocate(service('b', { type: 'NodePort' }), undefined, among);
    among.add(second);
    const ports = [first, second].map(made => numberAt(made, 'spec', 'ports', 0, 'nodePort'));
    assert.deepEqual(ports.toSorted(), [30_000, 30_001]);
    assert.throws(() => allocate(service('c', { type: 'NodePort' }), undefined, among), /--service-node-port-range/);
    among.remove(first);
    assert.equal(
      textAt(allocate(service('c', { clusterIP: '10.96.0.20' }), undefined, among), 'spec', 'clusterIP'),
      '10.96.0.20',
    );
  });

  test('an update keeps address and node port, and may not change the address', () => {
    const before = allocate(service('a', { type: 'NodePort' }));
    const after = allocate(service('a', { type: 'NodePort', ports: [{ port: 80 }] }), before);
    assert.deepEqual(after.spec, before.spec);
    assert.throws(() => allocate(service('a', { clusterIP: '10.96.0.99' }), before), /may not change once set/);
  });
});

describe('pod CIDRs', () => {
  test('each node has one of each family; the first that is free', () => {
    const node = (name: string): KubeObject => ({ apiVersion: 'v1', kind: 'Node', metadata: { name } });
    const first = allocatePodCidrs(node('n1'), [], ranges);
    const second = allocatePodCidrs(node('n2'), [first], ranges);
    assert.deepEqual(listAt(first, 'spec', 'podCIDRs'), ['10.244.0.0/24', 'fd00:10:244::/64']);
    assert.deepEqual(listAt(second, 'spec', 'podCIDRs'), ['10.244.1.0/24', 'fd00:10:244:1::/64']);
  });

  test('a range that overlaps the services is refused and both options are named', () => {
    const podCidrs = [parsePrefix('10.96.0.0/12')];
    assert.throws(() => checkRanges({ ...ranges, podCidrs }), /--pod-cidrs 10\.96\.0\.0\/12.*--service-cidrs/);
  });
});
