/** bin: the sandbox's Kubernetes API server with its controllers. */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { startApiServer } from '../apiserver/start.ts';

const { values } = parseArgs({
  options: {
    listen: { type: 'string', multiple: true, default: ['127.0.0.1:6443'] },
    'tls-cert-file': { type: 'string' },
    'tls-private-key-file': { type: 'string' },
    'client-ca-file': { type: 'string' },
    'token-file': { type: 'string' },
    'service-cidrs': { type: 'string', default: '10.96.0.0/16,fd00:10:96::/112' },
    'pod-cidrs': { type: 'string', default: '10.244.0.0/16,fd00:10:244::/56' },
    'service-node-port-range': { type: 'string', default: '30000-32767' },
    'kubelet-dir': { type: 'string', default: '/run/ciliate/sandbox' },
    'data-dir': { type: 'string' },
    'advertise-address': { type: 'string', multiple: true, default: ['172.30.0.1'] },
    'advertise-port': { type: 'string', default: '6443' },
  },
});

const cert = values['tls-cert-file'];
const key = values['tls-private-key-file'];
const ca = values['client-ca-file'];
const tokenFile = values['token-file'];
const [min = 30_000, max = 32_767] = values['service-node-port-range'].split('-').map(Number);
const list = (text: string): readonly string[] => text.split(',').filter(part => part !== '');

try {
  const server = await startApiServer({
    listen: values.listen.flatMap(list),
    serviceCidrs: list(values['service-cidrs']),
    podCidrs: list(values['pod-cidrs']),
    nodePorts: [min, max],
    kubeletDir: values['kubelet-dir'],
    ...(values['data-dir'] === undefined ? {} : { dataDir: values['data-dir'] }),
    ...(cert === undefined || key === undefined
      ? {}
      : { tls: { certFile: cert, keyFile: key, ...(ca === undefined ? {} : { clientCaFile: ca }) } }),
    tokens: tokenFile === undefined ? [] : [readFileSync(tokenFile, 'utf8').trim()],
    advertise: values['advertise-address'],
    advertisePort: Number(values['advertise-port']),
  });
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => {
      server.close();
      process.exit(0);
    });
  }
} catch (error) {
  process.stderr.write(`apiserver: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
