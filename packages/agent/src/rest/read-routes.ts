/** Everything that REST can read. */

import { sceneFromTables, sceneToJson } from '@ciliate/control';
import { type EndpointRow, portKey } from '@ciliate/model';
import {
  type BpfDumpName,
  lbMapNames,
  type PolicyVerification,
  restPaths,
  type ServiceExplanation,
} from '@ciliate/protocol';
import { forwardingOf } from '../options/forwarding.ts';
import { nearest } from '../options/nearest.ts';
import { sceneSettings } from '../policy/scene-settings.ts';
import { buildConfig } from '../status/config.ts';
import type { AgentContext } from '../status/context.ts';
import { nodeElement } from '../status/node-element.ts';
import { buildStatus } from '../status/status.ts';
import { dumpCt, dumpEndpoints, dumpIpcache, dumpLb, dumpMetrics, dumpNat } from './bpf-dumps.ts';
import { endpointJson, hostEndpointId, hostRow, identityJson, ipJson, serviceJson } from './endpoint-json.ts';
import { dumpLbMap } from './lb-map-dumps.ts';
import { traceService } from './lb-trace.ts';
import { metricsRoute } from './metrics-route.ts';
import { monitorRoute } from './monitor-route.ts';
import { explainLive } from './policy-explain.ts';
import { dumpPolicyMaps, policySelectors, policyTree } from './policy-json.ts';
import { notFound, RestFailure, type Route } from './router.ts';
import { explainService, servicesNamed } from './service-explanation.ts';

const byId = (a: { readonly id: number }, b: { readonly id: number }): number => a.id - b.id;

/** Seconds of the clock that bpf_ktime_get_ns reads. */
export const kernelSeconds = (): number => Math.floor(Number(process.hrtime.bigint() / 1_000_000_000n));

export function readRoutes(context: AgentContext): readonly Route[] {
  const get = (
    path: string,
    json: (request: { readonly name: string; readonly query: URLSearchParams }) => unknown,
  ): Route => ({
    method: 'GET',
    path,
    handle: async request => ({ json: await json(request) }),
  });
  const { tables } = context;
  const audit = context.options['policy-audit-mode'];
  const routes: readonly Route[] = [
    {
      method: 'GET',
      path: restPaths.healthz,
      handle: ({ query, headers }) => healthz(context, query.get('brief') === 'true' || headers.brief === 'true'),
    },
    get(restPaths.config, () => buildConfig(context)),
    get(restPaths.endpoints, () =>
      [ownHost(context), ...tables.endpoints.all()].map(row => endpointJson(row, tables, audit)).sort(byId),
    ),
    get('/v1/endpoint/*', ({ name }) => endpointJson(findEndpoint(context, name), tables, audit)),
    get(restPaths.identities, () => tables.identities.all().map(identityJson).sort(byId)),
    get('/v1/identity/*', ({ name }) => found(tables.identities.get(name), `identity ${name}`, identityJson)),
    get(restPaths.ips, () => tables.ipcacheRows.all().map(row => ipJson(row, tables))),
    get(restPaths.policy, () => policyTree(tables)),
    get(restPaths.policySelectors, () => policySelectors(context)),
    get(restPaths.policyExplain, ({ query }) => explainLive(context, query)),
    get(restPaths.policyScene, () => sceneToJson(sceneFromTables(tables, sceneSettings(context.options)))),
    get(restPaths.policyVerify, () => verification(context)),
    get(restPaths.services, () => services(context)),
    get('/v1/service/*', ({ name }) =>
      found(
        services(context).find(item => String(item.spec.id) === name),
        `service ${name}`,
        item => item,
      ),
    ),
    get(restPaths.lbTrace, ({ query }) => traceService(context, query)),
    get('/v1/ciliate/service/*', ({ name }) => serviceExplanations(context, name)),
    get(restPaths.nodes, () => clusterNodes(context)),
    get(restPaths.maps, () => ({ maps: context.datapath.maps() })),
    get('/v1/map/*', ({ name }) =>
      found(
        context.datapath.maps().find(map => map.name === name),
        `map ${name}`,
        map => map,
      ),
    ),
    get(restPaths.clusterHealth, () => context.health()),
    { method: 'PUT', path: restPaths.clusterHealthProbe, handle: async () => ({ json: await context.probe() }) },
    get(restPaths.drops, () => dumpMetrics(context.datapath.metrics()).filter(entry => entry.reason !== 0)),
    get('/v1/ciliate/bpf/*', ({ name, query }) => dump(context, name, query)),
    get(restPaths.tables, () =>
      Object.values(tables).map(table => ({
        name: table.spec.name,
        rows: table.size,
        revision: table.revision,
        initialized: table.initialized,
        pendingInitializers: table.pendingInitializers,
      })),
    ),
    get('/v1/ciliate/tables/*', ({ name }) => tableRows(context, name)),
    monitorRoute(context),
    metricsRoute(context),
  ];
  return [...routes, get('/v1/ciliate/paths', () => routes.map(route => `${route.method} ${route.path}`))];
}

function healthz(context: AgentContext, brief: boolean): { readonly json: unknown } {
  const status = buildStatus(context);
  return { json: brief ? { cilium: status.cilium, ciliate: status.ciliate } : status };
}

/** 'nodes-added' is the field's name for the first answer of a series; `nodes` is the same list. */
function clusterNodes({ options, nodeName, tables }: AgentContext): unknown {
  const nodes = tables.nodes.all().map(row => nodeElement(row, options['cluster-name']));
  return { self: `${options['cluster-name']}/${nodeName}`, nodes, 'nodes-added': nodes };
}

const ownHost = ({ tables, nodeName, nodeAddresses }: AgentContext): EndpointRow =>
  hostRow(tables, nodeName, nodeAddresses());

/** By number, 'host', or 'pod-name:shop/web' and the like. */
function findEndpoint(context: AgentContext, name: string): EndpointRow {
  const { endpoints } = context.tables;
  const colon = name.indexOf(':');
  const [kind, value] = /^\d+$/.test(name) ? ['cilium-local', name] : [name.slice(0, colon), name.slice(colon + 1)];
  if (name === 'host' || name === String(hostEndpointId)) return ownHost(context);
  const rows = {
    'cilium-local': () => [endpoints.get(value)],
    'container-id': () => endpoints.by('container', value),
    'pod-name': () => endpoints.by('pod', value),
    ipv4: () => endpoints.by('address', value),
    ipv6: () => endpoints.by('address', value),
  };
  const search = Object.entries(rows).find(([key]) => key === kind)?.[1];
  if (search === undefined) {
    throw new RestFailure(
      400,
      'BAD_REQUEST',
      `endpoint '${name}' is not an id`,
      `use a number, host, or one of ${Object.keys(rows).join(': ')}:`,
    );
  }
  const row = search()[0];
  if (row === undefined) throw notFound(`endpoint ${name}`, 'GET /v1/endpoint lists the endpoints of this node');
  return row;
}

function found<T, R>(item: T | undefined, what: string, show: (item: T) => R): R {
  if (item === undefined) throw notFound(what, 'list them to see what there is');
  return show(item);
}

function services({ tables }: AgentContext): readonly ReturnType<typeof serviceJson>[] {
  return tables.frontends
    .all()
    .map(row => serviceJson(row, portKey(row), tables))
    .sort(
      (a, b) => a.spec.id - b.spec.id || a.spec['frontend-address'].ip.localeCompare(b.spec['frontend-address'].ip),
    );
}

function serviceExplanations({ tables, nodeName, options }: AgentContext, name: string): readonly ServiceExplanation[] {
  const known = servicesNamed(name, tables).map(key =>
    explainService(key, tables, { nodeName, forwarding: forwardingOf(options) }),
  );
  const explained = known.filter(one => one !== undefined);
  if (explained.length > 0) return explained;
  const near = nearest(
    name.slice(name.indexOf('/') + 1),
    tables.services.all().map(row => row.name),
  );
  const remedy = 'kubectl get services -A lists them; those of another proxy (service-proxy-name) are not known here';
  throw notFound(`service ${name}`, near === undefined ? remedy : `did you mean '${near}'? ${remedy}`);
}

function dump(context: AgentContext, name: string, query: URLSearchParams): unknown {
  const { datapath } = context;
  const dumps: Readonly<Record<BpfDumpName, () => unknown>> = {
    lb: () => {
      const map = query.get('map');
      if (map === null) return dumpLb(datapath.lbServices(), datapath.lbBackends());
      const known = lbMapNames.find(one => one === map);
      if (known === undefined) throw unknownName('map of the load balancer', map, lbMapNames);
      return dumpLbMap(known, datapath, kernelSeconds());
    },
    ct: () => dumpCt(datapath.ct(), kernelSeconds()),
    nat: () => dumpNat(datapath.nat(), kernelSeconds()),
    ipcache: () => dumpIpcache(datapath.ipcache()),
    endpoint: () => dumpEndpoints(datapath.endpoints()),
    metrics: () => dumpMetrics(datapath.metrics()),
    policy: () => policyMaps(context, query.get('endpoint')),
  };
  const run = Object.entries(dumps).find(([known]) => known === name)?.[1];
  if (run === undefined) throw unknownName('map dump', name, Object.keys(dumps));
  return run();
}

function verification({ verifier }: AgentContext): PolicyVerification {
  const { checked, lastRound } = verifier.health();
  return {
    ...verifier.verifyAll(),
    checked,
    lastRound: lastRound === undefined ? '' : new Date(lastRound).toISOString(),
  };
}

/** `name`: as of /v1/endpoint. */
function policyMaps(context: AgentContext, name: string | null): ReturnType<typeof dumpPolicyMaps> {
  if (name === null) return dumpPolicyMaps(context);
  return dumpPolicyMaps(context, findEndpoint(context, name).id);
}

function tableRows({ tables }: AgentContext, name: string): unknown {
  const table = Object.values(tables).find(candidate => candidate.spec.name === name);
  if (table === undefined)
    throw unknownName(
      'table',
      name,
      Object.values(tables).map(candidate => candidate.spec.name),
    );
  return table.all();
}

function unknownName(kind: string, name: string, known: readonly string[]): RestFailure {
  const guess = nearest(name, known);
  return notFound(
    `${kind} '${name}'`,
    guess === undefined ? `there are ${known.join(', ')}` : `did you mean '${guess}'?`,
  );
}
