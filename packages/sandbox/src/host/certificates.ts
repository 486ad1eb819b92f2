/** A certificate authority and the API server's certificate, made by openssl for one life of a sandbox. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { lanAddresses } from '../layout.ts';
import { run } from './run.ts';

const names = [
  'IP:127.0.0.1',
  'IP:::1',
  ...lanAddresses.map(address => `IP:${address}`),
  'IP:10.96.0.1',
  'IP:fd00:10:96::1',
  'DNS:localhost',
  'DNS:kubernetes',
  'DNS:kubernetes.default',
  'DNS:kubernetes.default.svc',
  'DNS:kubernetes.default.svc.cluster.local',
];

export interface Certificates {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** Paths of PEM files in `directory`. */
export async function makeCertificates(directory: string): Promise<Certificates> {
  const at = (name: string): string => join(directory, name);
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  await run('openssl', [
    ...['req', '-x509', ...key, '-keyout', at('ca.key'), '-out', at('ca.crt'), '-days', '3650'],
    ...['-subj', '/CN=ciliate-sandbox-ca', '-addext', 'keyUsage=critical,keyCertSign,cRLSign'],
  ]);
  await run('openssl', [
    'req',
    ...key,
    '-keyout',
    at('server.key'),
    '-out',
    at('server.csr'),
    '-subj',
    '/CN=kube-apiserver',
  ]);
  writeFileSync(at('server.ext'), `subjectAltName=${names.join(',')}\nextendedKeyUsage=serverAuth\n`);
  await run('openssl', [
    ...['x509', '-req', '-in', at('server.csr'), '-CA', at('ca.crt'), '-CAkey', at('ca.key'), '-CAcreateserial'],
    ...['-days', '3650', '-extfile', at('server.ext'), '-out', at('server.crt')],
  ]);
  return { ca: at('ca.crt'), cert: at('server.crt'), key: at('server.key') };
}
