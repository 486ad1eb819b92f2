/**
 * The matrix of issue 2: pod/node/outside × pod/ClusterIP/NodePort × same/other node × TCP/UDP/ICMP × IPv4/IPv6, with real
 * packets. One sandbox for each routing mode, each cell a test. `matrix(routing)` is called by one test file per mode.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Cluster, eventually, type Outcome } from '../lib/cluster.ts';
import { privileged } from '../lib/privileged.ts';

type Source = 'pod' | 'node' | 'outside';
type Target = 'pod' | 'ClusterIP' | 'NodePort';
type Place = 'same node' | 'other node';
type Transport = 'TCP' | 'UDP' | 'UDP 64 KB' | 'ICMP';
type Family = 'IPv4' | 'IPv6';

const port = 8080;
const udpProbe = join(import.meta.dirname, '../lib/udp-probe.ts');

const manifest = `
apiVersion: v1
kind: Pod
metadata: { name: client, namespace: default, labels: { app: client } }
spec:
  nodeName: node-1
  containers: [{ name: client, image: netshoot }]
${['node-1', 'node-2']
  .map(
    node => `---
apiVersion: v1
kind: Pod
metadata: { name: server-${node}, namespace: default, labels: { app: server, on: ${node} } }
spec:
  nodeName: ${node}
  containers:
  - name: echo
    image: ciliate/echo
    ports:
    - { containerPort: ${port}, protocol: TCP, name: http }
    - { containerPort: ${port}, protocol: UDP, name: udp }
---
apiVersion: v1
kind: Service
metadata: { name: server-${node}, namespace: default }
spec:
  type: NodePort
  ipFamilyPolicy: RequireDualStack
  selector: { app: server, on: ${node} }
  ports:
  - { name: http, port: 80, targetPort: http, protocol: TCP }
  - { name: udp, port: 80, targetPort: udp, protocol: UDP }
`,
  )
  .join('')}`;

interface ServiceObject {
  readonly spec: {
    readonly clusterIPs: readonly string[];
    readonly ports: readonly { readonly protocol: string; readonly nodePort: number }[];
  };
}

interface PodObject {
  readonly status: { readonly podIPs?: readonly { readonly ip: string }[] };
}

const ofFamily = (family: Family, addresses: readonly string[]): string => {
  const found = addresses.find(address => address.includes(':') === (family === 'IPv6'));
  assert.ok(found !== undefined, `no ${family} address among ${addresses.join(', ') || 'none'}`);
  return found;
};

/** Same node: the source's own (node-1); outside has none, there it is the node that is dialled. */
const serverNode = (place: Place): string => (place === 'same node' ? 'node-1' : 'node-2');
const nodeAddress: Readonly<Record<string, readonly string[]>> = {
  'node-1': ['172.30.0.11', 'fd00:172:30::11'],
  'node-2': ['172.30.0.12', 'fd00:172:30::12'],
};
const sources: Readonly<Record<Source, string>> = { pod: 'pod/default/client', node: 'node-1', outside: 'outside' };

/** Cells that have no meaning, with the reason. All others must pass. */
function leftOut(source: Source, target: Target, transport: Transport): string | undefined {
  if (source === 'outside' && target === 'ClusterIP') return 'a ClusterIP is not an address outside the cluster';
  if (transport === 'ICMP' && target === 'ClusterIP') return 'a ClusterIP is a TCP/UDP frontend: no echo is promised';
  return undefined;
}

async function destination(
  cluster: Cluster,
  target: Target,
  place: Place,
  family: Family,
  transport: Transport,
): Promise<{ readonly host: string; readonly port: number }> {
  const node = serverNode(place);
  if (target === 'pod') {
    const pod: PodObject = JSON.parse(await cluster.kube('get', 'pod', `server-${node}`, '-o', 'json'));
    return {
      host: ofFamily(
        family,
        (pod.status.podIPs ?? []).map(entry => entry.ip),
      ),
      port,
    };
  }
  const service: ServiceObject = JSON.parse(await cluster.kube('get', 'service', `server-${node}`, '-o', 'json'));
  if (target === 'ClusterIP') return { host: ofFamily(family, service.spec.clusterIPs), port: 80 };
  const wanted = transport === 'TCP' ? 'TCP' : 'UDP';
  const nodePort = service.spec.ports.find(entry => entry.protocol === wanted)?.nodePort;
  assert.ok(nodePort !== undefined, 'the service has no nodePort');
  return { host: ofFamily(family, nodeAddress['node-1'] ?? []), port: nodePort };
}

function probe(
  cluster: Cluster,
  from: string,
  transport: Transport,
  to: { readonly host: string; readonly port: number },
): Promise<Outcome> {
  const { host } = to;
  if (transport === 'ICMP') return cluster.exec(from, 'ping', '-n', '-c', '1', '-W', '5', host);
  if (transport === 'TCP') {
    const authority = host.includes(':') ? `[${host}]` : host;
    return cluster.exec(from, 'curl', '-sS', '-g', '--max-time', '10', `http://${authority}:${to.port}/`);
  }
  const size = transport === 'UDP' ? '32' : '65000';
  return cluster.exec(
    from,
    process.execPath,
    '--disable-warning=ExperimentalWarning',
    udpProbe,
    host,
    String(to.port),
    size,
  );
}

async function clientReady(cluster: Cluster): Promise<void> {
  await cluster.kube('wait', '--for=condition=Ready', 'pod', '--all', '--timeout=90s');
  await eventually('the services answer', async () => {
    const result = await cluster.exec(
      'pod/default/client',
      'curl',
      '-sS',
      '--max-time',
      '3',
      'http://server-node-2.default/',
    );
    return result.code === 0 ? true : undefined;
  });
}

/** Outside has no route to pods by itself; a router of the LAN would: through each node to its own pods. */
async function routeOutside(cluster: Cluster): Promise<void> {
  for (const [node, addresses] of Object.entries(nodeAddress)) {
    const cidrs: readonly string[] = JSON.parse(
      await cluster.kube('get', 'node', node, '-o', 'jsonpath={.spec.podCIDRs}'),
    );
    for (const cidr of cidrs) {
      const family = cidr.includes(':') ? 'IPv6' : 'IPv4';
      const added = await cluster.exec(
        'outside',
        'ip',
        family === 'IPv6' ? '-6' : '-4',
        'route',
        'replace',
        cidr,
        'via',
        ofFamily(family, addresses),
      );
      assert.equal(added.code, 0, added.stderr);
    }
  }
}

export function matrix(routing: 'vxlan' | 'native'): void {
  const cluster = new Cluster({ name: `matrix-${routing}`, routing });
  describe(`matrix ${routing}`, privileged('sandbox'), () => {
    before(async () => {
      cluster.up();
      await cluster.apply(manifest);
      await clientReady(cluster);
      await routeOutside(cluster);
    });
    after(() => {
      cluster.down();
    });
    for (const source of ['pod', 'node', 'outside'] as const) {
      for (const target of ['pod', 'ClusterIP', 'NodePort'] as const) {
        for (const place of ['same node', 'other node'] as const) {
          for (const transport of ['TCP', 'UDP', 'UDP 64 KB', 'ICMP'] as const) {
            if (leftOut(source, target, transport) !== undefined) continue;
            for (const family of ['IPv4', 'IPv6'] as const) {
              test(`${source} → ${target}, ${place}, ${transport}, ${family}`, async () => {
                const to = await destination(cluster, target, place, family, transport);
                const result = await probe(cluster, sources[source], transport, to);
                assert.equal(result.code, 0, `${JSON.stringify(to)}: ${result.stdout}${result.stderr}`);
                if (transport === 'TCP') assert.match(result.stdout, new RegExp(`server-${serverNode(place)}`));
              });
            }
          }
        }
      }
    }
  });
}
