/**
 * SCTP services with real pods, by raw sockets since kernels may lack SCTP: who answers, whom the backend takes for its client, and whether
 * every checksum on the way is the one that its packet should have. Both families.
 */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { Cluster, eventually } from '../lib/cluster.ts';
import { privileged } from '../lib/privileged.ts';
import { dialSctp, SctpServer } from '../lib/sctp.ts';

const pod = (name: string, node: string, more = ''): string => `
apiVersion: v1
kind: Pod
metadata: { name: ${name}, labels: { app: ${name}, kind: ${name === 'client' ? 'client' : 'server'} } }
spec: { nodeName: ${node}, containers: [{ name: c, image: netshoot${more} }] }
---`;

const service = (name: string, selector = `app: ${name}`, more = ''): string => `
apiVersion: v1
kind: Service
metadata: { name: ${name} }
spec:
  type: NodePort
  ipFamilyPolicy: RequireDualStack
  selector: { ${selector} }
  ${more}
  ports: [{ port: 3868, targetPort: 38412, protocol: SCTP }]
---`;

const manifest = [
  pod('near', 'node-1', ', ports: [{ containerPort: 38412, hostPort: 13868, protocol: SCTP }]'),
  pod('far', 'node-2'),
  pod('client', 'node-1'),
  service('near'),
  service('far'),
  service('sticky', 'kind: server', 'sessionAffinity: ClientIP'),
  service('local', 'kind: server', 'externalTrafficPolicy: Local'),
].join('');

const node1 = ['172.30.0.11', 'fd00:172:30::11'] as const;
const outsider = ['172.30.0.100', 'fd00:172:30::100'] as const;
const familyNames = ['IPv4', 'IPv6'] as const;

describe('SCTP', privileged('sandbox'), () => {
  const cluster = new Cluster({ name: 'sctp' });
  const servers = new Map<string, SctpServer>();
  before(async () => {
    cluster.up();
    await cluster.apply(manifest);
    await cluster.kube('wait', '--for=condition=Ready', 'pod', '--all', '--timeout=60s');
    for (const name of ['near', 'far']) {
      for (const isV6 of [false, true]) servers.set(`${name} ${isV6}`, new SctpServer(netnsOf(name), isV6, 38_412));
    }
  });
  after(() => {
    for (const server of servers.values()) server.close();
    cluster.down();
  });

  const hostNetns = (host: string): string => `/run/netns/ciliate-${cluster.name}-${host}`;
  function netnsOf(name: string): string {
    const found = globSync(`/run/ciliate/${cluster.name}/node-*/pods/*/sandbox.json`)
      .map(file => JSON.parse(readFileSync(file, 'utf8')) as { readonly name: string; readonly netns: string })
      .find(one => one.name === name);
    assert.ok(found !== undefined, `no sandbox of ${name}`);
    return `/run/netns/${found.netns}`;
  }
  const field = async (name: string, path: string) =>
    (await cluster.kube('get', 'service', name, '-o', `jsonpath={${path}}`)).split(' ');
  const podIps = async (name: string) =>
    (await cluster.kube('get', 'pod', name, '-o', 'jsonpath={.status.podIPs[*].ip}')).split(' ');

  let sport = 20_000;
  /** Dials until an answer comes in the name of what was dialled; the client that the backend saw. */
  async function dialled(netns: string, to: string, port: number, backend: string): Promise<string> {
    const server = servers.get(`${backend} ${to.includes(':')}`);
    assert.ok(server !== undefined);
    return eventually(
      `${backend} answers at ${to}`,
      async () => {
        sport += 1;
        server.clients.length = 0;
        const answer = await dialSctp(netns, to, port, sport);
        assert.deepEqual(answer, { from: to, sport: port, dport: sport, chunk: 2, checksumIsRight: true });
        const [seen] = server.clients;
        assert.ok(seen?.checksumIsRight, `${backend} got it whole`);
        return seen.from;
      },
      15_000,
    );
  }

  for (const [i, family] of familyNames.entries()) {
    for (const backend of ['near', 'far'] as const) {
      test(`${family}: a pod reaches ${backend} by its ClusterIP`, async () => {
        const ip = (await field(backend, '.spec.clusterIPs[*]'))[i] ?? '';
        assert.equal(await dialled(netnsOf('client'), ip, 3868, backend), (await podIps('client'))[i]);
      });
      test(`${family}: an outsider reaches ${backend} by a NodePort`, async () => {
        const [port] = await field(backend, '.spec.ports[0].nodePort');
        const client = await dialled(hostNetns('outside'), node1[i] ?? '', Number(port), backend);
        assert.equal(client, backend === 'near' ? outsider[i] : node1[i]);
      });
      test(`${family}: the node itself reaches ${backend} by its ClusterIP`, async () => {
        const ip = (await field(backend, '.spec.clusterIPs[*]'))[i] ?? '';
        assert.equal(await dialled(hostNetns('node-1'), ip, 3868, backend), node1[i]);
      });
    }
    /** Who got an INIT of so many that were sent, and in whose name. */
    const takers = async (netns: string, to: string, port: number): Promise<readonly string[]> => {
      const mine = ['near', 'far'].map(name => [name, servers.get(`${name} ${to.includes(':')}`)] as const);
      for (const [, server] of mine) if (server !== undefined) server.clients.length = 0;
      for (let times = 0; times < 12; times += 1) {
        sport += 1;
        assert.equal((await dialSctp(netns, to, port, sport))?.checksumIsRight, true);
      }
      return [
        ...new Set(mine.flatMap(([name, server]) => (server?.clients ?? []).map(({ from }) => `${name} ${from}`))),
      ];
    };
    test(`${family}: sessionAffinity keeps a client with one backend, in a pod and outside`, async () => {
      const ip = (await field('sticky', '.spec.clusterIPs[*]'))[i] ?? '';
      const [port] = await field('sticky', '.spec.ports[0].nodePort');
      assert.equal((await takers(netnsOf('client'), ip, 3868)).length, 1);
      assert.equal((await takers(hostNetns('outside'), node1[i] ?? '', Number(port))).length, 1);
    });
    test(`${family}: externalTrafficPolicy Local: the backend of the node, which sees the client`, async () => {
      const [port] = await field('local', '.spec.ports[0].nodePort');
      assert.deepEqual(await takers(hostNetns('outside'), node1[i] ?? '', Number(port)), [`near ${outsider[i]}`]);
    });
    test(`${family}: an outsider reaches a pod by its host port`, async () => {
      assert.equal(await dialled(hostNetns('outside'), node1[i] ?? '', 13_868, 'near'), outsider[i]);
    });
  }
});
