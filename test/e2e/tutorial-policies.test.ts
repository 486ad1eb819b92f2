/**
 * The four policies of the field's tutorials, as they stand, by kubectl: all pods to an ingress namespace on 8443; within a namespace; a
 * metrics agent to a namespace; the host firewall for a metrics server. Both families, same node and across.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { conformanceData, missingData } from '../conformance/data.ts';
import { Cluster, eventually } from '../lib/cluster.ts';
import { privileged } from '../lib/privileged.ts';

interface Policy {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
}
interface Data {
  readonly cases: readonly { readonly name: string; readonly policies: readonly Policy[] }[];
}

const file = 'ciliumnetworkpolicy-verdicts.json';
const data = conformanceData(file) as Data | undefined;

/** Each answers on 8443 and 8080, both families. */
const pod = (namespace: string, name: string, node: string, account = 'default'): string => `
apiVersion: v1
kind: Pod
metadata: { namespace: ${namespace}, name: ${name}, labels: { app: ${name} } }
spec:
  nodeName: ${node}
  serviceAccountName: ${account}
  containers:
  - name: c
    image: netshoot
    command: [sh, -c, "socat TCP6-LISTEN:8443,fork,reuseaddr,ipv6only=0 EXEC:true & exec socat TCP6-LISTEN:8080,fork,reuseaddr,ipv6only=0 EXEC:true"]
---`;
const namespaces = ['infra-istio', 'cilium-test', 'vmagent-system', 'desired-namespace', 'my-metrics-namespace'];
const manifest = [
  ...namespaces.map(name => `apiVersion: v1\nkind: Namespace\nmetadata: { name: ${name} }\n---`),
  pod('infra-istio', 'istio', 'node-2'),
  pod('cilium-test', 'client', 'node-1'),
  pod('cilium-test', 'client2', 'node-2'),
  pod('vmagent-system', 'vmagent', 'node-1', 'victoria-metrics-agent-usr'),
  pod('vmagent-system', 'other', 'node-1'),
  pod('desired-namespace', 'app', 'node-2'),
  pod('my-metrics-namespace', 'metrics-server', 'node-2', 'metrics-server'),
].join('\n');

const nodes: Readonly<Record<string, readonly string[]>> = {
  'node-1': ['172.30.0.11', 'fd00:172:30::11'],
  'node-2': ['172.30.0.12', 'fd00:172:30::12'],
};

describe('tutorial policies', privileged('sandbox'), () => {
  if (data === undefined) {
    missingData(file);
    return;
  }
  const cluster = new Cluster({ name: 'tutorial', agentOptions: ['enable-host-firewall=true'] });
  const addresses = new Map<string, readonly string[]>(Object.entries(nodes));

  before(async () => {
    cluster.up();
    await cluster.apply(manifest);
    await cluster.kube('wait', '--for=condition=Ready', 'pod', '--all', '--all-namespaces', '--timeout=90s');
    const found = await cluster.kube(
      'get',
      'pods',
      '--all-namespaces',
      '-o',
      'jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name} {.status.podIPs[*].ip}{"\\n"}{end}',
    );
    for (const line of found.split('\n')) {
      const [name = '', ...ips] = line.split(' ');
      addresses.set(name, ips);
    }
  });
  after(() => {
    cluster.down();
  });

  /** Whether packets come through, in both families; a port that nobody serves says no, and is an answer too. */
  const passes = async (from: string, to: string, port: number): Promise<boolean> => {
    const target = from.includes('/') ? `pod/${from}` : from;
    const ips = addresses.get(to) ?? [];
    assert.equal(ips.length, 2, `${to} has two addresses`);
    const codes = await Promise.all(
      ips.map(
        async ip =>
          (await cluster.exec(target, 'timeout', '2', 'bash', '-c', `exec 3<>/dev/tcp/${ip}/${port}`)).code !== 124,
      ),
    );
    assert.equal(new Set(codes).size, 1, `${from} -> ${to}:${port}: one family passes and the other does not`);
    return codes[0] === true;
  };
  type Wanted = readonly (readonly [from: string, to: string, port: number, passes: boolean])[];
  const expectAll = (wanted: Wanted, what: string) =>
    eventually(
      what,
      async () => {
        const results = await Promise.all(wanted.map(([from, to, port]) => passes(from, to, port)));
        const wrong = wanted.filter(([, , , pass], i) => results[i] !== pass);
        if (wrong.length > 0) throw new Error(`wrong: ${wrong.map(one => one.join(' ')).join('; ')}`);
        return true;
      },
      20_000,
    );
  const apply = async (name: string): Promise<() => Promise<void>> => {
    const policies = data.cases.find(one => one.name.startsWith(name))?.policies ?? [];
    assert.ok(policies.length > 0, `${file} has ${name}`);
    // The data's own uid is not part of the policy.
    for (const policy of policies) {
      const { name: called, namespace } = policy.metadata;
      await cluster.apply(JSON.stringify({ ...policy, metadata: { name: called, namespace } }));
    }
    return async () => {
      for (const { kind, metadata } of policies) {
        const where = metadata.namespace === undefined ? [] : ['--namespace', metadata.namespace];
        await cluster.kube('delete', kind, metadata.name, ...where);
      }
    };
  };

  const cases: readonly (readonly [name: string, wanted: Wanted])[] = [
    [
      'tutorial-1',
      [
        ['cilium-test/client', 'infra-istio/istio', 8443, true],
        ['cilium-test/client2', 'infra-istio/istio', 8443, true],
        ['cilium-test/client', 'infra-istio/istio', 8080, false],
        ['cilium-test/client', 'cilium-test/client2', 8443, false],
        ['vmagent-system/vmagent', 'vmagent-system/other', 8443, false],
        ['node-2', 'cilium-test/client2', 8080, true],
      ],
    ],
    [
      'tutorial-2',
      [
        ['cilium-test/client', 'cilium-test/client2', 8080, true],
        ['cilium-test/client2', 'cilium-test/client', 8080, true],
        ['cilium-test/client', 'infra-istio/istio', 8443, false],
        ['vmagent-system/vmagent', 'cilium-test/client', 8080, false],
        ['infra-istio/istio', 'cilium-test/client2', 8080, false],
        ['vmagent-system/vmagent', 'infra-istio/istio', 8443, true],
        ['node-1', 'cilium-test/client', 8080, true],
      ],
    ],
    [
      'tutorial-3',
      [
        ['vmagent-system/vmagent', 'desired-namespace/app', 8080, true],
        ['vmagent-system/vmagent', 'cilium-test/client', 8080, false],
        ['vmagent-system/vmagent', 'vmagent-system/other', 8080, false],
        ['vmagent-system/other', 'cilium-test/client', 8080, true],
        ['cilium-test/client', 'vmagent-system/vmagent', 8080, true],
      ],
    ],
    [
      'tutorial-4',
      [
        ['my-metrics-namespace/metrics-server', 'node-1', 10_250, true],
        ['my-metrics-namespace/metrics-server', 'node-2', 10_250, true],
        ['my-metrics-namespace/metrics-server', 'node-1', 4240, false],
        ['vmagent-system/vmagent', 'node-1', 10_250, false],
        ['vmagent-system/vmagent', 'node-2', 10_250, false],
        ['outside', 'node-1', 10_250, false],
        ['cilium-test/client', 'cilium-test/client2', 8080, true],
        ['node-1', 'cilium-test/client', 8080, true],
      ],
    ],
  ];
  for (const [name, wanted] of cases) {
    test(`${name}: lets through what it names, and nothing else of what it isolates`, async () => {
      const open: Wanted = wanted.map(([from, to, port]) => [from, to, port, true]);
      await expectAll(open, 'open before');
      const remove = await apply(name);
      await expectAll(wanted, `${name} is enforced`);
      // The node's own connections go on, its agent's to the API server too: the policy can be taken away again.
      const ready = await cluster.kube('get', 'nodes', '--no-headers');
      assert.equal([...ready.matchAll(/ Ready /g)].length, 2);
      await remove();
      await expectAll(open, 'open afterwards');
    });
  }
});
