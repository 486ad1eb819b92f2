/**
 * Answers of the cluster's DNS (Kubernetes DNS-Based Service Discovery, specification 1.1.0). Pure: names and types in,
 * records out. A name that exists without records of the type asked is NODATA, which ends a client's search list;
 * one that does not exist is NXDOMAIN, which lets it go on.
 */
import { isIPv6 } from 'node:net';
import type { Answer } from 'dns-packet';
import { canonical6, fromDashes, fromReverse, toDashes } from './addresses.ts';
import type { DnsEndpoint, DnsService, DnsStore } from './store.ts';

export const Rcode = { noError: 0, serverFailure: 2, nameError: 3, refused: 5 } as const;
export const domain = 'cluster.local';
const ttl = 5;

export interface Reply {
  readonly rcode: number;
  readonly answers: readonly Answer[];
  readonly additionals: readonly Answer[];
  readonly authorities: readonly Answer[];
}

/** Addresses behind a name, and the records only SRV and CNAME have. Undefined = no such name. */
interface Found {
  readonly addresses: readonly string[];
  readonly cname?: string;
  readonly targets?: readonly { readonly name: string; readonly port: number; readonly addresses: readonly string[] }[];
  readonly text?: string;
}

export function answer(question: { readonly name: string; readonly type: string }, store: DnsStore): Reply {
  const name = question.name.toLowerCase().replace(/\.$/, '');
  if (name.endsWith('.arpa')) return reverse(question, name, store);
  if (name !== domain && !name.endsWith(`.${domain}`)) return reply(Rcode.refused, []);
  const found = find(name === domain ? [] : name.slice(0, -domain.length - 1).split('.'), store);
  if (found === undefined) return reply(Rcode.nameError, []);
  const answers = records(question, found);
  return reply(Rcode.noError, answers, question.type === 'SRV' ? extra(found) : []);
}

function reply(rcode: number, answers: readonly Answer[], additionals: readonly Answer[] = []): Reply {
  const negative = answers.length === 0 && rcode !== Rcode.refused;
  return { rcode, answers, additionals, authorities: negative ? [authority] : [] };
}

/** Negative answers are kept by clients for its last number of seconds (RFC 2308). */
const authority: Answer = {
  type: 'SOA',
  name: domain,
  ttl,
  data: {
    mname: `ns.dns.${domain}`,
    rname: `hostmaster.${domain}`,
    serial: 1,
    refresh: 7200,
    retry: 1800,
    expire: 86400,
    minimum: ttl,
  },
};

/** `labels` are those before cluster.local, leftmost first. */
function find(labels: readonly string[], store: DnsStore): Found | undefined {
  const nothing: Found = { addresses: [] };
  const kind = labels.at(-1);
  if (kind === undefined) return nothing;
  if (kind === 'dns-version' && labels.length === 1) return { addresses: [], text: '1.1.0' };
  if (kind !== 'svc' && kind !== 'pod') return undefined;
  const namespace = labels.at(-2);
  if (namespace === undefined) return nothing;
  if (kind === 'pod') return podRecord(labels, namespace, store);
  const name = labels.at(-3);
  if (name === undefined) return store.hasNamespace(namespace) ? nothing : undefined;
  const service = store.service(namespace, name);
  if (service === undefined) return undefined;
  return serviceRecord(labels.slice(0, -3), service, store.endpoints(namespace, name));
}

function podRecord(labels: readonly string[], namespace: string, store: DnsStore): Found | undefined {
  if (labels.length === 2) return store.hasNamespace(namespace) ? { addresses: [] } : undefined;
  const address = labels.length === 3 ? fromDashes(labels[0] ?? '') : undefined;
  return address === undefined ? undefined : { addresses: [address] };
}

function serviceRecord(
  labels: readonly string[],
  service: DnsService,
  endpoints: readonly DnsEndpoint[],
): Found | undefined {
  const headless = service.addresses.length === 0;
  if (service.externalName !== undefined) {
    return labels.length === 0 ? { addresses: [], cname: service.externalName } : undefined;
  }
  if (labels.length === 0) {
    const addresses = headless ? endpoints.map(endpoint => endpoint.address) : service.addresses;
    return headless && addresses.length === 0
      ? undefined
      : { addresses, targets: targets(service, endpoints, () => true) };
  }
  if (labels.length === 1) return oneEndpoint(labels[0] ?? '', headless, service, endpoints);
  const [port = '', protocol = ''] = labels;
  if (labels.length !== 2 || !port.startsWith('_') || !protocol.startsWith('_')) return undefined;
  const chosen = targets(service, endpoints, (name, proto) => `_${name}` === port && `_${proto}` === protocol);
  return chosen.length === 0 ? undefined : { addresses: [], targets: chosen };
}

function oneEndpoint(
  label: string,
  headless: boolean,
  service: DnsService,
  endpoints: readonly DnsEndpoint[],
): Found | undefined {
  // _tcp and _udp of a service exist as names with nothing in them.
  if (label.startsWith('_'))
    return service.ports.some(port => `_${port.protocol}` === label) ? { addresses: [] } : undefined;
  const chosen = headless ? endpoints.filter(endpoint => endpointName(endpoint) === label) : [];
  return chosen.length === 0 ? undefined : { addresses: chosen.map(endpoint => endpoint.address) };
}

const endpointName = (endpoint: DnsEndpoint): string => endpoint.hostname ?? toDashes(endpoint.address);
const serviceName = (service: DnsService): string => `${service.name}.${service.namespace}.svc.${domain}`;

function targets(
  service: DnsService,
  endpoints: readonly DnsEndpoint[],
  wanted: (port: string, protocol: string) => boolean,
): NonNullable<Found['targets']> {
  const name = serviceName(service);
  if (service.addresses.length > 0) {
    return service.ports
      .filter(port => wanted(port.name, port.protocol))
      .map(port => ({ name, port: port.port, addresses: service.addresses }));
  }
  return endpoints.flatMap(endpoint =>
    endpoint.ports
      .filter(port => wanted(port.name, port.protocol))
      .map(port => ({ name: `${endpointName(endpoint)}.${name}`, port: port.port, addresses: [endpoint.address] })),
  );
}

function records(question: { readonly name: string; readonly type: string }, found: Found): readonly Answer[] {
  const { name, type } = question;
  if (found.cname !== undefined) return [{ type: 'CNAME', name, ttl, data: found.cname }];
  if (type === 'SRV') {
    return (found.targets ?? []).map(target => ({
      type: 'SRV',
      name,
      ttl,
      data: { priority: 0, weight: 100, port: target.port, target: target.name },
    }));
  }
  if (type === 'TXT') return found.text === undefined ? [] : [{ type: 'TXT', name, ttl, data: found.text }];
  return found.addresses.flatMap(address => addressRecord(name, address, type));
}

function addressRecord(name: string, address: string, type: string): readonly Answer[] {
  const own = isIPv6(address) ? 'AAAA' : 'A';
  return type === own || type === 'ANY' ? [{ type: own, name, ttl, data: address }] : [];
}

function extra(found: Found): readonly Answer[] {
  return (found.targets ?? []).flatMap(target =>
    target.addresses.flatMap(address => addressRecord(target.name, address, 'ANY')),
  );
}

function reverse(question: { readonly name: string }, name: string, store: DnsStore): Reply {
  const address = fromReverse(name);
  const owners = address === undefined ? [] : store.owners(address);
  const names = owners.map(({ service, endpoint }) =>
    endpoint === undefined ? serviceName(service) : `${endpointName(endpoint)}.${serviceName(service)}`,
  );
  if (names.length === 0) return reply(Rcode.nameError, []);
  return reply(
    Rcode.noError,
    names.map(data => ({ type: 'PTR', name: question.name, ttl, data })),
  );
}

/** Keys of the store are canonical; addresses of objects may be written in other ways. */
export const canonical = (address: string): string => (isIPv6(address) ? canonical6(address) : address);
