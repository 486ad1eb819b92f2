/** Cluster addresses, node ports and pod CIDRs: chosen by the API server, unique by what is stored. */
import {
  type Address,
  isIPv4,
  makePrefix,
  nthAddress,
  type Prefix,
  prefixContains,
  prefixesOverlap,
  prefixLength,
  prefixSize,
  tryParseAddress,
} from '@ciliate/model';
import { type JsonObject, type KubeObject, listAt, numberAt, objectAt, textAt } from './object.ts';
import { type FieldError, invalid } from './status.ts';

export interface Ranges {
  readonly serviceCidrs: readonly Prefix[];
  readonly podCidrs: readonly Prefix[];
  readonly nodePorts: readonly [number, number];
  readonly nodeMaskIPv4: number;
  readonly nodeMaskIPv6: number;
}

/** Throws when a pod range and a service range overlap: half of the services would be unreachable. */
export function checkRanges(ranges: Ranges): void {
  for (const pods of ranges.podCidrs) {
    for (const services of ranges.serviceCidrs) {
      if (prefixesOverlap(pods, services))
        throw new Error(`--pod-cidrs ${pods} overlaps --service-cidrs ${services}: give them ranges of their own`);
    }
  }
}

const familyOf = (address: Address | Prefix): string => (isIPv4(address) ? 'IPv4' : 'IPv6');

/** Cluster addresses and node ports of services other than the one in question. */
export interface Taken {
  readonly hasAddress: (address: string) => boolean;
  /** 'PORT/PROTOCOL' */
  readonly hasPort: (port: string) => boolean;
}

/** Who has which address and node port; kept up with every change, because 30,000 services are too many to look through. */
export class ServiceIndex {
  readonly #addresses = new Map<string, string>();
  readonly #ports = new Map<string, string>();

  #key(service: KubeObject): string {
    return `${service.metadata.namespace ?? ''}/${service.metadata.name}`;
  }

  add(service: KubeObject): void {
    const key = this.#key(service);
    for (const address of listAt(service, 'spec', 'clusterIPs'))
      if (address !== 'None') this.#addresses.set(String(address), key);
    for (const port of nodePortsOf(service)) this.#ports.set(port, key);
  }

  remove(service: KubeObject): void {
    for (const address of listAt(service, 'spec', 'clusterIPs')) this.#addresses.delete(String(address));
    for (const port of nodePortsOf(service)) this.#ports.delete(port);
  }

  takenByOthers(service: KubeObject): Taken {
    const key = this.#key(service);
    return {
      hasAddress: address => (this.#addresses.get(address) ?? key) !== key,
      hasPort: port => (this.#ports.get(port) ?? key) !== key,
    };
  }
}

function nodePortsOf(service: KubeObject): readonly string[] {
  return listAt(service, 'spec', 'ports')
    .filter(port => numberAt(port, 'nodePort') !== 0)
    .map(port => `${numberAt(port, 'nodePort')}/${textAt(port, 'protocol') || 'TCP'}`);
}

function freeAddress(range: Prefix, used: Taken): Address {
  const size = prefixSize(range);
  const span = Number(size > 65_536n ? 65_536n : size) - 2;
  const start = Math.floor(Math.random() * span);
  for (let tried = 0; tried < span; tried += 1) {
    const offset = 1 + ((start + tried) % span);
    const address = nthAddress(range, offset);
    // The first sixteen are left to those who ask for a certain one, such as cluster DNS.
    if ((offset > 16 || span < 64) && !used.hasAddress(address)) return address;
  }
  throw invalid('Service', '', [
    { field: 'spec.clusterIPs', message: `no address is free in ${range}: use a larger --service-cidrs` },
  ]);
}

function wantedFamilies(spec: JsonObject, ranges: Ranges): readonly string[] {
  const all = ranges.serviceCidrs.map(familyOf);
  const named = listAt(spec, 'ipFamilies').map(String);
  const given = listAt(spec, 'clusterIPs')
    .map(String)
    .map(tryParseAddress)
    .flatMap(address => (address === undefined ? [] : [familyOf(address)]));
  const first = named[0] ?? given[0] ?? all[0] ?? 'IPv4';
  const dual =
    ['PreferDualStack', 'RequireDualStack'].includes(textAt(spec, 'ipFamilyPolicy')) ||
    named.length > 1 ||
    given.length > 1;
  return dual ? [first, ...all.filter(family => family !== first)] : [first];
}

function checkGiven(service: KubeObject, given: readonly string[], used: Taken, ranges: Ranges): readonly FieldError[] {
  return given.flatMap((text, index): readonly FieldError[] => {
    const field = `spec.clusterIPs[${index}]`;
    const address = tryParseAddress(text);
    if (address === undefined) return [{ field, message: `Invalid value: "${text}": must be a valid IP address` }];
    if (!ranges.serviceCidrs.some(range => prefixContains(range, address))) {
      return [
        {
          field,
          message: `Invalid value: "${text}": the provided IP is not in the valid range (${ranges.serviceCidrs.join(', ')})`,
        },
      ];
    }
    return used.hasAddress(address)
      ? [
          {
            field,
            message: `Invalid value: "${text}": provided IP is already allocated (of ${service.metadata.name}'s peers)`,
          },
        ]
      : [];
  });
}

function clusterIPs(service: KubeObject, used: Taken, ranges: Ranges): JsonObject {
  const spec = objectAt(service, 'spec');
  const type = textAt(spec, 'type') || 'ClusterIP';
  if (type === 'ExternalName') return {};
  const families = wantedFamilies(spec, ranges);
  const policy = textAt(spec, 'ipFamilyPolicy') || (families.length > 1 ? 'RequireDualStack' : 'SingleStack');
  const common = { ipFamilies: families, ipFamilyPolicy: policy };
  const single = textAt(spec, 'clusterIP');
  if (single === 'None') return { ...common, clusterIP: 'None', clusterIPs: ['None'] };
  const list = listAt(spec, 'clusterIPs').map(String);
  const given = list.length > 0 ? list : single === '' ? [] : [single];
  const errors = checkGiven(service, given, used, ranges);
  if (errors.length > 0) throw invalid('Service', service.metadata.name, errors);
  const byFamily = new Map(given.map(text => [text.includes(':') ? 'IPv6' : 'IPv4', text]));
  const addresses = families.map(family => {
    const range = ranges.serviceCidrs.find(cidr => familyOf(cidr) === family);
    if (range === undefined)
      throw invalid('Service', service.metadata.name, [
        { field: 'spec.ipFamilies', message: `Invalid value: "${family}": not configured on this cluster` },
      ]);
    return byFamily.get(family) ?? freeAddress(range, used);
  });
  return { ...common, clusterIP: addresses[0] ?? '', clusterIPs: addresses };
}

function freePort(min: number, max: number, isTaken: (port: number) => boolean): number | undefined {
  const span = max - min + 1;
  const start = Math.floor(Math.random() * span);
  for (let tried = 0; tried < span; tried += 1) {
    const port = min + ((start + tried) % span);
    if (!isTaken(port)) return port;
  }
  return undefined;
}

function nodePorts(service: KubeObject, used: Taken, ranges: Ranges): JsonObject {
  const type = textAt(service, 'spec', 'type') || 'ClusterIP';
  const wants = type === 'NodePort' || type === 'LoadBalancer';
  const [min, max] = ranges.nodePorts;
  const mine = new Set<string>();
  const isTaken = (port: string): boolean => mine.has(port) || used.hasPort(port);
  const errors: FieldError[] = [];
  const ports = listAt(service, 'spec', 'ports').map((port, index) => {
    const protocol = textAt(port, 'protocol') || 'TCP';
    const base = {
      ...objectAt([port], 0),
      protocol,
      targetPort: (port as JsonObject).targetPort ?? numberAt(port, 'port'),
    };
    const asked = numberAt(port, 'nodePort');
    if (!wants) return Object.fromEntries(Object.entries(base).filter(([key]) => key !== 'nodePort'));
    const field = `spec.ports[${index}].nodePort`;
    if (asked !== 0 && (asked < min || asked > max))
      errors.push({
        field,
        message: `Invalid value: ${asked}: provided port is not in the valid range. The range of valid ports is ${min}-${max}`,
      });
    if (asked !== 0 && isTaken(`${asked}/${protocol}`))
      errors.push({ field, message: `Invalid value: ${asked}: provided port is already allocated` });
    const chosen = asked === 0 ? freePort(min, max, port => isTaken(`${port}/${protocol}`)) : asked;
    if (chosen === undefined) {
      errors.push({ field, message: `no node port is free in ${min}-${max}: use a larger --service-node-port-range` });
      return base;
    }
    mine.add(`${chosen}/${protocol}`);
    return { ...base, nodePort: chosen };
  });
  if (errors.length > 0) throw invalid('Service', service.metadata.name, errors);
  return { ports };
}

/** A service with its addresses, ports and defaults. `before`: what it replaces; its addresses stay. */
export function allocateService(
  service: KubeObject,
  before: KubeObject | undefined,
  used: Taken,
  ranges: Ranges,
): KubeObject {
  const kept = keepAddresses(service, before);
  const spec: JsonObject = {
    type: 'ClusterIP',
    sessionAffinity: 'None',
    internalTrafficPolicy: 'Cluster',
    ...kept.spec,
  };
  const withSpec: KubeObject = { ...kept, spec };
  const external = ['NodePort', 'LoadBalancer'].includes(textAt(spec, 'type'))
    ? { externalTrafficPolicy: textAt(spec, 'externalTrafficPolicy') || 'Cluster' }
    : {};
  return {
    ...withSpec,
    spec: { ...spec, ...external, ...clusterIPs(withSpec, used, ranges), ...nodePorts(withSpec, used, ranges) },
    status: withSpec.status ?? { loadBalancer: {} },
  };
}

function keepAddresses(service: KubeObject, before: KubeObject | undefined): KubeObject {
  if (before === undefined) return service;
  const wanted = textAt(service, 'spec', 'clusterIP');
  const had = textAt(before, 'spec', 'clusterIP');
  if (wanted !== '' && had !== '' && wanted !== had) {
    throw invalid('Service', service.metadata.name, [
      { field: 'spec.clusterIPs[0]', message: `Invalid value: ["${wanted}"]: may not change once set` },
    ]);
  }
  const ports = listAt(service, 'spec', 'ports').map(port => {
    const old = listAt(before, 'spec', 'ports').find(
      other =>
        numberAt(other, 'port') === numberAt(port, 'port') &&
        (textAt(other, 'protocol') || 'TCP') === (textAt(port, 'protocol') || 'TCP'),
    );
    const nodePort = numberAt(port, 'nodePort') || numberAt(old, 'nodePort');
    return nodePort === 0 ? port : { ...objectAt([port], 0), nodePort };
  });
  const addresses = had === '' ? {} : { clusterIP: had, clusterIPs: listAt(before, 'spec', 'clusterIPs') };
  return { ...service, spec: { ...service.spec, ...addresses, ports } };
}

/** A node with pod CIDRs of its own, if it has none. */
export function allocatePodCidrs(node: KubeObject, all: readonly KubeObject[], ranges: Ranges): KubeObject {
  if (textAt(node, 'spec', 'podCIDR') !== '' || ranges.podCidrs.length === 0) return node;
  const used = new Set(all.flatMap(other => listAt(other, 'spec', 'podCIDRs').map(String)));
  const podCIDRs = ranges.podCidrs.map(range => {
    const length = isIPv4(range) ? ranges.nodeMaskIPv4 : ranges.nodeMaskIPv6;
    const step = 1n << BigInt((isIPv4(range) ? 32 : 128) - length);
    for (let n = 0n; n < 1n << BigInt(length - prefixLength(range)); n += 1n) {
      const candidate = makePrefix(nthAddress(range, n * step), length);
      if (!used.has(candidate)) return candidate;
    }
    throw invalid('Node', node.metadata.name, [{ field: 'spec.podCIDRs', message: `no CIDR is left in ${range}` }]);
  });
  return { ...node, spec: { ...node.spec, podCIDR: podCIDRs[0] ?? '', podCIDRs } };
}
