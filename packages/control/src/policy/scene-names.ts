/** Whom a text on a command line or in a policy test means. */
import {
  type Address,
  matchesSelector,
  own,
  parseSelector,
  type ReservedIdentity,
  reservedIdentities,
  tryParseAddress,
} from '@ciliate/model';
import type { PolicyScene, Somebody } from './scene.ts';

/**
 * 'shop/web', 'shop/web-*', 'shop/*', '*', 'shop/app=web' (labels), 'node:worker-1', 'node:zone=a', an address, or one of host, world,
 * remote-node, kube-apiserver, health, ingress, init, unmanaged. Empty: nobody is called so. Throws ModelError BAD_SELECTOR for labels that
 * are none.
 */
export function somebodyNamed(scene: PolicyScene, text: string): readonly Somebody[] {
  const address = tryParseAddress(text);
  if (address !== undefined) return [byAddress(scene, address)];
  if (text === 'world') return scene.reserved().filter(one => one.name.startsWith('world'));
  if (Object.keys(reservedIdentities).includes(text)) return [scene.reservedOne(text as ReservedIdentity)];
  if (text.startsWith('node:')) return nodesNamed(scene, text.slice('node:'.length));
  if (text === '*') return scene.input.pods;
  const slash = text.indexOf('/');
  const [namespace, name] = slash < 0 ? ['default', text] : [text.slice(0, slash), text.slice(slash + 1)];
  const inNamespace = pattern(namespace);
  const pods = scene.input.pods.filter(pod => inNamespace.test(namespaceOf(pod)));
  if (/[=!,()]/.test(name)) {
    const selector = parseSelector(name);
    return pods.filter(pod => matchesSelector(selector, ownLabels(pod)));
  }
  const exact = pattern(name);
  const replica = new RegExp(`^${wildcards(name)}(-\\d+|(-[a-z0-9]{6,10})?-[a-z0-9]{5})$`);
  const called = pods.filter(pod => exact.test(nameOf(pod)));
  // Pods that a workload has made are called after it.
  return called.length > 0 ? called : pods.filter(pod => replica.test(nameOf(pod)));
}

function byAddress(scene: PolicyScene, address: Address): Somebody {
  const known = [...scene.input.pods, ...scene.nodes()].find(one => one.addresses.includes(address));
  if (known === undefined) return scene.outside(address);
  // What decides about a node may be the address.
  return known.kind === 'pod' ? known : { ...known, addresses: [address] };
}

function nodesNamed(scene: PolicyScene, name: string): readonly Somebody[] {
  if (!/[=!,()]/.test(name)) return scene.nodes().filter(one => pattern(`node:${name}`).test(one.name));
  const selector = parseSelector(name);
  const labels = new Map(scene.input.nodes.map(node => [`node:${node.name}`, node.labels]));
  return scene.nodes().filter(one => matchesSelector(selector, labels.get(one.name) ?? {}));
}

function ownLabels({ labels }: Somebody): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(labels).map(([key, value]) => [key.replace(/^k8s:/, ''), value]));
}

const namespaceOf = ({ name }: Somebody): string => name.slice(0, name.indexOf('/'));
const nameOf = ({ name }: Somebody): string => name.slice(name.indexOf('/') + 1);
const wildcards = (text: string): string => text.replaceAll(/[.+?^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*');

function pattern(text: string): RegExp {
  return new RegExp(`^${wildcards(text)}$`);
}

export interface PortNumber {
  readonly protocol: number;
  readonly port: number;
}

const protocols: Readonly<Record<string, number>> = { tcp: 6, udp: 17, sctp: 132, icmp: 1, icmpv6: 58 };

/** A number as parsePortNumber reads it, or what the one who is called names so. */
export function portsCalled(text: string, to: Somebody, protocol = 'tcp'): readonly PortNumber[] {
  const number = parsePortNumber(text, protocol);
  if (number !== undefined) return [number];
  return [6, 17, 132].flatMap(of =>
    (to.namedPorts.get(`${of}/${text.toLowerCase()}`) ?? []).map(port => ({ protocol: of, port })),
  );
}

/** '5432', '53/UDP', 'icmp/8', 'icmp' (echo request). Undefined: it is none. */
export function parsePortNumber(text: string, protocol = 'tcp'): PortNumber | undefined {
  const icmp = /^(icmp|icmpv6)(?:\/(\d+))?$/i.exec(text);
  if (icmp !== null) {
    const number = protocols[(icmp[1] ?? '').toLowerCase()] ?? 0;
    return { protocol: number, port: Number(icmp[2] ?? (number === 58 ? 128 : 8)) };
  }
  const [, port = '', name = protocol] = /^(\d{1,5})(?:\/([a-z0-9]+))?$/i.exec(text) ?? [];
  const number = own(protocols, name.toLowerCase());
  if (port === '' || number === undefined || Number(port) > 65_535) return undefined;
  return { protocol: number, port: Number(port) };
}
