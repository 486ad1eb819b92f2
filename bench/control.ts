/**
 * The control plane against real kernel maps: `node bench/control.ts [--quick] [--only services|policy]` (root; with --only nothing is written). Services: from nothing to programmed, then single
 * changes of an EndpointSlice. Policy: identities × policies compiled, then a new identity and a new policy. Memory after each.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { GroupCheck } from '../packages/control/src/index.ts';
import {
  type EndpointSliceRow,
  endpointSliceFromK8s,
  networkPolicyFromK8s,
  type Parsed,
  parseAddress,
  securityLabels,
  serviceFromK8s,
} from '../packages/model/src/index.ts';
import { ControlWorld } from './lib/control-world.ts';

const { values } = parseArgs({
  options: { quick: { type: 'boolean', default: false }, only: { type: 'string', default: '' } },
});
const megabyte = 1024 * 1024;

function rowOf<Row>(parsed: Parsed<Row>): Row {
  if ('error' in parsed) throw new Error(parsed.error.message);
  return parsed.row;
}

const address = (net: number, i: number): string => `${net}.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`;

const service = (i: number) =>
  rowOf(
    serviceFromK8s({
      metadata: { namespace: 'bench', name: `s${i}` },
      spec: { clusterIP: address(10, i + 1), ports: [{ name: 'http', port: 80 }] },
    }),
  );

function slice(i: number, shift = 0): EndpointSliceRow {
  const endpoints = [0, 1, 2, 3].map(k => ({ addresses: [address(100, i * 4 + ((k + shift) % 5) + 1)] }));
  return rowOf(
    endpointSliceFromK8s({
      metadata: { namespace: 'bench', name: `s${i}-a`, labels: { 'kubernetes.io/service-name': `s${i}` } },
      addressType: 'IPv4',
      ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
      endpoints,
    }),
  );
}

const quantile = (sorted: readonly number[], q: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? 0;
const ms = (value: number): string => (value < 10 ? value.toFixed(2) : value.toFixed(0));

interface ServiceResult {
  readonly services: number;
  readonly programMs: number;
  readonly changeP50: number;
  readonly changeP99: number;
  readonly rssMb: number;
}

async function measureServices(count: number, changes: number): Promise<ServiceResult> {
  const world = new ControlWorld(Math.max(65_536, count * 7));
  world.start();
  await world.settle();
  const rows = Array.from({ length: count }, (_, i) => [service(i), slice(i)] as const);
  const began = performance.now();
  world.write(txn => {
    for (const [one, its] of rows) {
      world.tables.services.insert(txn, one);
      world.tables.endpointSlices.insert(txn, its);
    }
  });
  await world.settle();
  const programMs = performance.now() - began;
  const failing = world.tables.lbRows.all().filter(row => row.status.kind !== 'done').length;
  if (failing > 0) throw new Error(`${failing} frontends are not in the kernel`);
  const times: number[] = [];
  for (let n = 0; n < changes; n += 1) {
    const changed = slice((n * 7919) % count, 1 + (n % 4));
    const at = performance.now();
    world.write(txn => world.tables.endpointSlices.insert(txn, changed));
    await world.settle();
    times.push(performance.now() - at);
  }
  times.sort((a, b) => a - b);
  const rssMb = process.memoryUsage.rss() / megabyte;
  await world.stop();
  return { services: count, programMs, changeP50: quantile(times, 0.5), changeP99: quantile(times, 0.99), rssMb };
}

interface PolicyResult {
  readonly identities: number;
  readonly policies: number;
  readonly compileMs: number;
  readonly identityMs: number;
  readonly policyMs: number;
  /** Every entry in the kernel against what it shall be. */
  readonly verifyMs: number;
  readonly entries: number;
  readonly rssMb: number;
}

const namespaceOf = (i: number): string => `ns-${i % 100}`;

function identityLabels(i: number) {
  const namespace = namespaceOf(i);
  return securityLabels({
    namespace,
    podLabels: { app: `app-${i}`, tier: ['web', 'api', 'db', 'job'][i % 4] ?? '' },
    namespaceLabels: { 'kubernetes.io/metadata.name': namespace, team: `t${i % 10}` },
    serviceAccount: 'default',
    cluster: 'default',
  });
}

const policy = (i: number) =>
  rowOf(
    networkPolicyFromK8s({
      metadata: { namespace: namespaceOf(i), name: `p${i}` },
      spec: {
        podSelector: { matchLabels: { tier: ['web', 'api', 'db', 'job'][(i >> 2) % 4] } },
        ingress: [
          {
            from: [
              { podSelector: { matchLabels: { app: `app-${i}` } } },
              { namespaceSelector: { matchLabels: { team: `t${i % 10}` } } },
            ],
            ports: [{ port: 1000 + i }],
          },
        ],
      },
    }),
  );

function verified({ tables, policyMaps }: ControlWorld): number {
  const at = performance.now();
  for (const row of tables.policyGroups.all()) {
    const loaded = policyMaps.scan(row.id);
    if (loaded === undefined) continue;
    const found = new GroupCheck(row, loaded).step(Number.POSITIVE_INFINITY);
    if (found !== 'same') throw new Error(`policy map ${row.id} is not as it shall be`);
  }
  return performance.now() - at;
}

/** 100 pods run here; every policy of the cluster is known, every identity too. */
async function measurePolicy(identities: number, policies: number): Promise<PolicyResult> {
  const world = new ControlWorld(65_536);
  world.start();
  await world.settle();
  const { tables } = world;
  const local = 100;
  const insertIdentity = (i: number) =>
    world.write(txn => void tables.identities.insert(txn, { id: 256 + i, labels: identityLabels(i), reserved: false }));
  world.write(txn => {
    for (let i = 0; i < local; i += 1) {
      tables.endpoints.insert(txn, {
        ...{ id: i + 1, containerId: `c${i}`, containerDevice: 'eth0', netns: '', network: '', device: `lxc${i}` },
        ...{ ifindex: i + 10, mac: '02:00:00:00:00:01', nodeMac: '02:00:00:00:00:02' },
        addresses: [parseAddress(`10.244.1.${i + 2}`)],
        ...{ podNamespace: namespaceOf(i), podName: `pod-${i}`, podUid: '', kind: 'pod', state: 'ready' },
        identity: 256 + i,
        labels: identityLabels(i),
      });
    }
  });
  const began = performance.now();
  world.write(txn => {
    for (let i = 0; i < identities; i += 1) {
      tables.identities.insert(txn, { id: 256 + i, labels: identityLabels(i), reserved: false });
    }
    for (let i = 0; i < policies; i += 1) tables.policies.insert(txn, policy(i));
  });
  await world.settle();
  const compileMs = performance.now() - began;
  const failing = tables.policyGroups.all().filter(row => row.status.kind !== 'done');
  if (failing.length > 0)
    throw new Error(`${failing.length} groups are not in the kernel: ${JSON.stringify(failing[0]?.status)}`);
  const entries = tables.policyGroups.all().reduce((sum, row) => sum + row.content.size, 0);
  let at = performance.now();
  insertIdentity(identities);
  await world.settle();
  const identityMs = performance.now() - at;
  at = performance.now();
  world.write(txn => void tables.policies.insert(txn, policy(policies)));
  await world.settle();
  const policyMs = performance.now() - at;
  const verifyMs = verified(world);
  const rssMb = process.memoryUsage.rss() / megabyte;
  await world.stop();
  return { identities, policies, compileMs, identityMs, policyMs, verifyMs, entries, rssMb };
}

async function main(): Promise<void> {
  const sizes = values.quick ? [10, 1000] : [10, 1000, 10_000, 30_000];
  const services: ServiceResult[] = [];
  for (const size of values.only === 'policy' ? [] : sizes) {
    services.push(await measureServices(size, values.quick ? 50 : 300));
    process.stderr.write(`${JSON.stringify(services.at(-1))}\n`);
  }
  const grid = values.quick
    ? [[200, 10]]
    : [
        [200, 100],
        [2000, 100],
        [10_000, 100],
        [10_000, 1000],
      ];
  const policies: PolicyResult[] = [];
  for (const [identities = 0, count = 0] of values.only === 'services' ? [] : grid) {
    policies.push(await measurePolicy(identities, count));
    process.stderr.write(`${JSON.stringify(policies.at(-1))}\n`);
  }
  if (values.only !== '') return;
  const head = `${new Date().toISOString()}, Linux ${release()}, ${cpus().length} CPUs`;
  const text = `# Control plane

${head}. Real kernel maps, no traffic. 4 endpoints a service; memory is that of the whole process, after all sizes before it.

| services | from nothing | one EndpointSlice, p50 | p99 | RSS |
| --: | --: | --: | --: | --: |
${services.map(row => `| ${row.services} | ${ms(row.programMs)} ms | ${ms(row.changeP50)} ms | ${ms(row.changeP99)} ms | ${row.rssMb.toFixed(0)} MB |`).join('\n')}

100 pods on the node. A change ends when the kernel holds the new policy map.

| identities | policies | map entries | all from nothing | one more identity | one more policy | all verified | RSS |
| --: | --: | --: | --: | --: | --: | --: | --: |
${policies.map(row => `| ${row.identities} | ${row.policies} | ${row.entries} | ${ms(row.compileMs)} ms | ${ms(row.identityMs)} ms | ${ms(row.policyMs)} ms | ${ms(row.verifyMs)} ms | ${row.rssMb.toFixed(0)} MB |`).join('\n')}
`;
  const results = join(import.meta.dirname, 'results');
  mkdirSync(results, { recursive: true });
  writeFileSync(join(results, 'control.md'), text);
  writeFileSync(join(results, 'control.json'), `${JSON.stringify({ head, services, policies }, undefined, 1)}\n`);
  process.stdout.write(text);
}

await main();
