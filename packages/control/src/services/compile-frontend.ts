import { LbServiceFlags } from '@ciliate/abi';
import {
  addressBytes,
  type FrontendBackend,
  type FrontendRow,
  type FrontendType,
  type LbRow,
  type LbWrite,
  portKey,
  protocolNumbers,
} from '@ciliate/model';
import { pending } from '@ciliate/tables';

export interface FrontendIds {
  /** Of the frontend: its revNat id, and what `service list` shows as ID. 1 to 65535. */
  readonly service: number;
  /** Of each backend, by portKey. */
  readonly backend: (key: string) => number;
}

const typeFlags: Readonly<Record<FrontendType, number>> = {
  ClusterIP: LbServiceFlags.LB_SVC_CLUSTER_IP,
  NodePort: LbServiceFlags.LB_SVC_NODE_PORT | LbServiceFlags.LB_SVC_ROUTABLE,
  ExternalIPs: LbServiceFlags.LB_SVC_EXTERNAL_IP | LbServiceFlags.LB_SVC_ROUTABLE,
  LoadBalancer: LbServiceFlags.LB_SVC_LOAD_BALANCER | LbServiceFlags.LB_SVC_ROUTABLE,
  HostPort: LbServiceFlags.LB_SVC_HOST_PORT | LbServiceFlags.LB_SVC_ROUTABLE,
};

/** Entries of lb_services that a frontend takes: its slots and the master. */
export function slotCount(frontend: FrontendRow): number {
  return usable(frontend.backends).length + 1;
}

/** Backends that get a slot: active and terminating ones, active first as compileBackends orders them. */
export function usable(backends: readonly FrontendBackend[]): readonly FrontendBackend[] {
  return backends.filter(backend => backend.state === 'active' || backend.state === 'terminating');
}

/**
 * The map writes for one frontend, in the order that is safe to apply: backends, reverse NAT, slots, master last.
 * `backendFlags` are enum lb_backend_flags by where the backend is.
 */
export function compileFrontend(
  frontend: FrontendRow,
  ids: FrontendIds,
  backendFlags: (backend: FrontendBackend) => number,
  now: number,
): LbRow {
  const backends = usable(frontend.backends);
  const backendIds = backends.map(backend => ids.backend(portKey(backend)));
  const writes: LbWrite[] = [
    ...backends.map((backend, i) => backendWrite(backend, backendIds[i] ?? 0, backendFlags(backend))),
    revnatWrite(frontend, ids.service),
    ...backendIds.map((id, i) => slotWrite(frontend, ids.service, i + 1, id)),
    masterWrite(frontend, ids.service, backends),
  ];
  return { key: portKey(frontend), serviceId: ids.service, backendIds, writes, status: pending(now) };
}

function backendWrite(backend: FrontendBackend, id: number, flags: number): LbWrite {
  const address = addressBytes(backend.address);
  const value = { address, port: backend.port, proto: protocolNumbers[backend.protocol], flags };
  return { map: 'lb_backends', key: id, value };
}

function revnatWrite(frontend: FrontendRow, id: number): LbWrite {
  return { map: 'lb_revnat', key: id, value: { address: addressBytes(frontend.address), port: frontend.port } };
}

function slotWrite(frontend: FrontendRow, revNatId: number, slot: number, backendId: number): LbWrite {
  const value = { backendId, count: 0, revNatId, flags: flagsOf(frontend), qcount: 0 };
  return { map: 'lb_services', key: lbKey(frontend, slot), value };
}

function masterWrite(frontend: FrontendRow, revNatId: number, backends: readonly FrontendBackend[]): LbWrite {
  const active = backends.filter(backend => backend.state === 'active').length;
  const value = {
    backendId: frontend.affinityTimeout,
    count: active,
    revNatId,
    flags: flagsOf(frontend),
    qcount: backends.length - active,
  };
  return { map: 'lb_services', key: lbKey(frontend, 0), value };
}

/** enum lb_service_flags of all slots of a frontend. */
export function flagsOf(frontend: FrontendRow): number {
  const external = frontend.type !== 'ClusterIP' && frontend.externalTrafficPolicy === 'Local';
  return (
    typeFlags[frontend.type] |
    (frontend.affinityTimeout > 0 ? LbServiceFlags.LB_SVC_AFFINITY : 0) |
    (external ? LbServiceFlags.LB_SVC_EXT_LOCAL_SCOPE : 0) |
    (frontend.internalTrafficPolicy === 'Local' ? LbServiceFlags.LB_SVC_INT_LOCAL_SCOPE : 0)
  );
}

function lbKey(frontend: FrontendRow, backendSlot: number) {
  return {
    address: addressBytes(frontend.address),
    dport: frontend.port,
    backendSlot,
    proto: protocolNumbers[frontend.protocol],
    scope: 0,
  };
}
