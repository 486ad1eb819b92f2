/** What else the Service API asks of packets: who gets them, by TCP and UDP, of both families, from a pod of each node and from outside. */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Cluster, eventually } from '../lib/cluster.ts';
import { privileged } from '../lib/privileged.ts';

const program = join(import.meta.dirname, '../lib/who-answers.ts');
const node1 = ['172.30.0.11', 'fd00:172:30::11'] as const;
const outsider = ['172.30.0.100', 'fd00:172:30::100'] as const;
const balancers = ['203.0.113.9', 'fd00:203::9'] as const;
const kinds = ['tcp', 'udp'] as const;

/** Each calls other numbers by the same names; they serve all of them. */
const ports = { a: 9001, b: 9002 } as const;

const pod = (name: string, node: string, more = ''): string => `
apiVersion: v1
kind: Pod
metadata: { name: ${name}, labels: { app: who, name: ${name} } }
spec: { nodeName: ${node}, containers: [{ name: c, image: netshoot${more} }] }
---`;

const server = (name: 'a' | 'b', node: string, port: number): string =>
  pod(name, node, `, ports: [{ name: t, containerPort: ${port} }, { name: u, containerPort: ${port}, protocol: UDP }]`);

const never = `, ports: [{ name: t, containerPort: 9001 }, { name: u, containerPort: 9001, protocol: UDP }],
  readinessProbe: { exec: { command: ["false"] }, periodSeconds: 1 }`;

const manifest = [
  server('a', 'node-1', ports.a),
  server('b', 'node-2', ports.b),
  pod('late', 'node-1', never).replace('app: who', 'app: late'),
  pod('client-1', 'node-1').replace('app: who', 'app: client'),
  pod('client-2', 'node-2').replace('app: who', 'app: client'),
].join('');

interface Wanted {
  readonly spec?: string;
  readonly metadata?: string;
  readonly selector?: string;
}

/** One port number with two protocols, whose targets have names. */
const service = (name: string, { spec = '', metadata = '', selector = 'selector: { app: who }' }: Wanted): string => `
apiVersion: v1
kind: Service
metadata: { name: ${name}, ${metadata} }
spec:
  ${selector}
  ipFamilyPolicy: RequireDualStack
  ports: [{ name: t, port: 53, targetPort: t }, { name: u, port: 53, targetPort: u, protocol: UDP }]
  ${spec}
`;

describe('the Service API', privileged('sandbox'), () => {
  const cluster = new Cluster({ name: 'service-api' });
  const children: ChildProcess[] = [];
  const podIps = new Map<string, readonly string[]>();
  before(async () => {
    cluster.up();
    for (const [node, zone] of [
      ['node-1', 'east'],
      ['node-2', 'west'],
    ] as const)
      await cluster.kube('label', 'node', node, `topology.kubernetes.io/zone=${zone}`);
    await cluster.apply(manifest);
    const ready = ['a', 'b', 'client-1', 'client-2'].map(name => `pod/${name}`);
    await cluster.kube('wait', '--for=condition=Ready', ...ready, '--timeout=60s');
    for (const name of ['a', 'b', 'late']) {
      children.push(cluster.start(`pod/default/${name}`, process.execPath, program, 'serve', name, '9001', '9002'));
      const ips = await eventually(`${name} has addresses`, async () => {
        const text = await cluster.kube('get', 'pod', name, '-o', 'jsonpath={.status.podIPs[*].ip}');
        return text.includes(' ') ? text.split(' ') : undefined;
      });
      podIps.set(name, ips);
    }
    for (const ip of balancers) {
      const via = node1.find(one => one.includes(':') === ip.includes(':')) ?? '';
      const family = ip.includes(':') ? '-6' : '-4';
      assert.equal((await cluster.exec('outside', 'ip', family, 'route', 'add', ip, 'via', via)).code, 0);
    }
  });
  after(() => {
    for (const child of children) child.kill('SIGTERM');
    cluster.down();
  });

  /** 'NAME CLIENT' or what went wrong, of each time. */
  const ask = async (from: string, kind: string, ip: string, port: number, times = 12): Promise<readonly string[]> => {
    const argv = [process.execPath, program, 'ask', kind, ip, String(port), String(times)];
    return (await cluster.exec(from, ...argv)).stdout.trim().split('\n');
  };
  const names = (answers: readonly string[]) => [...new Set(answers.map(text => text.split(' ')[0] ?? ''))].sort();
  const field = async (name: string, path: string) =>
    (await cluster.kube('get', 'service', name, '-o', `jsonpath={${path}}`)).split(' ');
  const clusterIps = (name: string) => field(name, '.spec.clusterIPs[*]');
  /** Waits until exactly `wanted` answer, for both protocols. */
  const answers = async (from: string, ips: readonly string[], port: number, wanted: readonly string[]) => {
    for (const ip of ips) {
      for (const kind of kinds) {
        await eventually(
          `${kind} ${ip} port ${port} from ${from}: ${wanted.join(' and ')}`,
          async () => {
            const got = names(await ask(from, kind, ip, port));
            assert.deepEqual(got, wanted);
            return true;
          },
          15_000,
        );
      }
    }
  };
  const pods = ['pod/default/client-1', 'pod/default/client-2'] as const;

  /** EndpointSlices written by hand, with what is said of each pod's endpoint. */
  const slices = (of: string, said: Readonly<Record<string, string>>): string =>
    ['IPv4', 'IPv6']
      .map((family, i) => {
        const endpoints = Object.entries(said).map(
          ([name, more]) => `{ addresses: ["${podIps.get(name)?.[i]}"], ${more} }`,
        );
        return `
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: ${of}-${family.toLowerCase()}, labels: { kubernetes.io/service-name: ${of} } }
addressType: ${family}
ports: [{ name: t, port: 9001 }, { name: u, port: 9001, protocol: UDP }]
endpoints: [${endpoints.join(', ')}]
---`;
      })
      .join('');
  const byHand = async (name: string, spec: string, said: Readonly<Record<string, string>>) => {
    await cluster.apply(service(name, { spec, selector: '' }));
    await cluster.apply(slices(name, said));
    return clusterIps(name);
  };

  test('named target ports with another number in each pod, and one port with two protocols', async () => {
    await cluster.apply(service('named', { spec: 'type: NodePort' }));
    for (const from of pods) await answers(from, await clusterIps('named'), 53, ['a', 'b']);
    const [tcp = '', udp = ''] = await field('named', '.spec.ports[*].nodePort');
    for (const ip of node1) {
      assert.deepEqual(names(await ask('outside', 'tcp', ip, Number(tcp), 24)), ['a', 'b']);
      assert.deepEqual(names(await ask('outside', 'udp', ip, Number(udp), 24)), ['a', 'b']);
    }
  });

  test('publishNotReadyAddresses: a pod that never gets ready serves; without, nobody does', async () => {
    const late = { selector: 'selector: { app: late }' };
    await cluster.apply(service('unpublished', late));
    await cluster.apply(service('published', { ...late, spec: 'publishNotReadyAddresses: true' }));
    await answers(pods[1], await clusterIps('published'), 53, ['late']);
    await answers(pods[1], await clusterIps('unpublished'), 53, ['ECONNREFUSED']);
  });

  test('sessionAffinity and externalTrafficPolicy Local by UDP: one backend for a client, which it sees', async () => {
    await cluster.apply(service('sticky', { spec: 'type: NodePort\n  sessionAffinity: ClientIP' }));
    await cluster.apply(service('local', { spec: 'type: NodePort\n  externalTrafficPolicy: Local' }));
    const [, sticky = ''] = await field('sticky', '.spec.ports[*].nodePort');
    const [, local = ''] = await field('local', '.spec.ports[*].nodePort');
    for (const [i, ip] of node1.entries()) {
      await eventually('it answers', async () =>
        (await ask('outside', 'udp', ip, Number(sticky), 1))[0] === 'silence' ? undefined : true,
      );
      assert.equal(names(await ask('outside', 'udp', ip, Number(sticky))).length, 1);
      for (const text of await ask('outside', 'udp', ip, Number(local))) assert.equal(text, `a ${outsider[i]}`);
    }
    for (const ip of await clusterIps('sticky')) assert.equal(names(await ask(pods[0], 'udp', ip, 53)).length, 1);
  });

  test('internalTrafficPolicy Local', async () => {
    await cluster.apply(service('inner', { spec: 'internalTrafficPolicy: Local' }));
    const ips = await clusterIps('inner');
    await answers(pods[0], ips, 53, ['a']);
    await answers(pods[1], ips, 53, ['b']);
  });

  test('trafficDistribution: the zone that hints name, the own node, and all when a hint is missing', async () => {
    const hinted = (zone: string) => `hints: { forZones: [{ name: ${zone} }] }`;
    const ips = await byHand('near', 'trafficDistribution: PreferClose', { a: hinted('east'), b: hinted('west') });
    await answers(pods[0], ips, 53, ['a']);
    await answers(pods[1], ips, 53, ['b']);
    await cluster.apply(slices('near', { a: hinted('east'), b: 'conditions: { ready: true }' }));
    for (const from of pods) await answers(from, ips, 53, ['a', 'b']);
    const nearest = await byHand('nearest', 'trafficDistribution: PreferSameNode', {
      a: 'nodeName: node-1',
      b: 'nodeName: node-2',
    });
    await answers(pods[0], nearest, 53, ['a']);
    await answers(pods[1], nearest, 53, ['b']);
    await cluster.apply(slices('nearest', { a: 'nodeName: node-1' }));
    await answers(pods[1], nearest, 53, ['a']);
  });

  test('terminating endpoints: nothing new for them, until nothing else is ready', async () => {
    const leaving = 'conditions: { ready: false, serving: true, terminating: true }';
    const ips = await byHand('leaving', '', { a: leaving, b: 'conditions: { ready: true }' });
    await answers(pods[0], ips, 53, ['b']);
    await cluster.apply(slices('leaving', { a: leaving, b: 'conditions: { ready: false, serving: false }' }));
    await answers(pods[0], ips, 53, ['a']);
    await cluster.apply(slices('leaving', { a: leaving.replace('serving: true', 'serving: false') }));
    await answers(pods[0], ips, 53, ['ECONNREFUSED']);
  });

  test('Endpoints written by hand', async () => {
    await cluster.apply(service('manual', { selector: '' }));
    const addresses = (podIps.get('b') ?? []).map(ip => `{ ip: "${ip}" }`).join(', ');
    await cluster.apply(`
apiVersion: v1
kind: Endpoints
metadata: { name: manual }
subsets: [{ addresses: [${addresses}], ports: [{ name: t, port: 9001 }, { name: u, port: 9001, protocol: UDP }] }]
`);
    for (const from of pods) await answers(from, await clusterIps('manual'), 53, ['b']);
  });

  test('a load balancer’s addresses: by both protocols, other ports by none; source ranges that deny', async () => {
    const annotate = (range: string) => ({
      metadata: 'annotations: { service.cilium.io/src-ranges-policy: deny }',
      spec: `type: LoadBalancer\n  loadBalancerSourceRanges: ${range}`,
    });
    await cluster.apply(service('balanced', annotate('["10.9.0.0/16", "fd09::/16"]')));
    const status = JSON.stringify({ status: { loadBalancer: { ingress: balancers.map(ip => ({ ip })) } } });
    await cluster.kube('patch', 'service', 'balanced', '--subresource=status', '--type=merge', '-p', status);
    for (const from of ['outside', ...pods]) await answers(from, balancers, 53, ['a', 'b']);
    for (const kind of kinds)
      for (const ip of balancers) assert.deepEqual(names(await ask('outside', kind, ip, 54, 1)), ['silence']);
    await cluster.apply(service('balanced', annotate('["172.30.0.0/16", "fd00:172:30::/64"]')));
    for (const ip of balancers)
      for (const kind of kinds)
        await eventually(`${kind} ${ip} is closed`, async () =>
          (await ask('outside', kind, ip, 53, 1))[0] === 'silence' ? true : undefined,
        );
    await answers(pods[0], balancers, 53, ['a', 'b']);
  });

  test('annotations: only the type that is named, only on nodes that are selected', async () => {
    const only = 'annotations: { service.cilium.io/type: NodePort }';
    await cluster.apply(service('outer', { metadata: only, spec: 'type: NodePort' }));
    const [tcp = ''] = await field('outer', '.spec.ports[*].nodePort');
    for (const ip of node1)
      await eventually('the node port answers', async () =>
        names(await ask('outside', 'tcp', ip, Number(tcp))).join() === 'a,b' ? true : undefined,
      );
    for (const ip of await clusterIps('outer'))
      assert.ok(!/^[ab]/.test((await ask(pods[0], 'tcp', ip, 53, 1))[0] ?? ''));
    const here = 'annotations: { service.cilium.io/node-selector: topology.kubernetes.io/zone=east }';
    await cluster.apply(service('east', { metadata: here }));
    const ips = await clusterIps('east');
    await answers(pods[0], ips, 53, ['a', 'b']);
    for (const ip of ips) assert.ok(!/^[ab]/.test((await ask(pods[1], 'tcp', ip, 53, 1))[0] ?? ''));
  });

  test('services of another proxy, headless ones and ExternalName are left alone', async () => {
    await cluster.apply(
      service('foreign', { metadata: 'labels: { service.kubernetes.io/service-proxy-name: other }' }),
    );
    await cluster.apply(service('headless', { spec: 'clusterIP: None' }));
    await cluster.apply(
      'apiVersion: v1\nkind: Service\nmetadata: { name: alias }\nspec: { type: ExternalName, externalName: a.test }\n',
    );
    await cluster.apply(service('last', {}));
    await answers(pods[0], await clusterIps('last'), 53, ['a', 'b']);
    const listed = await cluster.ciliate('--node', 'node-1', 'service', 'list', '-o', 'json');
    for (const name of ['foreign', 'headless', 'alias']) assert.ok(!listed.stdout.includes(`"${name}"`), name);
    assert.ok(listed.stdout.includes('"last"'));
    const found = await cluster.exec(pods[0], 'getent', 'ahostsv4', 'headless.default.svc.cluster.local');
    for (const name of ['a', 'b']) assert.ok(found.stdout.includes(podIps.get(name)?.[0] ?? '?'), found.stdout);
  });
});
