/**
 * Random sequences of Kubernetes objects, several at once, some of them unreadable, with one map write in ten failing, prunes and restarts
 * between them: after every step the maps of the agent that lived through it all say the same as those of an agent that meets the objects
 * for the first time and whose writes all work.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { Kubernetes } from './kubernetes.ts';
import { mapText, type ScriptMaps } from './map-text.ts';
import { makeMaps, World } from './world.ts';

/** Small, for speed; a prime. */
const maglevSize = 251;

const some = <T>(...items: readonly T[]) => fc.subarray([...items]);
const policy = fc.constantFrom('Cluster', 'Cluster', 'Local');

const service = fc
  .record({
    name: fc.constantFrom('a', 'b', 'c'),
    type: fc.constantFrom('ClusterIP', 'NodePort', 'LoadBalancer', 'ExternalName'),
    clusterIP: fc.constantFrom('10.96.0.1', '10.96.0.2', 'fd00:96::1'),
    externalIPs: some('203.0.113.1', '203.0.113.2'),
    balancers: some('198.51.100.1', 'fd00:198::1'),
    ports: some({ name: 'x', port: 80, nodePort: 30080 }, { name: 'y', port: 81, protocol: 'UDP', nodePort: 30081 }),
    externalTrafficPolicy: policy,
    internalTrafficPolicy: policy,
    sessionAffinity: fc.constantFrom('None', 'ClientIP'),
    loadBalancerSourceRanges: some('192.0.2.0/24', '2001:db8::/32'),
    algorithm: fc.constantFrom('random', 'maglev'),
    trafficDistribution: fc.constantFrom(undefined, 'PreferSameZone', 'PreferSameNode'),
    created: fc.constantFrom('2026-01-01T00:00:00Z', '2026-01-02T00:00:00Z'),
    more: fc.constantFrom<Readonly<Record<string, string>>>(
      {},
      { 'service.cilium.io/node': 'shown' },
      { 'service.cilium.io/type': 'LoadBalancer' },
      { 'service.cilium.io/forwarding-mode': 'dsr' },
    ),
    labels: fc.constantFrom<Readonly<Record<string, string>>>({}, {}, {}, { 'service.kubernetes.io/headless': '' }),
  })
  .map(({ name, balancers, algorithm, created, more, labels, ...spec }) => ({
    kind: 'Service',
    metadata: {
      namespace: 'ns',
      name,
      labels,
      creationTimestamp: created,
      annotations: { 'service.cilium.io/lb-algorithm': algorithm, ...more },
    },
    spec,
    status: { loadBalancer: { ingress: balancers.map(ip => ({ ip })) } },
  }));

const endpoint = (addresses: readonly string[]) =>
  fc
    .record({
      address: fc.constantFrom(...addresses),
      ready: fc.boolean(),
      serving: fc.boolean(),
      terminating: fc.boolean(),
      zone: fc.constantFrom('z1', 'z2'),
    })
    .map(({ address, zone, ...conditions }) => ({
      addresses: [address],
      conditions,
      zone,
      hints: { forZones: [{ name: zone }] },
      nodeName: addresses.indexOf(address) % 2 === 0 ? 'node-1' : 'node-2',
    }));

const slice = fc.boolean().chain(ipv4 =>
  fc
    .record({
      name: fc.constantFrom('s1', 's2', 's3'),
      of: fc.constantFrom('a', 'b', 'c'),
      endpoints: fc.array(endpoint(ipv4 ? ['10.0.1.1', '10.0.2.1', '10.0.1.2'] : ['fd00:1::1', 'fd00:2::1']), {
        maxLength: 3,
      }),
    })
    .map(({ name, of, endpoints }) => ({
      kind: 'EndpointSlice',
      metadata: { namespace: 'ns', name, labels: { 'kubernetes.io/service-name': of } },
      addressType: ipv4 ? 'IPv4' : 'IPv6',
      ports: [
        { name: 'x', port: 8080 },
        { name: 'y', port: 8081, protocol: 'UDP' },
      ],
      endpoints,
    })),
);

const node = fc
  .record({
    zone: fc.constantFrom('z1', 'z2'),
    shown: fc.constantFrom('shown', 'hidden'),
    addresses: some('172.30.0.1', 'fd00:30::1', '198.51.100.1'),
  })
  .map(({ zone, shown, addresses }) => ({
    kind: 'Node',
    metadata: { name: 'node-1', labels: { 'topology.kubernetes.io/zone': zone, 'service.cilium.io/node': shown } },
    status: { addresses: addresses.map(address => ({ type: 'InternalIP', address })) },
  }));

const pod = fc
  .record({
    name: fc.constantFrom('p', 'q'),
    uid: fc.constantFrom('u', 'v'),
    ip: fc.constantFrom('10.0.1.8', '10.0.1.9'),
    hostPort: fc.constantFrom(0, 8080, 30080),
    hostIP: fc.constantFrom('', '127.0.0.1', '203.0.113.1'),
    role: fc.constantFrom('cache', 'other'),
    ready: fc.constantFrom('True', 'False'),
    phase: fc.constantFrom('Running', 'Running', 'Succeeded'),
  })
  .map(({ name, uid, ip, hostPort, hostIP, role, ready, phase }) => ({
    kind: 'Pod',
    metadata: { namespace: 'ns', name, uid, labels: { role } },
    spec: {
      nodeName: 'node-1',
      containers: [{ name: 'c', ports: [{ name: 'x', containerPort: 80, hostPort, hostIP }] }],
    },
    status: { phase, podIPs: [{ ip }], conditions: [{ type: 'Ready', status: ready }] },
  }));

const redirect = fc
  .record({
    name: fc.constantFrom('r', 't'),
    frontend: fc.constantFrom(
      { serviceMatcher: { namespace: 'ns', serviceName: 'a' } },
      { serviceMatcher: { namespace: 'ns', serviceName: 'b', toPorts: [{ name: 'x', port: '80' }] } },
      { addressMatcher: { ip: '169.254.1.1', toPorts: [{ port: '80' }] } },
      { addressMatcher: { ip: '10.96.0.1', toPorts: [{ port: '80' }] } },
    ),
    skipRedirectFromBackend: fc.boolean(),
  })
  .map(({ name, frontend, skipRedirectFromBackend }) => ({
    kind: 'CiliumLocalRedirectPolicy',
    metadata: { namespace: 'ns', name },
    spec: {
      redirectFrontend: frontend,
      skipRedirectFromBackend,
      redirectBackend: {
        localEndpointSelector: { matchLabels: { role: 'cache' } },
        toPorts: [{ name: 'x', port: '80', protocol: 'TCP' }],
      },
    },
  }));

const object = fc.oneof(
  { weight: 4, arbitrary: service },
  { weight: 4, arbitrary: slice },
  node,
  { weight: 2, arbitrary: pod },
  redirect,
);
const change = fc.record({ object, verb: fc.constantFrom('put', 'put', 'put', 'put', 'delete', 'delete', 'break') });
const steps = fc.array(
  fc.record({
    // What a batch of watch events brings: also an object that goes and comes again.
    changes: fc.array(change, { minLength: 1, maxLength: 3 }),
    after: fc.constantFrom('nothing', 'nothing', 'nothing', 'prune', 'restart'),
  }),
  { minLength: 5, maxLength: 15, size: 'max' },
);

/** What the maps hold, with addresses in place of ids. */
function meaning(maps: ScriptMaps): readonly string[] {
  const lines = mapText('lb', maps).split('\n');
  const names = new Map<string, string>();
  for (const line of lines) {
    const [, kind = '', id = '', where = ''] = /^(backend|revnat) (\d+) (\S+)/.exec(line) ?? [];
    if (kind !== '') names.set(`${kind} ${id}`, where);
  }
  const nameOf = (kind: string, id: string) => names.get(`${kind} ${id}`) ?? `unknown ${kind} ${id}`;
  const named = (text: string) => {
    if (text.startsWith('maglev')) {
      const [kind, id = '', ...shares] = text.split(' ');
      const counts = shares.map(share => share.replace(/^\d+/, backend => nameOf('backend', backend)));
      return `${kind} ${nameOf('revnat', id)} ${counts.sort().join(' ')}`;
    }
    return text
      .replaceAll(/(backend|revnat) (\d+)/g, (_, kind, id) => `${kind} ${nameOf(kind, id)}`)
      .replace(/^(affinity|source-range) (\d+)/, (_, kind, id) => `${kind} ${nameOf('revnat', id)}`);
  };
  return lines.map(named).sort();
}

type Objects = ReadonlyMap<string, object>;

async function freshMaps(objects: Objects): Promise<ScriptMaps> {
  const options = { faults: 0, seed: 1, config: { maglevSize } };
  const maps = makeMaps(options);
  const world = new World(maps, options);
  world.start();
  const kubernetes = new Kubernetes(world.tables);
  world.database.write(txn => {
    for (const one of objects.values()) kubernetes.apply(JSON.stringify(one), 'put', txn);
  });
  world.synced([]);
  await world.settle();
  await world.stop();
  return maps;
}

test('after every step, with failing writes, the maps are those of a fresh start', async () => {
  await fc.assert(
    fc.asyncProperty(steps, fc.integer({ min: 1, max: 1_000_000 }), async (sequence, seed) => {
      const options = { faults: 0.1, seed, config: { maglevSize } };
      let world = new World(makeMaps(options), options);
      let kubernetes = new Kubernetes(world.tables);
      world.start();
      world.synced([]);
      const objects = new Map<string, object>();
      for (const { changes, after } of sequence) {
        world.database.write(txn => {
          for (const { object: one, verb } of changes) {
            const key = `${one.kind} ${one.metadata.name}`;
            if (verb === 'delete') objects.delete(key);
            else if (verb === 'put') objects.set(key, one);
            // A version that nobody can read changes nothing, of itself or of others.
            const sent = verb === 'break' ? { ...one, spec: 'broken', endpoints: 'broken' } : one;
            const problems = kubernetes.problems.length;
            kubernetes.apply(JSON.stringify(sent), verb === 'delete' ? 'delete' : 'put', txn);
            if (verb === 'break') assert.ok(kubernetes.problems.length > problems, key);
          }
        });
        if (after === 'restart') {
          await world.stop();
          assert.deepEqual(world.errors, []);
          world = new World(world.maps, options);
          kubernetes = new Kubernetes(world.tables);
          world.start();
          world.database.write(txn => {
            for (const one of objects.values()) kubernetes.apply(JSON.stringify(one), 'put', txn);
          });
          world.synced([]);
        }
        await world.settle();
        if (after === 'prune') world.prune();
        await world.settle();
        assert.deepEqual(meaning(world.maps), meaning(await freshMaps(objects)));
      }
      assert.deepEqual(world.errors, []);
      await world.stop();
    }),
    { numRuns: 30 * Number(process.env.FUZZ ?? 1) },
  );
});
