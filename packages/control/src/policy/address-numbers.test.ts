/** Numbers of blocks and of single addresses: when addresses get and lose them, and what they stand for. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  ciliumNetworkPolicyFromK8s,
  defineTables,
  type EndpointRow,
  type NodeConfig,
  type NodeRow,
  networkPolicyFromK8s,
  nodeConfigDefaults,
  type Parsed,
  type PolicyRow,
  parseAddress,
} from '@ciliate/model';
import { createDatabase, done, FakeClock } from '@ciliate/tables';
import { nothingRestored, registerControllers } from '../register-controllers.ts';
import { PolicyLookup } from './lookup.ts';
import { type BlockRestore, linger } from './restore-policy.ts';

function rowOf(parsed: Parsed<PolicyRow>): PolicyRow {
  assert.ok('row' in parsed, JSON.stringify(parsed));
  assert.deepEqual(parsed.row.refused, []);
  return parsed.row;
}

const node = (name: string, labels: Readonly<Record<string, string>>): NodeRow => ({
  ...{ name, labels, local: name === 'n1', annotations: {}, podCIDRs: [], healthAddresses: [] },
  addresses: [{ type: 'InternalIP', address: `172.30.0.1${name.slice(1)}` }],
  routerAddresses: [parseAddress(`10.244.${name.slice(1)}.1`)],
});

const pod: EndpointRow = {
  ...{ id: 5, containerId: 'c', containerDevice: 'eth0', netns: '', network: '', device: 'lxc5', ifindex: 9 },
  ...{ mac: '02:00:00:00:00:01', nodeMac: '02:00:00:00:00:02', addresses: [parseAddress('10.244.1.5')] },
  ...{ podNamespace: 'shop', podName: 'web', podUid: '', kind: 'pod', state: 'ready', identity: 300 },
  labels: { 'k8s:app': 'web', 'k8s:io.kubernetes.pod.namespace': 'shop' },
};

function setup(config: Partial<NodeConfig> = {}, blocks: BlockRestore = nothingRestored.blocks) {
  const clock = new FakeClock(1_000_000);
  const db = createDatabase();
  const tables = defineTables(db);
  const errors: unknown[] = [];
  const modules = { database: db, clock, onError: (error: unknown) => void errors.push(error) };
  const all = { ...nodeConfigDefaults, nodeName: 'n1', ...config };
  const controllers = registerControllers(tables, all, modules, { ...nothingRestored, blocks });
  for (const controller of controllers) controller.start();
  db.write(txn => {
    tables.endpoints.insert(txn, pod);
    tables.identities.insert(txn, { id: 300, labels: pod.labels, reserved: false });
    for (const [name, zone] of Object.entries({ n1: 'a', n2: 'a', n3: 'b' })) {
      tables.nodes.insert(txn, node(name, { zone, host: name }));
    }
  });
  const settle = () => clock.advance(100);
  /** The kernel takes every policy map. */
  const load = async () => {
    await settle();
    db.write(txn => {
      for (const row of tables.policyGroups.all()) tables.policyGroups.insert(txn, { ...row, status: done(0) });
    });
    await settle();
    assert.deepEqual(errors, []);
  };
  const apply = (spec: object, name = 'p') =>
    db.write(txn => {
      const object = { metadata: { name, namespace: 'shop' }, spec: { endpointSelector: {}, ...spec } };
      tables.ciliumPolicies.insert(txn, rowOf(ciliumNetworkPolicyFromK8s(object)));
    });
  const remove = (name = 'p') =>
    db.write(txn => void tables.ciliumPolicies.delete(txn, `CiliumNetworkPolicy/shop/${name}`));
  const outside = (prefix: string) => tables.ipcacheRows.get(prefix)?.value.identity;
  const ofNode = (address: string) => tables.nodeClassRows.get(address)?.value.identity;
  const ofPrefix = (prefix: string) => tables.policyClassRows.get(prefix)?.value.identity;
  /** What the pod's map says to a packet for somebody. */
  const egress = (identity: number, classIdentity = 0): boolean => {
    const entries =
      tables.policyGroups
        .all()
        .find(row => row.identity === 300)
        ?.content.entries() ?? [];
    return new PolicyLookup(entries).ask({ direction: 1, identity, classIdentity, protocol: 6, port: 80 }).allowed;
  };
  return { clock, db, tables, settle, load, apply, remove, outside, ofNode, ofPrefix, egress };
}

describe('numbers of address blocks', () => {
  test('an address gets a number when the policy maps know it, and loses it before they forget it', async () => {
    const { clock, settle, load, apply, remove, outside, egress } = setup();
    apply({ egress: [{ toEntities: ['world'] }] }, 'world');
    await load();
    apply({ egress: [{ toCIDR: ['192.0.2.0/24'] }] });
    await settle();
    assert.equal(outside('192.0.2.0/24'), undefined, 'the map is not loaded: for the kernel it is the world');
    await load();
    const id = outside('192.0.2.0/24') ?? 0;
    assert.equal(egress(id), true);
    remove();
    await settle();
    assert.equal(outside('192.0.2.0/24'), undefined);
    assert.equal(egress(id), true, 'packets that are under way');
    await clock.advance(linger + 100);
    assert.equal(egress(id), false);
  });

  test('a deny holds for a part of its block that another rule begins to name', async () => {
    const { settle, load, apply, outside, egress } = setup();
    apply({ egressDeny: [{ toCIDR: ['192.0.2.0/24'] }], enableDefaultDeny: { egress: false } }, 'deny');
    await load();
    apply({ egress: [{ toCIDR: ['192.0.2.7/32'] }] });
    await settle();
    assert.equal(outside('192.0.2.7/32'), undefined);
    await load();
    assert.equal(egress(outside('192.0.2.7/32') ?? 0), false);
  });

  test('what is named again meanwhile keeps its number', async () => {
    const { clock, load, apply, remove, outside } = setup();
    apply({ egress: [{ toCIDR: ['192.0.2.0/24'] }] });
    await load();
    const before = outside('192.0.2.0/24');
    remove();
    await clock.advance(linger / 2);
    apply({ egress: [{ toCIDR: ['192.0.2.0/24'] }] });
    await load();
    assert.equal(outside('192.0.2.0/24'), before);
    await clock.advance(2 * linger);
    await load();
    assert.equal(outside('192.0.2.0/24'), before);
  });

  test('numbers of before a restart hold at once, so that nothing is the world for a moment', async () => {
    const prefix = '192.0.2.0/24' as BlockRestore['cidrs'][number][0];
    const { settle, apply, outside } = setup({}, { ...nothingRestored.blocks, cidrs: [[prefix, 0x0100_0007]] });
    apply({ egress: [{ toCIDR: [prefix] }] });
    await settle();
    assert.equal(outside(prefix), 0x0100_0007);
  });

  test('::/0 means no IPv4, though maps write IPv4 as a part of it', async () => {
    const { db, tables, load, apply, outside, ofPrefix } = setup();
    apply({ egress: [{ toCIDR: ['::/0'] }] });
    const spec = { podSelector: {}, policyTypes: ['Egress'], egress: [{ to: [{ ipBlock: { cidr: '::/0' } }] }] };
    const row = rowOf(networkPolicyFromK8s({ metadata: { name: 'six', namespace: 'shop' }, spec }));
    db.write(txn => void tables.policies.insert(txn, row));
    await load();
    assert.equal(outside('0.0.0.0/0'), 2);
    assert.equal(ofPrefix('0.0.0.0/0'), 0);
    apply({ egress: [{ toCIDR: ['::/0', '0.0.0.0/0'] }] });
    await load();
    assert.ok((outside('0.0.0.0/0') ?? 0) >= 0x0100_0000);
  });
});

describe('numbers of nodes', () => {
  const toZone = (zone: string) => ({ egress: [{ toNodes: [{ matchLabels: { zone } }] }] });

  test('nodes are told apart by the labels that policies name, and by no other', async () => {
    const { tables, load, apply, ofNode, egress } = setup();
    await load();
    assert.equal(tables.nodeClassRows.size, 0, 'nobody asks');
    apply(toZone('a'));
    await load();
    const second = ofNode('172.30.0.12') ?? 0;
    assert.equal(ofNode('10.244.2.1'), second, 'the router too');
    assert.equal(egress(6, second), true);
    assert.equal(egress(6, ofNode('172.30.0.13')), false, 'another zone');
    assert.equal(egress(1, ofNode('172.30.0.11')), false, 'this node is the entity host');
    assert.equal(egress(6), false, 'a node of which nothing is known');
    assert.equal(tables.addressClasses.size, 3);
  });

  test('a node keeps its number until the maps know the next', async () => {
    const { db, tables, settle, load, apply, ofNode, egress } = setup();
    apply({ egressDeny: [{ toNodes: [{ matchLabels: { zone: 'a' } }] }], enableDefaultDeny: { egress: false } });
    apply({ egress: [{ toNodes: [{ matchLabels: { host: 'n9' } }] }], enableDefaultDeny: { egress: false } }, 'other');
    await load();
    const before = ofNode('172.30.0.12') ?? 0;
    assert.equal(egress(6, before), false);
    db.write(txn => void tables.nodes.insert(txn, node('n2', { zone: 'a', host: 'n9' })));
    await settle();
    assert.equal(ofNode('172.30.0.12'), before, 'never without one: the deny holds');
    await load();
    const now = ofNode('172.30.0.12') ?? 0;
    assert.notEqual(now, before);
    assert.equal(egress(6, now), false);
  });

  test('a node that goes takes its numbers with it, later in maps than for addresses', async () => {
    const { clock, db, tables, load, apply, ofNode } = setup();
    apply(toZone('b'));
    await load();
    db.write(txn => void tables.nodes.delete(txn, 'n3'));
    await load();
    assert.equal(ofNode('172.30.0.13'), undefined);
    assert.equal(tables.addressClasses.size, 3);
    await clock.advance(linger + 100);
    assert.equal(tables.addressClasses.size, 2);
  });

  test('blocks hold nodes where policy-cidr-match-mode says so', async () => {
    const rule = { egress: [{ toCIDRSet: [{ cidr: '172.30.0.0/24', except: ['172.30.0.13/32'] }] }] };
    const off = setup();
    off.apply(rule);
    await off.load();
    assert.equal(off.tables.nodeClassRows.size, 0);
    const { load, apply, ofNode, egress } = setup({ policyCIDRMatchesNodes: true });
    apply(rule);
    await load();
    assert.equal(egress(1, ofNode('172.30.0.11')), true, 'this node');
    assert.equal(egress(6, ofNode('172.30.0.12')), true);
    assert.equal(egress(6, ofNode('172.30.0.13')), false, 'the exception');
    assert.equal(ofNode('10.244.2.1'), undefined, 'an address that no block holds');
  });
});

test('a port name means to each pod of an ipBlock what the pod calls so', async () => {
  const { db, tables, load, ofPrefix, egress } = setup();
  const remote = (last: number, port: number) => ({
    ...{ namespace: 'shop', name: `db-${last}`, identity: 400, nodeAddress: parseAddress('172.30.0.12') },
    addresses: [parseAddress(`10.244.2.${last}`)],
    namedPorts: { sql: { port, protocol: 'TCP' } } as const,
  });
  const to = [{ ipBlock: { cidr: '10.244.0.0/16', except: ['10.244.2.8/32'] } }];
  const spec = { podSelector: {}, policyTypes: ['Egress'], egress: [{ to, ports: [{ port: 'sql' }] }] };
  const row = rowOf(networkPolicyFromK8s({ metadata: { name: 'sql', namespace: 'shop' }, spec }));
  db.write(txn => {
    tables.policies.insert(txn, row);
    tables.identities.insert(txn, { id: 400, labels: { 'k8s:app': 'db' }, reserved: false });
    for (const [last, port] of [
      [6, 80],
      [7, 5432],
      [8, 80],
    ] as const)
      tables.remoteEndpoints.insert(txn, remote(last, port));
  });
  await load();
  assert.equal(egress(400, ofPrefix('10.244.2.6/32')), true);
  assert.equal(egress(400, ofPrefix('10.244.2.7/32')), false, 'another port');
  assert.equal(egress(400, ofPrefix('10.244.2.8/32')), false, 'left out');
});

describe('identities of pods', () => {
  const far = (identity: number, last = 9) => ({
    ...{ namespace: 'shop', name: `far-${last}`, identity, namedPorts: {}, nodeAddress: parseAddress('172.30.0.12') },
    addresses: [parseAddress(`10.244.2.${last}`)],
  });

  test('an address has its identity when the policy maps know it; until then nobody is known for it, or who was', async () => {
    const { db, tables, settle, load, apply, outside } = setup();
    apply({
      ingressDeny: [{ fromEndpoints: [{ matchLabels: { app: 'evil' } }] }],
      enableDefaultDeny: { ingress: false },
    });
    await load();
    db.write(txn => {
      tables.remoteEndpoints.insert(txn, far(400));
    });
    await load();
    assert.equal(outside('10.244.2.9/32'), 3, 'the identity itself is not known');
    const labels = { 'k8s:app': 'evil', 'k8s:io.kubernetes.pod.namespace': 'shop' };
    db.write(txn => void tables.identities.insert(txn, { id: 400, labels, reserved: false }));
    await settle();
    assert.equal(outside('10.244.2.9/32'), 3, 'its deny is not loaded');
    await load();
    assert.equal(outside('10.244.2.9/32'), 400);
    db.write(txn => {
      tables.identities.insert(txn, { id: 401, labels, reserved: false });
      tables.remoteEndpoints.insert(txn, far(401));
    });
    await settle();
    assert.equal(outside('10.244.2.9/32'), 400);
    await load();
    assert.equal(outside('10.244.2.9/32'), 401);
    db.write(txn => void tables.remoteEndpoints.delete(txn, 'shop/far-9'));
    await settle();
    assert.equal(outside('10.244.2.9/32'), undefined);
  });

  test('what denies somebody lets nobody through who is not known', async () => {
    const { tables, load, apply } = setup();
    apply({
      ingressDeny: [{ fromEndpoints: [{ matchLabels: { app: 'evil' } }] }],
      enableDefaultDeny: { ingress: false },
    });
    await load();
    const entries =
      tables.policyGroups
        .all()
        .find(row => row.identity === 300)
        ?.content.entries() ?? [];
    const lookup = new PolicyLookup(entries);
    const ask = (known: boolean) =>
      lookup.ask({ direction: 0, identity: 4711, classIdentity: 0, protocol: 6, port: 80, known }).allowed;
    assert.deepEqual([ask(true), ask(false)], [true, false]);
  });
});
