/** skipRedirectFromBackend: which pods of this node a local redirect does not apply to, since they are its own backends. */
import {
  addressBytes,
  type EndpointRow,
  type FrontendRow,
  type LbSkipRow,
  type LocalRedirectRow,
  type NodeConfig,
  objectKey,
  type PodRow,
  portKey,
  protocolNumbers,
  type Tables,
} from '@ciliate/model';
import { type ChangesOf, Controller, type ControllerModules, pending, replaceAll } from '@ciliate/tables';
import { redirectName, redirectsPort, selectedPods } from './local-redirect.ts';

type SkipInputs = {
  readonly localRedirects: LocalRedirectRow;
  readonly frontends: FrontendRow;
  readonly pods: PodRow;
  readonly endpoints: EndpointRow;
};
type SkipTables = Pick<Tables, keyof SkipInputs | 'lbSkipRows'>;

/** localRedirects × pods of this node × their frontends → lbSkipRows. Such redirects are few: all of them at each change. */
export function redirectSkipController(
  tables: SkipTables,
  { nodeName }: Pick<NodeConfig, 'nodeName'>,
  modules: ControllerModules,
): Controller<SkipInputs> {
  const { localRedirects, frontends, pods, endpoints, lbSkipRows } = tables;
  const matters = (changes: ChangesOf<SkipInputs>): boolean => {
    if (changes.localRedirects.length > 0) return true;
    const skipping = localRedirects.all().filter(row => row.skipFromBackend);
    if (skipping.length === 0) return false;
    const services = new Set(skipping.map(serviceOf));
    return (
      changes.pods.length + changes.endpoints.length > 0 ||
      changes.frontends.some(({ row }) => services.has(row.service))
    );
  };
  return new Controller<SkipInputs>(
    {
      name: 'redirect-skips',
      inputs: { localRedirects, frontends, pods, endpoints },
      outputs: [lbSkipRows],
      whole: true,
      run: (changes, txn) => {
        if (matters(changes)) replaceAll(lbSkipRows, txn, skipRows(tables, nodeName, modules.clock.now()));
      },
    },
    modules,
  );
}

/** An address that clients dial. */
type Dialled = Pick<FrontendRow, 'address' | 'port' | 'protocol'>;

/** '' = the redirect is about an address. */
const serviceOf = ({ frontend }: LocalRedirectRow): string => (frontend.kind === 'service' ? objectKey(frontend) : '');

/**
 * Frontends that each pod passes, by namespace/name of the pod: also while nothing redirects them, and also of pods that are not ready, so
 * that no pod is ever redirected that will not be later. What it needs from behind the redirect may be what makes it ready.
 */
export function skippedFrontends(
  tables: Pick<Tables, 'localRedirects' | 'frontends' | 'pods'>,
  nodeName: string,
): ReadonlyMap<string, readonly Dialled[]> {
  const found = new Map<string, Map<string, Dialled>>();
  for (const redirect of tables.localRedirects.all()) {
    if (!redirect.skipFromBackend) continue;
    const frontends = frontendsOf(redirect, tables);
    for (const pod of selectedPods(redirect, tables.pods.all(), nodeName)) {
      const own = found.get(objectKey(pod)) ?? new Map<string, Dialled>();
      for (const frontend of frontends) own.set(portKey(frontend), frontend);
      found.set(objectKey(pod), own);
    }
  }
  return new Map([...found].map(([pod, frontends]) => [pod, [...frontends.values()]]));
}

function frontendsOf(redirect: LocalRedirectRow, { frontends }: Pick<Tables, 'frontends'>): readonly Dialled[] {
  const { frontend } = redirect;
  if (frontend.kind === 'address') return frontend.ports.map(port => ({ ...port, address: frontend.address }));
  return frontends.by('service', objectKey(frontend)).filter(row => {
    const isFree = row.redirectTo === '' || row.redirectTo === redirectName(redirect);
    return row.type === 'ClusterIP' && isFree && redirectsPort(redirect, row);
  });
}

function skipRows(tables: SkipTables, nodeName: string, now: number): readonly LbSkipRow[] {
  return [...skippedFrontends(tables, nodeName)].flatMap(([pod, frontends]) =>
    tables.endpoints
      .by('pod', pod)
      .flatMap(endpoint => frontends.flatMap(frontend => rowsOf(pod, endpoint, frontend, now))),
  );
}

function rowsOf(pod: string, endpoint: EndpointRow, frontend: Dialled, now: number): readonly LbSkipRow[] {
  const { address, port, protocol } = frontend;
  const at = { address: addressBytes(address), port, proto: protocolNumbers[protocol] };
  const netnsCookie = BigInt(endpoint.netnsCookie ?? 0);
  const row = { pod, frontend: portKey(frontend), value: { present: 1 }, status: pending(now) };
  return [
    { ...row, by: 'endpoint', key: { ...at, netnsCookie: 0n, endpointId: endpoint.id } },
    ...(netnsCookie === 0n ? [] : [{ ...row, by: 'cookie' as const, key: { ...at, netnsCookie, endpointId: 0 } }]),
  ];
}
