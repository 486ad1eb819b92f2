/** Kubeconfig documents, written as JSON, which is YAML too. */
import type { KubeConfig } from '@ciliate/sources';

/** What the config says, with every file's content inside; `server` and the name its certificate is checked for may differ. */
export function kubeConfigText(config: KubeConfig, name: string): string {
  const base64 = (text: string): string => Buffer.from(text).toString('base64');
  const { ca, cert, key, token, username, password, serverName } = config;
  const cluster = {
    server: config.server,
    ...(ca === undefined ? {} : { 'certificate-authority-data': base64(ca) }),
    ...(serverName === undefined ? {} : { 'tls-server-name': serverName }),
    ...(config.insecure ? { 'insecure-skip-tls-verify': true } : {}),
  };
  const user = {
    ...(cert === undefined ? {} : { 'client-certificate-data': base64(cert) }),
    ...(key === undefined ? {} : { 'client-key-data': base64(key) }),
    ...(token === undefined ? {} : { token }),
    ...(username === undefined ? {} : { username, password }),
  };
  const document = {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': name,
    contexts: [{ name, context: { cluster: name, user: name } }],
    clusters: [{ name, cluster }],
    users: [{ name, user }],
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}

/** The same API server through the relay on the LAN; its certificate is checked for the name it was made for. */
export function throughRelay(config: KubeConfig, relay: string): KubeConfig {
  const url = new URL(config.server);
  const original = url.hostname.replace(/^\[|\]$/g, '');
  const path = url.pathname === '/' ? '' : url.pathname;
  return {
    ...config,
    server: `${url.protocol}//${relay}${path}`,
    ...(url.protocol === 'https:' ? { serverName: config.serverName ?? original } : {}),
  };
}

export function hostAndPort(server: string): { readonly host: string; readonly port: number } {
  const url = new URL(server);
  const fallback = url.protocol === 'https:' ? 443 : 80;
  return { host: url.hostname.replace(/^\[|\]$/g, ''), port: url.port === '' ? fallback : Number(url.port) };
}
