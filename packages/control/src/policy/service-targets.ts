/** policies × services × endpointSlices × pods → serviceTargets: whom each toServices stands for. A change costs the references that it is about. */
import {
  type EndpointRow,
  type EndpointSliceRow,
  objectKey,
  type PolicyRow,
  type RemoteEndpointRow,
  type ServiceReference,
  type ServiceRow,
  type Tables,
} from '@ciliate/model';
import { type ChangesOf, Controller, type ControllerModules, upsert, type WriteTxn } from '@ciliate/tables';
import { peerKey } from './selector-cache.ts';
import { namesService, servicePeersOf, targetsOf } from './service-peers.ts';

type ServiceInputs = {
  readonly ciliumPolicies: PolicyRow;
  readonly clusterwidePolicies: PolicyRow;
  readonly services: ServiceRow;
  readonly endpointSlices: EndpointSliceRow;
  readonly endpoints: EndpointRow;
  readonly remoteEndpoints: RemoteEndpointRow;
};
type ServiceTables = Pick<Tables, keyof ServiceInputs | 'serviceTargets'>;

export function serviceTargetsController(tables: ServiceTables, modules: ControllerModules): Controller<ServiceInputs> {
  const runner = new TargetsRunner(tables);
  const { ciliumPolicies, clusterwidePolicies, services, endpointSlices, endpoints, remoteEndpoints } = tables;
  return new Controller<ServiceInputs>(
    {
      name: 'policy-service-targets',
      inputs: { ciliumPolicies, clusterwidePolicies, services, endpointSlices, endpoints, remoteEndpoints },
      outputs: [tables.serviceTargets],
      // Half of the services would take away what the other half allows.
      whole: true,
      run: (changes, txn) => runner.run(changes, txn),
    },
    modules,
  );
}

interface Reference {
  readonly service: ServiceReference;
  readonly policies: Set<string>;
  /** namespace/name of services that it names. */
  readonly members: Set<string>;
}

class TargetsRunner {
  readonly #tables: ServiceTables;
  readonly #references = new Map<string, Reference>();
  readonly #ofPolicy = new Map<string, readonly string[]>();
  /** Service, address or endpoint → references whose targets depend on it. */
  readonly #usedBy = new Map<string, Set<string>>();
  readonly #uses = new Map<string, readonly string[]>();

  constructor(tables: ServiceTables) {
    this.#tables = tables;
  }

  run(changes: ChangesOf<ServiceInputs>, txn: WriteTxn): void {
    const dirty = new Set<string>();
    for (const { key, row, deleted } of [...changes.ciliumPolicies, ...changes.clusterwidePolicies]) {
      for (const one of this.#policy(key, deleted || row.refused.length > 0 ? undefined : row)) dirty.add(one);
    }
    if (this.#references.size > 0) {
      for (const { key, row, deleted } of changes.services) this.#service(key, deleted ? undefined : row, dirty);
      for (const { row } of changes.endpointSlices) this.#mark(`service ${row.namespace}/${row.service}`, dirty);
      for (const source of ['endpoints', 'remoteEndpoints'] as const) {
        for (const { key, row } of changes[source]) {
          this.#mark(`${source} ${key}`, dirty);
          for (const address of row.addresses) this.#mark(`address ${address}`, dirty);
        }
      }
    }
    for (const key of dirty) this.#write(key, txn);
  }

  /** References that begin or cease to be there. */
  #policy(key: string, row: PolicyRow | undefined): readonly string[] {
    const touched = new Set(this.#ofPolicy.get(key));
    for (const one of touched) this.#references.get(one)?.policies.delete(key);
    const peers = row === undefined ? [] : servicePeersOf(row);
    for (const peer of peers) {
      const name = peerKey(peer);
      touched.add(name);
      const known = this.#references.get(name);
      if (known !== undefined) known.policies.add(key);
      else this.#references.set(name, this.#reference(peer.service, key));
    }
    if (peers.length === 0) this.#ofPolicy.delete(key);
    else this.#ofPolicy.set(key, peers.map(peerKey));
    return [...touched];
  }

  #reference(service: ServiceReference, policy: string): Reference {
    const named = this.#tables.services.all().filter(row => namesService(service, row));
    return { service, policies: new Set([policy]), members: new Set(named.map(objectKey)) };
  }

  #service(key: string, row: ServiceRow | undefined, dirty: Set<string>): void {
    for (const [name, { service, members }] of this.#references) {
      const had = members.delete(key);
      const has = row !== undefined && namesService(service, row);
      if (has) members.add(key);
      if (had || has) dirty.add(name);
    }
  }

  #mark(thing: string, dirty: Set<string>): void {
    for (const name of this.#usedBy.get(thing) ?? []) dirty.add(name);
  }

  #write(name: string, txn: WriteTxn): void {
    const reference = this.#references.get(name);
    if (reference === undefined || reference.policies.size === 0) {
      this.#references.delete(name);
      this.#depend(name, []);
      this.#tables.serviceTargets.delete(txn, name);
      return;
    }
    const { services, endpointSlices, endpoints, remoteEndpoints } = this.#tables;
    const used = [...reference.members].map(key => `service ${key}`);
    const targets = targetsOf(
      [...reference.members].flatMap(key => services.get(key) ?? []),
      service => {
        const slices = endpointSlices.by('service', objectKey(service));
        return slices.flatMap(slice => slice.endpoints).map(endpoint => endpoint.address);
      },
      address => {
        const [own] = endpoints.by('address', address);
        const [remote] = remoteEndpoints.by('address', address);
        used.push(`address ${address}`);
        if (own !== undefined) used.push(`endpoints ${own.id}`);
        if (remote !== undefined) used.push(`remoteEndpoints ${objectKey(remote)}`);
        return (own ?? remote)?.identity;
      },
    );
    this.#depend(name, used);
    upsert(this.#tables.serviceTargets, txn, { key: name, ...targets });
  }

  #depend(name: string, things: readonly string[]): void {
    for (const thing of this.#uses.get(name) ?? []) {
      const users = this.#usedBy.get(thing);
      users?.delete(name);
      if (users?.size === 0) this.#usedBy.delete(thing);
    }
    if (things.length === 0) this.#uses.delete(name);
    else this.#uses.set(name, things);
    for (const thing of things) this.#usedBy.set(thing, (this.#usedBy.get(thing) ?? new Set()).add(name));
  }
}
