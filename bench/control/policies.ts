/** Identities × policies compiled into a node's policy maps, then one more of each; without API server, node and traffic. */
import { GroupCheck } from '../../packages/control/src/index.ts';
import { networkPolicyFromK8s, parseAddress, securityLabels } from '../../packages/model/src/index.ts';
import { type Memory, memoryNow } from './memory.ts';
import { rowOf } from './services.ts';
import { ControlWorld } from './world.ts';

export interface PolicyResult {
  readonly identities: number;
  readonly policies: number;
  readonly compileMs: number;
  readonly identityMs: number;
  readonly policyMs: number;
  /** Every entry in the kernel against what it shall be. */
  readonly verifyMs: number;
  /** In all policy maps of the node. */
  readonly entries: number;
  readonly memory: Memory;
}

/** Pods of the node. */
export const localPods = 100;

const tiers = ['web', 'api', 'db', 'job'] as const;
const tier = (i: number): string => tiers[i % tiers.length] ?? '';
const namespaceOf = (i: number): string => `ns-${i % 100}`;

function identityLabels(i: number) {
  const namespace = namespaceOf(i);
  return securityLabels({
    namespace,
    podLabels: { app: `app-${i}`, tier: tier(i) },
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
        podSelector: { matchLabels: { tier: tier(i >> 2) } },
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

const identity = (i: number) => ({ id: 256 + i, labels: identityLabels(i), reserved: false });

function addPods({ tables, ...world }: { tables: ControlWorld['tables']; write: ControlWorld['write'] }): void {
  world.write(txn => {
    for (let i = 0; i < localPods; i += 1) {
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
}

async function timed(world: ControlWorld, body: Parameters<ControlWorld['write']>[0]): Promise<number> {
  const at = performance.now();
  world.write(body);
  await world.settle();
  return performance.now() - at;
}

/** Map entries of all groups. @throws when one is not in the kernel */
function entriesOf({ tables }: ControlWorld): number {
  const groups = tables.policyGroups.all();
  const failing = groups.filter(row => row.status.kind !== 'done');
  if (failing.length > 0)
    throw new Error(`${failing.length} groups are not in the kernel: ${JSON.stringify(failing[0]?.status)}`);
  return groups.reduce((sum, row) => sum + row.content.size, 0);
}

/** @throws when an entry is not as it shall be */
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

/** Every policy of the cluster is known, every identity too. */
export async function measurePolicies(identities: number, policies: number): Promise<PolicyResult> {
  const world = new ControlWorld(65_536);
  world.start();
  await world.settle();
  const { tables } = world;
  addPods({ tables, write: body => world.write(body) });
  const compileMs = await timed(world, txn => {
    for (let i = 0; i < identities; i += 1) tables.identities.insert(txn, identity(i));
    for (let i = 0; i < policies; i += 1) tables.policies.insert(txn, policy(i));
  });
  const entries = entriesOf(world);
  const identityMs = await timed(world, txn => void tables.identities.insert(txn, identity(identities)));
  const policyMs = await timed(world, txn => void tables.policies.insert(txn, policy(policies)));
  const verifyMs = verified(world);
  const memory = memoryNow();
  await world.stop();
  return { identities, policies, compileMs, identityMs, policyMs, verifyMs, entries, memory };
}
