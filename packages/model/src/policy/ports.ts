/** `ports`, `toPorts` and `icmps`. Protocol numbers are IANA's, ICMP types RFC 792's and RFC 4443's. */
import type { ParseProblem } from '../k8s/parsed.ts';
import type { Reader } from '../k8s/reader.ts';
import { own } from '../own.ts';
import { checkFields } from './read-selector.ts';
import type { PortRule } from './rows.ts';

export const policyProtocols = { TCP: 6, UDP: 17, SCTP: 132, ICMP: 1, ICMPv6: 58 } as const;
/** Of protocols with ports. */
const withPorts = [6, 17, 132] as const;

const names4 = {
  EchoReply: 0,
  DestinationUnreachable: 3,
  Redirect: 5,
  Echo: 8,
  EchoRequest: 8,
  RouterAdvertisement: 9,
  RouterSelection: 10,
  TimeExceeded: 11,
  ParameterProblem: 12,
  Timestamp: 13,
  TimestampReply: 14,
  Photuris: 40,
  ExtendedEchoRequest: 42,
  ExtendedEchoReply: 43,
} as const;

const names6 = {
  DestinationUnreachable: 1,
  PacketTooBig: 2,
  TimeExceeded: 3,
  ParameterProblem: 4,
  EchoRequest: 128,
  EchoReply: 129,
  MulticastListenerQuery: 130,
  MulticastListenerReport: 131,
  MulticastListenerDone: 132,
  RouterSolicitation: 133,
  RouterAdvertisement: 134,
  NeighborSolicitation: 135,
  NeighborAdvertisement: 136,
  RedirectMessage: 137,
  RouterRenumbering: 138,
  ICMPNodeInformationQuery: 139,
  ICMPNodeInformationResponse: 140,
  InverseNeighborDiscoverySolicitation: 141,
  InverseNeighborDiscoveryAdvertisement: 142,
  HomeAgentAddressDiscoveryRequest: 144,
  HomeAgentAddressDiscoveryReply: 145,
  MobilePrefixSolicitation: 146,
  MobilePrefixAdvertisement: 147,
  DuplicateAddressRequestCodeSuffix: 157,
  DuplicateAddressConfirmationCodeSuffix: 158,
  ExtendedEchoRequest: 160,
  ExtendedEchoReply: 161,
} as const;

/** RFC 6335, 5.1: letters, digits and single dashes inside, 15 at most, one letter at least. */
const portName = /^(?=.{1,15}$)(?=.*[a-zA-Z])[a-zA-Z0-9]+(-[a-zA-Z0-9]+)*$/;

/** A port number, or a name. */
function readPort(port: Reader, text: string): number | string {
  if (/^\d+$/.test(text)) {
    const number = Number(text);
    // Some read it as octal.
    if (number > 0 && text.startsWith('0')) throw port.bad(`${text} begins with 0`, `write ${number}`);
    if (number > 65_535) throw port.bad(`${text} is not a port`, 'use a number from 0 to 65535, or a name');
    return number;
  }
  if (portName.test(text)) return text.toLowerCase();
  throw port.bad(
    `'${text}' is neither a port nor the name of one`,
    'use a number or a name such as http (15 characters at most)',
  );
}

/** Of a NetworkPolicy: a number or a name; absent: every port. */
function intOrString(port: Reader): string {
  try {
    return port.text('0');
  } catch {
    return String(port.integer(0, 65_535));
  }
}

/** What stands for one port rule: each protocol that has ports when none is named. */
function spread(protocols: readonly number[], rest: Omit<PortRule, 'protocol'>): readonly PortRule[] {
  return protocols.map(protocol => ({ ...rest, protocol }));
}

function checkEndPort(port: Reader, first: number | string, endPort: number): void {
  if (endPort === 0) return;
  if (typeof first === 'string') {
    throw port.at('endPort').bad('stands with a named port', 'give the first port as a number');
  }
  if (endPort < first) throw port.at('endPort').bad(`${endPort} is below port ${first}`, 'make it at least the port');
}

/** VRRP and IGMP. */
const portless: readonly number[] = [112, 2];
const ciliumProtocols: Readonly<Record<string, number>> = {
  ...{ TCP: 6, UDP: 17, SCTP: 132 },
  ...{ ICMP: 1, ICMPV6: 58, VRRP: 112, IGMP: 2 },
};

/** One element of a Cilium `ports` list: the port is a text, and 0 is every port. */
export function readCiliumPort(port: Reader, l7: boolean, problems: ParseProblem[]): readonly PortRule[] {
  checkFields(port, ['port', 'endPort', 'protocol']);
  const number = readPort(port.at('port'), port.at('port').text());
  const endPort = port.at('endPort').integer(0, 65_535, 0);
  const protocol = port.at('protocol').text('ANY').toUpperCase();
  // As in Cilium an endPort at or below the port, or beside a name, is no range.
  const range = typeof number === 'number' && endPort > number ? endPort : 0;
  if (endPort > 0 && range === 0 && endPort !== number) {
    const message = `${endPort} makes no range with port ${number}; it is left out`;
    problems.push({ field: port.at('endPort').path, message, remedy: 'begin with a lower number, or remove it' });
  }
  const rest = { port: number, endPort: range, l7 };
  // Of every protocol with ports: ICMP has its own list.
  if (protocol === 'ANY' || protocol === '') return spread(withPorts, rest);
  const found = own(ciliumProtocols, protocol);
  if (found === undefined) {
    throw port.at('protocol').bad(`'${protocol}' is not known`, 'use one of ANY, TCP, UDP, SCTP');
  }
  if (portless.includes(found) && number !== 0) {
    throw port.at('port').bad(`is ${number}, and ${protocol} has no ports`, 'set it to 0');
  }
  return [{ ...rest, protocol: found }];
}

/** One element of `ports` of a NetworkPolicy. */
export function readNetworkPolicyPort(port: Reader): PortRule {
  checkFields(port, ['port', 'endPort', 'protocol']);
  const protocol = policyProtocols[port.at('protocol').choice(['TCP', 'UDP', 'SCTP'], 'TCP')];
  const number = readPort(port.at('port'), intOrString(port.at('port')));
  const endPort = port.at('endPort').integer(0, 65_535, 0);
  if (endPort > 0 && port.at('port').absent) throw port.at('endPort').bad('stands without port', 'give the first port');
  checkEndPort(port, number, endPort);
  return { protocol, port: number, endPort: endPort === number ? 0 : endPort, l7: false };
}

/** One element of `icmps`. */
export function readIcmpFields(icmp: Reader): readonly PortRule[] {
  checkFields(icmp, ['fields']);
  const fields = icmp.at('fields').list();
  if (fields.length > 40) throw icmp.at('fields').bad('has more than 40 entries', 'split the rule');
  return fields.map(field => {
    checkFields(field, ['family', 'type']);
    const v6 = field.at('family').choice(['IPv4', 'IPv6'], 'IPv4') === 'IPv6';
    return { protocol: v6 ? 58 : 1, port: readIcmpType(field.at('type'), v6), endPort: 0, l7: false };
  });
}

function readIcmpType(type: Reader, v6: boolean): number {
  let text: string;
  try {
    text = type.text();
  } catch {
    return type.integer(0, 255);
  }
  const number = /^\d+$/.test(text) ? Number(text) : own<number>(v6 ? names6 : names4, text);
  if (number === undefined || number > 255) {
    throw type.bad(
      `'${text}' is no ICMP type of this family`,
      'use a number from 0 to 255 or a name such as EchoRequest',
    );
  }
  return number;
}
