/** An agent that starts knows nothing of policies at first: what was open stays open and what was closed closed, for who was there. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EndpointFlags } from '@ciliate/abi';
import {
  addressBytes,
  ciliumNetworkPolicyFromK8s,
  type EndpointRow,
  type Labels,
  parseAddress,
  securityLabels,
} from '@ciliate/model';
import { type InputTable, makePolicyMaps, PolicyWorld } from './policy-world.ts';

const labelsOf = (app: string): Labels =>
  securityLabels({
    ...{ namespace: 'shop', podLabels: { app }, namespaceLabels: {}, serviceAccount: 'default', cluster: 'default' },
  });
const endpoint = (id: number, app: string, ifindex = id): EndpointRow => ({
  ...{ id, containerId: `c${id}`, containerDevice: 'eth0', netns: '', network: '', device: `lxc${id}`, ifindex },
  ...{ mac: '02:00:00:00:00:01', nodeMac: '02:00:00:00:00:02', addresses: [parseAddress(`10.244.1.${id}`)] },
  ...{ podNamespace: 'shop', podName: app, podUid: '', kind: 'pod', state: 'ready' },
  ...{ identity: 300 + id, labels: labelsOf(app) },
});
const { ENDPOINT_POLICY_INGRESS, ENDPOINT_POLICY_LOCKDOWN } = EndpointFlags;
const everything: readonly InputTable[] = [
  ...(['nodes', 'pods', 'namespaces', 'services', 'endpointSlices', 'remoteEndpoints', 'endpoints'] as const),
  ...(['identities', 'devices', 'policies', 'ciliumPolicies', 'clusterwidePolicies', 'cidrGroups'] as const),
  'localRedirects',
];

function setup() {
  const maps = makePolicyMaps(0, 1);
  const spec = { endpointSelector: { matchLabels: { app: 'server' } }, ingress: [{}] };
  const parsed = ciliumNetworkPolicyFromK8s({ metadata: { name: 'p', namespace: 'shop' }, spec });
  assert.ok('row' in parsed);
  const { row: policy } = parsed;
  const flags = (...ids: readonly number[]) =>
    ids.map(id => maps.endpoints.lookup({ address: addressBytes(parseAddress(`10.244.1.${id}`)) })?.flags);
  let lives = 0;
  /** A life of an agent that finds these endpoints; what they have before policies are known, and after that if they ever are. */
  const live = async (endpoints: readonly EndpointRow[], hears: boolean) => {
    lives += 1;
    const world = new PolicyWorld(maps, {}, lives * 100_000);
    const { database, tables } = world;
    const ids = endpoints.map(({ id }) => id);
    world.start();
    database.write(txn => {
      for (const row of endpoints) tables.endpoints.insert(txn, row);
    });
    world.synced(['endpoints']);
    await world.settle();
    const before = flags(...ids);
    if (hears) {
      database.write(txn => {
        tables.ciliumPolicies.insert(txn, policy);
        for (const { identity: id, labels } of endpoints) {
          tables.identities.insert(txn, { id, labels, reserved: false });
        }
      });
      world.synced(everything);
      await world.settle();
    }
    const after = flags(...ids);
    await world.stop();
    return [before, after];
  };
  return live;
}

const served = [endpoint(5, 'server'), endpoint(6, 'free')];
const [isolated, closed, open] = [ENDPOINT_POLICY_INGRESS, ENDPOINT_POLICY_LOCKDOWN, 0];

test('what a policy isolates stays so, and what none is about stays open, for who was there', async () => {
  const live = setup();
  assert.deepEqual(await live(served, true), [
    [open, open],
    [isolated, open],
  ]);
  for (const hears of [false, true, false]) {
    assert.deepEqual(await live(served, hears), [
      [isolated, open],
      [isolated, open],
    ]);
  }
});

test('who is new gets nothing through, nor who has an address that another had; and once more so for the next agent', async () => {
  const live = setup();
  await live(served, true);
  const next = [endpoint(5, 'server', 50), endpoint(6, 'free', 60), endpoint(7, 'new')];
  for (const hears of [false, false, true]) {
    assert.deepEqual(await live(next, hears), [
      [closed, closed, closed],
      hears ? [isolated, open, open] : [closed, closed, closed],
    ]);
  }
});
