/** What could serve, whether a service asks for it or not, in the columns of the data's two shapes of its backends table. */
import { redirectBackends, redirectName, redirectPods, stateOf } from '@ciliate/control';
import { type BackendState, portKey, type Tables } from '@ciliate/model';
import type { Cells } from '../../script/text-table.ts';
import { nodeName } from './tables.ts';

/** A backend as one service has it. */
interface Instance {
  readonly address: string;
  readonly service: string;
  readonly names: Set<string>;
  readonly state: BackendState;
  readonly nodeName: string;
}

class Instances {
  readonly #found = new Map<string, Instance>();

  add(instance: Omit<Instance, 'names'>, name: string): void {
    const key = `${instance.service} ${instance.address}`;
    const known = this.#found.get(key) ?? { ...instance, names: new Set<string>() };
    if (name !== '') known.names.add(name);
    this.#found.set(key, known);
  }

  sorted(): readonly Instance[] {
    return [...this.#found].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, instance]) => instance);
  }
}

export function instancesOf(tables: Tables): readonly Instance[] {
  const found = new Instances();
  for (const slice of tables.endpointSlices.all()) {
    const service = `${slice.namespace}/${slice.service}`;
    for (const endpoint of slice.endpoints) {
      for (const { port, protocol, name } of slice.ports) {
        const where = portKey({ address: endpoint.address, port, protocol });
        const isUnhealthy = tables.backendHealth.get(`${service} ${where}`)?.healthy === false;
        const state = isUnhealthy ? 'quarantined' : stateOf(endpoint);
        found.add({ address: where, service, state, nodeName: endpoint.nodeName }, name);
      }
    }
  }
  addRedirects(tables, found);
  for (const row of tables.frontends.all()) {
    if (row.type !== 'HostPort' && !row.service.endsWith(':healthserver')) continue;
    for (const backend of row.backends) {
      found.add({ address: portKey(backend), service: row.service, state: 'active', nodeName: '' }, '');
    }
  }
  return found.sorted();
}

function addRedirects(tables: Tables, found: Instances): void {
  for (const row of tables.localRedirects.all()) {
    for (const { address, name } of redirectBackends(row, redirectPods(row, tables.pods.all(), nodeName))) {
      found.add({ address: portKey(address), service: redirectName(row), state: 'active', nodeName: '' }, name);
    }
  }
}

/** A row for each address. */
export function backendCells(tables: Tables): readonly Cells[] {
  const byAddress = new Map<string, Instance[]>();
  for (const one of instancesOf(tables)) byAddress.set(one.address, [...(byAddress.get(one.address) ?? []), one]);
  return [...byAddress].map(([address, instances]) => ({
    Address: address,
    Instances: instances.map(instanceText).join(', '),
    Shadows: '',
    NodeName: instances.find(one => one.nodeName !== '')?.nodeName ?? '',
  }));
}

function instanceText({ service, state, names }: Instance): string {
  const mark = state === 'active' ? '' : ` [${state === 'quarantined' ? 'unhealthy' : state}]`;
  return `${service}${mark}${names.size === 0 ? '' : ` (${[...names].join(' ')})`}`;
}

/** A row for each service that has the address. */
export function instanceCells(tables: Tables): readonly Cells[] {
  return instancesOf(tables).map(one => ({
    Service: one.service,
    Address: one.address,
    Source: one.service.endsWith(':healthserver') ? 'local' : 'k8s',
    State: one.state,
    PortNames: [...one.names].join(', '),
    NodeName: one.nodeName,
  }));
}
