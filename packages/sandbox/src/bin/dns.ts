/**
 * The cluster's DNS server, run as the pod of the Deployment cluster-dns.
 *   dns [--port 53]          with the pod's service account
 *   dns --probe ADDRESS      exits 0 when a server there answers for kube-dns
 */
import { createSocket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import { parseArgs } from 'node:util';
import { KubeClient, type KubeObject, loadKubeConfig, Reflector, resourcePaths, type Sink } from '@ciliate/sources';
import { encode } from 'dns-packet';
import { serveDns } from '../dns/server.ts';
import { ClusterStore } from '../dns/store.ts';

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: '53' },
    kubeconfig: { type: 'string' },
    probe: { type: 'string' },
    ports: { type: 'string' },
  },
});

function probe(address: string): void {
  const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4');
  const name = 'kube-dns.kube-system.svc.cluster.local';
  const query = encode({ type: 'query', id: process.pid & 0xffff, questions: [{ type: 'A', name }] });
  socket.on('message', () => process.exit(0));
  socket.on('error', error => {
    process.stderr.write(`${address}: ${error.message}\n`);
    process.exit(1);
  });
  socket.send(query, 53, address);
  setTimeout(() => {
    process.stderr.write(`no answer from ${address} port 53 within 1 s\n`);
    process.exit(1);
  }, 1000);
}

/** Resolves with the first list. */
function follow(api: KubeClient, path: string, sink: Sink): Promise<void> {
  return new Promise(resolve => {
    const first: Sink = {
      ...sink,
      replace: (objects: readonly KubeObject[]) => {
        sink.replace(objects);
        resolve();
      },
    };
    const log = (message: string, data: Readonly<Record<string, unknown>>): void => {
      process.stderr.write(`dns: ${message} ${JSON.stringify(data)}\n`);
    };
    new Reflector({ name: path, path }, { api, sink: first, log }).start();
  });
}

async function serve(): Promise<void> {
  const store = new ClusterStore();
  const api = new KubeClient(await loadKubeConfig(values.kubeconfig));
  // Nothing is answered before all is known: a NXDOMAIN in between would be believed.
  await Promise.all([
    follow(api, resourcePaths.services, {
      replace: objects => store.setServices(objects),
      apply: object => store.setService(object),
      remove: object => store.removeService(object),
    }),
    follow(api, resourcePaths.endpointSlices, {
      replace: objects => store.setSlices(objects),
      apply: object => store.setSlice(object),
      remove: object => store.removeSlice(object),
    }),
  ]);
  await serveDns(Number(values.port), store);
  process.stdout.write(`dns: serving cluster.local on port ${values.port}\n`);
}

if (values.probe === undefined) await serve();
else probe(values.probe);
