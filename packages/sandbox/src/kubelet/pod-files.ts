/** Files of /etc in a pod. Pure. */
import { isIPv6 } from 'node:net';

export function resolvConf(namespace: string, nameserver: string): string {
  const search = `${namespace}.svc.cluster.local svc.cluster.local cluster.local`;
  return `nameserver ${nameserver}\nsearch ${search}\noptions ndots:5\n`;
}

export function hostsFile(hostname: string, fqdn: string | undefined, addresses: readonly string[]): string {
  const names = fqdn === undefined ? hostname : `${fqdn}\t${hostname}`;
  const own = addresses.map(address => `${address}\t${names}\n`).join('');
  return `127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n${own}`;
}

/** The kernel takes 64 bytes; Kubernetes cuts at 63. */
export const hostnameOf = (spec: { readonly hostname?: string }, podName: string): string =>
  (spec.hostname ?? podName).slice(0, 63).replace(/[-.]+$/, '');

/** For an URL. */
export const bracketed = (address: string): string => (isIPv6(address) ? `[${address}]` : address);
