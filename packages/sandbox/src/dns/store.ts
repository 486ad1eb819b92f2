/** Services and their endpoints as the DNS server sees them. Filled by reflectors, read by `answer`. */
import type { KubeObject } from '@ciliate/sources';

export interface DnsService {
  readonly namespace: string;
  readonly name: string;
  readonly type: string;
  /** Empty for a headless one. */
  readonly addresses: readonly string[];
  readonly externalName: string | undefined;
  readonly publishNotReady: boolean;
  readonly ports: readonly { readonly name: string; readonly port: number; readonly protocol: string }[];
}

export interface DnsEndpoint {
  readonly address: string;
  readonly hostname: string | undefined;
  readonly ready: boolean;
  readonly ports: readonly { readonly name: string; readonly port: number; readonly protocol: string }[];
}

export interface DnsStore {
  service(namespace: string, name: string): DnsService | undefined;
  endpoints(namespace: string, name: string): readonly DnsEndpoint[];
  hasNamespace(name: string): boolean;
  /** The services that own an address: their own, or that of an endpoint of a headless one. */
  owners(address: string): readonly { readonly service: DnsService; readonly endpoint?: DnsEndpoint }[];
}

interface Port {
  readonly name?: string;
  readonly port?: number;
  readonly protocol?: string;
}

interface ServiceSpec {
  readonly type?: string;
  readonly clusterIP?: string;
  readonly clusterIPs?: readonly string[];
  readonly externalName?: string;
  readonly publishNotReadyAddresses?: boolean;
  readonly ports?: readonly Port[];
}

interface SliceEndpoint {
  readonly addresses?: readonly string[];
  readonly hostname?: string;
  readonly conditions?: { readonly ready?: boolean };
}

const portsOf = (ports: readonly Port[] | null | undefined): DnsService['ports'] =>
  (ports ?? []).map(port => ({
    name: port.name ?? '',
    port: port.port ?? 0,
    protocol: (port.protocol ?? 'TCP').toLowerCase(),
  }));

export class ClusterStore implements DnsStore {
  readonly #services = new Map<string, DnsService>();
  /** Slice key → its service's key and endpoints. */
  readonly #slices = new Map<string, { readonly service: string; readonly endpoints: readonly DnsEndpoint[] }>();

  setServices(objects: readonly KubeObject[]): void {
    this.#services.clear();
    for (const object of objects) this.setService(object);
  }

  setService(object: KubeObject): void {
    const { name = '', namespace = '' } = object.metadata ?? {};
    const spec = (object.spec ?? {}) as ServiceSpec;
    const addresses = spec.clusterIPs ?? (spec.clusterIP === undefined ? [] : [spec.clusterIP]);
    this.#services.set(`${namespace}/${name}`, {
      namespace,
      name,
      type: spec.type ?? 'ClusterIP',
      addresses: addresses.filter(address => address !== '' && address !== 'None'),
      externalName: spec.type === 'ExternalName' ? spec.externalName : undefined,
      publishNotReady: spec.publishNotReadyAddresses === true,
      ports: portsOf(spec.ports),
    });
  }

  removeService(object: KubeObject): void {
    this.#services.delete(`${object.metadata?.namespace}/${object.metadata?.name}`);
  }

  setSlices(objects: readonly KubeObject[]): void {
    this.#slices.clear();
    for (const object of objects) this.setSlice(object);
  }

  setSlice(object: KubeObject): void {
    const { name = '', namespace = '', labels } = object.metadata ?? {};
    const ports = portsOf(object.ports as readonly Port[] | null | undefined);
    const endpoints = ((object.endpoints ?? []) as readonly SliceEndpoint[]).flatMap(endpoint =>
      (endpoint.addresses ?? []).map(address => ({
        address,
        hostname: endpoint.hostname,
        ready: endpoint.conditions?.ready !== false,
        ports,
      })),
    );
    const service = `${namespace}/${labels?.['kubernetes.io/service-name'] ?? ''}`;
    this.#slices.set(`${namespace}/${name}`, { service, endpoints });
  }

  removeSlice(object: KubeObject): void {
    this.#slices.delete(`${object.metadata?.namespace}/${object.metadata?.name}`);
  }

  service(namespace: string, name: string): DnsService | undefined {
    return this.#services.get(`${namespace}/${name}`);
  }

  endpoints(namespace: string, name: string): readonly DnsEndpoint[] {
    const key = `${namespace}/${name}`;
    const all = [...this.#slices.values()].filter(slice => slice.service === key).flatMap(slice => slice.endpoints);
    return all.filter(endpoint => endpoint.ready || this.#services.get(key)?.publishNotReady === true);
  }

  hasNamespace(name: string): boolean {
    return [...this.#services.values()].some(service => service.namespace === name);
  }

  owners(address: string): ReturnType<DnsStore['owners']> {
    const services = [...this.#services.values()];
    const own = services.filter(service => service.addresses.includes(address)).map(service => ({ service }));
    if (own.length > 0) return own;
    return services
      .filter(service => service.addresses.length === 0 && service.externalName === undefined)
      .flatMap(service => {
        const endpoint = this.endpoints(service.namespace, service.name).find(found => found.address === address);
        return endpoint === undefined ? [] : [{ service, endpoint }];
      });
  }
}
