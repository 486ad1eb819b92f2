/**
 * `db/show -f json|yaml`: our rows in the words of the data. Of two such texts everything that ours says must be in the other: what the other
 * program keeps beside (weights, clusters, ids of its own) means nothing here.
 */
import assert from 'node:assert/strict';
import { type FrontendRow, objectKey, portKey, type ServiceRow, type Tables } from '@ciliate/model';
import { parseAllDocuments, stringify } from 'yaml';
import { instancesOf } from './backend-tables.ts';

type Structure = Readonly<Record<string, unknown>>;

export function tableText(table: string, tables: Tables, format: string): string {
  const rows = structuresOf(table, tables);
  if (format === 'json') return rows.map(row => `${JSON.stringify(row, null, 2)}\n`).join('');
  return rows.map(row => stringify(row)).join('---\n');
}

function structuresOf(table: string, tables: Tables): readonly Structure[] {
  switch (table) {
    case 'services':
      return tables.services.all().map(serviceStructure);
    case 'frontends':
      return tables.frontends.all().map(row => frontendStructure(row, tables));
    case 'backends':
      return backendStructures(tables);
    default:
      throw new Error(`no table ${table} as a structure`);
  }
}

function serviceStructure(row: ServiceRow): Structure {
  return {
    name: objectKey(row),
    source: row.fromFile === true ? 'api' : 'k8s',
    labels: row.labels,
    selector: row.selector,
    exttrafficpolicy: row.externalTrafficPolicy,
    inttrafficpolicy: row.internalTrafficPolicy,
    forwardingmode: row.forwardingMode,
    sessionaffinity: row.affinityTimeout > 0,
    healthchecknodeport: row.healthCheckNodePort,
    portnames: Object.fromEntries(row.ports.filter(({ name }) => name !== '').map(({ name, port }) => [name, port])),
    trafficdistribution: row.trafficDistribution,
  };
}

function frontendStructure(row: FrontendRow, tables: Tables): Structure {
  return {
    address: portKey(row),
    type: row.type,
    servicename: row.service,
    portname: row.portName,
    status: { kind: tables.lbRows.get(portKey(row))?.status.kind === 'done' ? 'Done' : 'Error' },
    backends: row.backends.map(backend => ({
      address: portKey(backend),
      portnames: row.portName === '' ? [] : [row.portName],
      nodename: backend.nodeName,
      unhealthy: backend.state === 'quarantined',
    })),
    redirectto: row.redirectTo === '' ? null : row.redirectTo,
  };
}

function backendStructures(tables: Tables): readonly Structure[] {
  const byAddress = new Map<string, Structure[]>();
  for (const { address, service, names, nodeName, state } of instancesOf(tables)) {
    const value = { address, portnames: [...names], nodename: nodeName, unhealthy: state === 'quarantined' };
    byAddress.set(address, [...(byAddress.get(address) ?? []), { k: { servicename: service }, v: value }]);
  }
  return [...byAddress].map(([address, instances]) => ({ address, instances }));
}

/** Undefined: not a text of this kind. */
export function structures(text: string): readonly unknown[] | undefined {
  if (!/^(\{|[a-z]+:( |$))/m.test(text)) return undefined;
  // Objects of JSON follow each other without a mark between them.
  const documents = parseAllDocuments(text.replaceAll(/^\}\n\{/gm, '}\n---\n{'));
  if (documents.some(document => document.errors.length > 0)) return undefined;
  const values = documents.map(document => plain(document.toJS()));
  return values.every(value => typeof value === 'object' && value !== null) ? values : undefined;
}

/** Names in small letters, without the nesting that YAML has and JSON has not. */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).map(([name, field]) => [name.toLowerCase(), plain(field)] as const);
  const { frontendparams, ...fields } = Object.fromEntries(entries) as Structure;
  return typeof frontendparams === 'object' ? { ...frontendparams, ...fields } : fields;
}

/** Whatever both say is the same, and nothing that `ours` says is missing. */
export function assertContains(theirs: unknown, ours: unknown, where = ''): void {
  if (Array.isArray(ours) && Array.isArray(theirs)) {
    assert.equal(ours.length, theirs.length, `${where}: as many`);
    ours.forEach((one, i) => {
      assertContains(theirs[i], one, `${where}[${i}]`);
    });
  } else if (isStructure(ours) && isStructure(theirs)) {
    for (const [name, value] of Object.entries(ours)) assertContains(theirs[name], value, `${where}.${name}`);
  } else assert.deepEqual(ours, theirs, where);
}

const isStructure = (value: unknown): value is Structure =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
