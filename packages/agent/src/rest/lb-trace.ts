/** A packet to a service through the loaded programs, told step by step. */
import { LbBackendFlags, LbServiceFlags } from '@ciliate/abi';
import {
  type LoadedBackend,
  type LoadedService,
  type ServiceFlow,
  type ServiceRun,
  takesNewFlows,
} from '@ciliate/datapath';
import { decodePacket, dropReasonName, protocolName } from '@ciliate/hubble';
import { type Address, addressFromBytes, hostPort, isIPv4, protocolNumbers, tryParseAddress } from '@ciliate/model';
import type { DecodedPacket, LbTrace, LbTraceStep } from '@ciliate/protocol';
import type { AgentContext } from '../status/context.ts';
import { flagNames } from './bpf-dumps.ts';
import { reachedBackend, translationText, wayText } from './lb-trace-way.ts';
import { RestFailure } from './router.ts';

const bad = (message: string, remedy: string): RestFailure => new RestFailure(400, 'BAD_REQUEST', message, remedy);

/** Throws RestFailure 400 for what cannot be read, and for a client that is not this node's to ask about. */
export function traceService(context: AgentContext, query: URLSearchParams): LbTrace {
  const to = frontendOf(query.get('to') ?? '');
  const from = clientOf(context, query.get('from') ?? '', isIPv4(to.address));
  const flow: ServiceFlow = { source: from.address, destination: to.address, protocol: to.protocol, port: to.port };
  const service = context.datapath.loadedService(flow, from.isPod);
  const steps: LbTraceStep[] = [{ stage: 'client', text: from.text }];
  const tell = (stage: string, text: string): void => void steps.push({ stage, text });
  if (service === undefined) tell('frontend', missing(context, to.address));
  else describeService(context, service, from.isPod, tell);
  const runs = context.datapath.runServiceFlow(flow);
  const run = runs?.at(-1);
  if (runs === undefined || run === undefined) {
    throw bad('there is no device by which packets from outside come in', 'name one with --devices');
  }
  const packet = decodePacket(run.packet);
  const outcome = outcomeOf(run, packet, service !== undefined);
  if (runs.length > 1) tell('program', `${runs[0]?.program} has run: leaves it to ${run.program}`);
  const backend = outcome === 'forwarded' && service !== undefined ? reachedBackend(packet, service) : '';
  tell('program', `${run.program} has run: ${verdictText(run, packet, outcome, backend)}`);
  if (backend !== '' && service !== undefined) describeWay(context, flow, packet, service, tell);
  return {
    from: query.get('from') ?? '',
    to: `${hostPort(to.address, to.port)}/${protocolName(to.protocol)}`,
    steps,
    outcome,
    backend,
  };
}

/** '10.96.0.1:80', '[fd00::1]:53/UDP'. */
function frontendOf(text: string): { readonly address: Address; readonly port: number; readonly protocol: number } {
  const found = /^(?:\[([^\]]+)\]|([^:]+)):(\d+)(?:\/(\w+))?$/.exec(text);
  const address = tryParseAddress(found?.[1] ?? found?.[2] ?? '');
  const port = Number(found?.[3]);
  const name = (found?.[4] ?? 'TCP').toUpperCase();
  const protocol = Object.entries(protocolNumbers).find(([known]) => known === name)?.[1];
  if (address === undefined || !(port >= 1 && port <= 65_535)) {
    throw bad(`to: '${text}' is no address and port`, 'write 10.96.0.10:53/UDP or [fd00::1]:80');
  }
  if (protocol === undefined) throw bad(`to: protocol '${name}' is none`, 'write TCP, UDP or SCTP');
  return { address, port, protocol };
}

interface Client {
  readonly address: Address;
  readonly isPod: boolean;
  readonly text: string;
}

/** A pod of this node, by name or address, or an address outside of the cluster. */
function clientOf(context: AgentContext, text: string, isV4: boolean): Client {
  const { tables } = context;
  const address = tryParseAddress(text);
  const name = text.includes('/') ? text : `default/${text}`;
  const pods = address === undefined ? tables.endpoints.by('pod', name) : tables.endpoints.by('address', address);
  const [pod] = pods;
  if (pod !== undefined) {
    const own = pod.addresses.find(one => isIPv4(one) === isV4);
    if (own === undefined)
      throw bad(`${text} has no ${isV4 ? 'IPv4' : 'IPv6'} address`, 'ask for a frontend of the other family');
    const who = pod.podName === '' ? pod.kind : `${pod.podNamespace}/${pod.podName}`;
    return { address: own, isPod: true, text: `pod ${who} (${own}), endpoint ${pod.id}, identity ${pod.identity}` };
  }
  const foreign = foreignPod(context, name, address, isV4);
  if (foreign !== undefined) return foreign;
  if (address === undefined)
    throw bad(`no pod ${name} on this node`, 'ask the agent of its node (--node), or name an address outside');
  if (isIPv4(address) !== isV4) throw bad('from and to are of two families', 'name two IPv4 or two IPv6 addresses');
  if (tables.nodes.by('address', address).length > 0) {
    throw bad(
      `${address} is a node`,
      'its sockets are translated before there is a packet: ciliate service get says to whom',
    );
  }
  const remote = context.tables.remoteEndpoints.all().find(row => row.addresses.includes(address));
  if (remote !== undefined) {
    throw bad(
      `${address} is ${remote.namespace}/${remote.name} of node ${remote.nodeAddress}`,
      'ask the agent of that node',
    );
  }
  return {
    address,
    isPod: false,
    text: `${address}, outside of the cluster; it comes in by a native device of this node`,
  };
}

/** With --service-only pods of this node are known by name and address alone. */
function foreignPod(
  { tables, options, nodeName }: AgentContext,
  name: string,
  address: Address | undefined,
  isV4: boolean,
): Client | undefined {
  if (!options['service-only']) return undefined;
  const found = address === undefined ? tables.pods.get(name) : tables.pods.by('address', address)[0];
  const own = found?.podIPs.find(one => isIPv4(one) === isV4);
  if (found === undefined || own === undefined || found.hostNetwork || found.nodeName !== nodeName) return undefined;
  return { address: own, isPod: true, text: `pod ${found.namespace}/${found.name} (${own}), wired by another CNI` };
}

function missing({ datapath }: AgentContext, address: Address): string {
  return datapath.isUnserved(address)
    ? `lb_services has no such port, and ${address} belongs to services alone: what none of its ports serves is dropped`
    : 'lb_services has no such address and port: it is no service, or one that could not be programmed (ciliate service get)';
}

type Tell = (stage: string, text: string) => void;

function describeService(context: AgentContext, service: LoadedService, isPod: boolean, tell: Tell): void {
  const { master, scope, backends, affinity, sourceAllowed } = service;
  if (isPod && context.datapath.socketLb) {
    tell(
      'socket',
      'connect() and sendmsg() of a pod choose a backend at once, among those below; what follows are packets that bypass that',
    );
  }
  const row = context.tables.lbRows.all().find(one => one.serviceId === master.revNatId);
  const name = row === undefined ? undefined : context.tables.frontends.get(row.key)?.service;
  const flags = flagNames(master.flags, LbServiceFlags, 'LB_SVC_').join(', ');
  tell('frontend', `ID ${master.revNatId}${name === undefined ? '' : `, service ${name}`}: ${flags}`);
  if ((master.flags & LbServiceFlags.LB_SVC_TWO_SCOPES) !== 0) {
    tell(
      'scope',
      scope === 1 ? 'inside: every backend, whatever node it is on' : 'outside: backends of this node alone',
    );
  }
  if (sourceAllowed !== undefined)
    tell('sources', sourceAllowed ? 'the client is in the source ranges' : 'the source ranges keep the client out');
  if (scope === 2) tell('redirect', 'the client is itself a backend of the local redirect, which does not apply to it');
  if (affinity !== undefined) tell('affinity', affinityText(service, affinity));
  const fallback = master.count === 0 ? ' (these are used for want of others)' : '';
  const list = backends.map(backend => backendText(backend)).join(', ');
  tell('backends', list === '' ? 'none' : `${master.count} of ${backends.length} take new flows${fallback}: ${list}`);
}

function affinityText(
  { master, backends }: LoadedService,
  { backendId, age }: NonNullable<LoadedService['affinity']>,
): string {
  if (backendId === 0) return `for ${master.backendId} s, and the client is not remembered`;
  const known = backends.find(({ id }) => id === backendId);
  if (known === undefined) return `the client is remembered with backend ${backendId}, which has left the service`;
  const text = `the client is remembered with ${backendText(known)}, ${age} s ago, for ${master.backendId} s`;
  return age < master.backendId ? text : `${text}: too long ago`;
}

function backendText(backend: LoadedBackend): string {
  const where = flagNames(backend.flags, LbBackendFlags, 'LB_BACKEND_').filter(flag => flag !== 'managed');
  const state = takesNewFlows(backend) ? [] : ['no new flows'];
  const notes = [...where, ...state].join(', ');
  return `${hostPort(addressFromBytes(backend.address), backend.port)}${notes === '' ? '' : ` (${notes})`}`;
}

function outcomeOf(run: ServiceRun, packet: DecodedPacket, isService: boolean): LbTrace['outcome'] {
  if (run.verdict === 'dropped') return 'dropped';
  // The program has made an answer of the packet.
  if (packet.icmpType !== undefined) return 'refused';
  return isService ? 'forwarded' : 'no service';
}

function verdictText(run: ServiceRun, packet: DecodedPacket, outcome: LbTrace['outcome'], backend: string): string {
  switch (outcome) {
    case 'dropped':
      return `dropped (${dropReasonName(run.reason)})`;
    case 'refused':
      return `answers ICMP type ${packet.icmpType} code ${packet.icmpCode}: no backend`;
    case 'no service':
      return 'leaves it to policy and routing';
    case 'forwarded':
      return `sends it to ${backend}`;
  }
}

function describeWay(
  context: AgentContext,
  flow: ServiceFlow,
  packet: DecodedPacket,
  service: LoadedService,
  tell: Tell,
): void {
  const destination = tryParseAddress(packet.destination ?? '');
  if (destination === undefined) return;
  const isHere = context.tables.endpoints.by('address', destination).length > 0;
  tell('translation', translationText(flow, packet, service, isHere));
  tell('way', wayText(context, destination));
}
