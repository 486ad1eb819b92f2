/** Records of the events ring buffer → MonitorEvent (struct event_header of bpf/lib/types.h, then captured bytes). */
import {
  DropReason,
  decodeEventHeader,
  decodePolicyVerdict,
  type EventHeader,
  EventType,
  eventHeaderCodec,
  PolicyDirection,
  policyVerdictCodec,
  VerdictAction,
  VerdictMatch,
  VerdictSource,
} from '@ciliate/abi';
import type { MonitorEvent, PolicyVerdictEvent } from '@ciliate/protocol';
import { decodePacket, packetText, protocolName } from './packet.ts';

const types: Readonly<Record<number, MonitorEvent['type']>> = {
  [EventType.EVENT_DROP]: 'drop',
  [EventType.EVENT_DEBUG]: 'debug',
  [EventType.EVENT_TRACE]: 'trace',
  [EventType.EVENT_POLICY_VERDICT]: 'policy-verdict',
  [EventType.EVENT_TRACE_SOCK]: 'trace-sock',
};

/** Numbers of enum event_type, by the names that `monitor` uses. */
export function eventTypeNumbers(names: readonly string[]): readonly number[] {
  return Object.entries(types).flatMap(([number, name]) => (names.includes(name) ? [Number(number)] : []));
}

/** Names that differ from the words of the constant. */
const reasonTexts: Readonly<Record<number, string>> = {
  [DropReason.REASON_FORWARDED]: 'Forwarded',
  [DropReason.DROP_INVALID_SMAC]: 'Invalid source mac',
  [DropReason.DROP_INVALID_DMAC]: 'Invalid destination mac',
  [DropReason.DROP_INVALID_SIP]: 'Invalid source ip',
  [DropReason.DROP_POLICY]: 'Policy denied',
  [DropReason.DROP_INVALID]: 'Invalid packet',
  [DropReason.DROP_CT_INVALID_HDR]: 'CT: Truncated or invalid header',
  [DropReason.DROP_FRAG_NEEDED]: 'Fragmentation needed',
  [DropReason.DROP_CT_UNKNOWN_PROTO]: 'CT: Unknown L4 protocol',
  [DropReason.DROP_UNKNOWN_L3]: 'Unsupported L3 protocol',
  [DropReason.DROP_UNKNOWN_L4]: 'Unknown L4 protocol',
  [DropReason.DROP_UNKNOWN_ICMP_CODE]: 'Unknown ICMPv4 code',
  [DropReason.DROP_UNKNOWN_ICMP_TYPE]: 'Unknown ICMPv4 type',
  [DropReason.DROP_UNKNOWN_ICMP6_CODE]: 'Unknown ICMPv6 code',
  [DropReason.DROP_UNKNOWN_ICMP6_TYPE]: 'Unknown ICMPv6 type',
  [DropReason.DROP_UNKNOWN_TARGET]: 'No matching local container found',
  [DropReason.DROP_CSUM_L3]: 'Error while correcting L3 checksum',
  [DropReason.DROP_CSUM_L4]: 'Error while correcting L4 checksum',
  [DropReason.DROP_CT_CREATE_FAILED]: 'CT: Map insertion failed',
  [DropReason.DROP_INVALID_EXTHDR]: 'Invalid IPv6 extension header',
  [DropReason.DROP_FRAG_NOSUPPORT]: 'IP fragmentation not supported',
  [DropReason.DROP_NO_SERVICE]: 'Service backend not found',
  [DropReason.DROP_NO_TUNNEL_ENDPOINT]: 'No tunnel/encapsulation endpoint',
  [DropReason.DROP_NAT_NO_MAPPING]: 'No mapping for NAT masquerade',
  [DropReason.DROP_NAT_UNSUPP_PROTO]: 'Unsupported protocol for NAT masquerade',
  [DropReason.DROP_NO_FIB]: 'FIB lookup failed',
  [DropReason.DROP_TTL_EXCEEDED]: 'TTL exceeded',
};

const words = (constant: string): string => {
  const text = constant
    .replace(/^(DROP|REASON)_/, '')
    .toLowerCase()
    .replaceAll('_', ' ');
  return text.charAt(0).toUpperCase() + text.slice(1);
};

/** Text of a drop reason; numbers that have no name give 'reason 250'. */
export function dropReasonName(reason: number): string {
  const known = reasonTexts[reason];
  if (known !== undefined) return known;
  const constant = Object.entries(DropReason).find(([, value]) => value === reason)?.[0];
  return constant === undefined ? `reason ${reason}` : words(constant);
}

/** 'from_container' … as the programs are called. */
export function programName(source: number): string {
  return (
    Object.entries(VerdictSource)
      .find(([, value]) => value === source)?.[0]
      .toLowerCase() ?? `source ${source}`
  );
}

export interface DecodeOptions {
  /** Milliseconds since 1970 of the kernel's monotonic zero, to give records a time of day. */
  readonly bootTime: number;
  /** Add the captured bytes in hexadecimal. */
  readonly hex?: boolean;
  /** What a rule id stands for, in words; undefined when it is not known. */
  readonly ruleText?: (id: number) => string | undefined;
  /** The text of its policy's `log`; undefined when there is none. */
  readonly ruleLog?: (id: number) => string | undefined;
  /** Who has an address, for drops: programs that drop have not always looked. Undefined: nobody known. */
  readonly whoHas?: (address: string) => Holder | undefined;
}

export interface Holder {
  /** 0: no endpoint of this node. */
  readonly endpoint: number;
  readonly identity: number;
}

/** Undefined for a record shorter than its header. */
export function decodeEvent(record: Uint8Array, options: DecodeOptions): MonitorEvent | undefined {
  if (record.length < eventHeaderCodec.size) return undefined;
  const header = decodeEventHeader(record);
  const type = types[header.type] ?? 'debug';
  const verdict = type === 'policy-verdict' ? readVerdict(record, options) : undefined;
  const start = eventHeaderCodec.size + (type === 'policy-verdict' ? policyVerdictCodec.size : 0);
  const captured = record.subarray(start, start + header.captured);
  const packet = decodePacket(captured);
  const reasonName = type === 'drop' ? dropReasonName(header.subtype) : undefined;
  const event: Omit<MonitorEvent, 'summary'> = {
    type,
    time: new Date(options.bootTime + Number(header.timestamp / 1_000_000n)).toISOString(),
    program: programName(header.source),
    ...(reasonName === undefined
      ? { observationPoint: String(header.subtype) }
      : { reason: header.subtype, reasonName }),
    sourceIdentity: header.srcIdentity,
    ...endsOf(header, packet, type === 'drop' ? options.whoHas : undefined),
    ifindex: header.ifindex,
    line: header.line,
    hash: `0x${header.hash.toString(16)}`,
    length: header.packetLength,
    packet,
    ...(verdict === undefined ? {} : { verdict }),
    ...(options.hex === true ? { data: Buffer.from(captured).toString('hex') } : {}),
  };
  return { ...event, summary: summaryOf(event, header) };
}

/** A pod's own program drops what the pod sends; the others drop what is on its way to one. */
function endsOf(
  header: EventHeader,
  packet: ReturnType<typeof decodePacket>,
  whoHas: DecodeOptions['whoHas'] = () => undefined,
): { readonly destinationIdentity: number; readonly endpointId: number } {
  const to = whoHas(packet.destination ?? '');
  const concerned = header.source === VerdictSource.FROM_CONTAINER ? whoHas(packet.source ?? '') : to;
  return {
    destinationIdentity: header.dstIdentity || (to?.identity ?? 0),
    endpointId: header.endpointId || (concerned?.endpoint ?? 0),
  };
}

const actions: Readonly<Record<number, PolicyVerdictEvent['action']>> = {
  [VerdictAction.VERDICT_ALLOW]: 'allow',
  [VerdictAction.VERDICT_DENY]: 'deny',
  [VerdictAction.VERDICT_AUDIT]: 'audit',
};
const matches: Readonly<Record<number, PolicyVerdictEvent['match']>> = {
  [VerdictMatch.MATCH_PEER]: 'peer',
  [VerdictMatch.MATCH_CLASS]: 'block',
  [VerdictMatch.MATCH_ANY]: 'everybody',
  [VerdictMatch.MATCH_UNKNOWN_PEER]: 'unknown',
};

/** struct policy_verdict stands between header and packet; undefined when the record ends before. */
function readVerdict(record: Uint8Array, { ruleText, ruleLog }: DecodeOptions): PolicyVerdictEvent | undefined {
  const bytes = record.subarray(eventHeaderCodec.size, eventHeaderCodec.size + policyVerdictCodec.size);
  if (bytes.length < policyVerdictCodec.size) return undefined;
  const verdict = decodePolicyVerdict(bytes);
  const logText = verdict.log === 0 ? undefined : ruleLog?.(verdict.ruleId);
  return {
    action: actions[verdict.action] ?? 'deny',
    direction: verdict.direction === PolicyDirection.POLICY_INGRESS ? 'ingress' : 'egress',
    peerIdentity: verdict.peerIdentity,
    protocol: protocolName(verdict.proto),
    port: verdict.dport,
    match: matches[verdict.match] ?? 'none',
    ruleId: verdict.ruleId,
    rule: ruleText?.(verdict.ruleId) ?? '',
    log: verdict.log !== 0,
    ...(logText === undefined ? {} : { logText }),
  };
}

function verdictText({ action, direction, match, ruleId, rule, logText }: PolicyVerdictEvent): string {
  // No entry was asked: the direction is free, or the endpoint is locked down.
  if (match === 'none')
    return `${direction} ${action}: ${action === 'allow' ? 'not isolated' : 'no policy in force yet'}`;
  if (match === 'unknown') return `${direction} ${action}: this node does not know the peer's identity yet`;
  const log = logText === undefined ? '' : `, log '${logText}'`;
  return `${direction} ${action} by ${rule === '' ? 'a rule that has gone' : rule} (rule ${ruleId}, for ${match}${log})`;
}

function summaryOf(event: Omit<MonitorEvent, 'summary'>, header: EventHeader): string {
  const flow = event.packet === undefined ? '' : packetText(event.packet);
  const identities = `identity ${event.sourceIdentity}->${event.destinationIdentity}`;
  if (event.type === 'drop') {
    return `xx drop (${event.reasonName}) ${event.program} flow ${event.hash} to endpoint ${event.endpointId}, ifindex ${header.ifindex}, line ${header.line}, ${identities}: ${flow}`;
  }
  if (event.verdict !== undefined) {
    return `Policy verdict: ${verdictText(event.verdict)}, endpoint ${header.endpointId}, ${identities}, flow ${event.hash}: ${flow}`;
  }
  return `-> ${event.type} ${event.program} flow ${event.hash}, endpoint ${header.endpointId}, ifindex ${header.ifindex}, ${identities}: ${flow}`;
}
