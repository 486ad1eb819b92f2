/** Where a packet to a service goes on to, and what its backend sees: the last steps of a trace. */
import { LbServiceFlags } from '@ciliate/abi';
import type { LoadedService, ServiceFlow } from '@ciliate/datapath';
import { type Address, addressFromBytes, hostPort, tryParseAddress } from '@ciliate/model';
import type { DecodedPacket } from '@ciliate/protocol';
import type { AgentContext } from '../status/context.ts';

/** The backend that the packet goes to. One that is encapsulated still has the frontend's port: the service knows the backend's. */
export function reachedBackend(packet: DecodedPacket, service: LoadedService): string {
  const address = tryParseAddress(packet.destination ?? '');
  if (address === undefined) return '';
  if (packet.encapsulates === undefined) return hostPort(address, packet.destinationPort ?? 0);
  const backend = service.backends.find(one => addressFromBytes(one.address) === address);
  return hostPort(address, backend?.port ?? 0);
}

export function translationText(
  flow: ServiceFlow,
  packet: DecodedPacket,
  service: LoadedService,
  here: boolean,
): string {
  const { source, sourcePort } = packet.encapsulates ?? packet;
  const address = tryParseAddress(source ?? '');
  const isDsr = (service.master.flags & LbServiceFlags.LB_SVC_DSR) !== 0;
  if (address !== flow.source) {
    const seen = address === undefined ? '' : hostPort(address, sourcePort ?? 0);
    const why = isDsr ? ', and not DSR, which is for clients outside of the cluster and backends of its nodes' : '';
    return `the backend sees ${seen} instead of the client (SNAT${why}): its answer comes back by this node`;
  }
  const kept = `the backend sees the client's address ${address}`;
  if (here || !isDsr) return kept;
  const carrier = packet.family === 4 ? 'an IPv4 option' : 'an IPv6 extension header';
  const told = packet.encapsulates === undefined ? `${carrier} of this packet` : 'this packet inside of another';
  return `${kept} (DSR), and its node answers as ${hostPort(flow.destination, flow.port)}, which it knows by ${told}`;
}

export function wayText({ tables, options }: AgentContext, destination: Address): string {
  const [local] = tables.endpoints.by('address', destination);
  if (local !== undefined) return `into pod ${local.podNamespace}/${local.podName} of this node (${local.device})`;
  const remote = tables.remoteEndpoints.all().find(row => row.addresses.includes(destination));
  const node = remote === undefined ? undefined : tables.nodes.by('address', remote.nodeAddress)[0];
  const how = options['routing-mode'] === 'tunnel' && remote !== undefined ? 'by the overlay' : 'by routing';
  const who = remote === undefined ? `${destination}` : `pod ${remote.namespace}/${remote.name}`;
  return `to ${who}${node === undefined ? '' : ` on ${node.name}`}, ${how}`;
}
