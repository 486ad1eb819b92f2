import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  DropReason,
  EventType,
  encodeEventHeader,
  encodePolicyVerdict,
  PolicyDirection,
  VerdictAction,
  VerdictMatch,
  VerdictSource,
} from '@ciliate/abi';
import { decodeEvent } from './decode.ts';
import { decodePacket, packetText } from './packet.ts';

const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replaceAll(/\s/g, ''), 'hex'));
const ethernet = (type: string): string => `020000000001 020000000002 ${type}`;
const ipv4Tcp = `${ethernet('0800')} 45000028 00004000 40060000 0a000001 0a000002 7a69 0050 00000000 00000000 50020000 00000000`;
const ipv6Udp = `${ethernet('86dd')} 60000000 0008 11 40 fd000000000000000000000000000001 fd000000000000010000000000000002 0035 1389 0008 0000`;

const ipip = `${ethernet('0800')} 4500003c 00004000 40040000 ac1e000b 0af40206 ${ipv4Tcp.slice(ethernet('0800').length)}`;
const ipv6InIpv6 = `${ethernet('86dd')} 60000000 0030 29 40 fd00000000000000000000000000000b fd000000000000000000000000000006 ${ipv6Udp.slice(ethernet('86dd').length)}`;

const packets: readonly (readonly [name: string, hex: string, text: string])[] = [
  ['TCP over IPv4', ipv4Tcp, '10.0.0.1:31337 -> 10.0.0.2:80 tcp SYN'],
  ['UDP over IPv6', ipv6Udp, '[fd00::1]:53 -> [fd00:0:0:1::2]:5001 udp'],
  ['VLAN tag', ipv4Tcp.replace('0800', '81000001 0800'), '10.0.0.1:31337 -> 10.0.0.2:80 tcp SYN'],
  ['IP in IP', ipip, '172.30.0.11 -> 10.244.2.6 ipip (10.0.0.1:31337 -> 10.0.0.2:80 tcp SYN)'],
  ['IPv6 in IPv6', ipv6InIpv6, 'fd00::b -> fd00::6 ipv6 ([fd00::1]:53 -> [fd00:0:0:1::2]:5001 udp)'],
  ['later fragment', ipv4Tcp.replace('00004000', '00002010'), '10.0.0.1 -> 10.0.0.2 tcp fragment'],
  ['ARP', `${ethernet('0806')} 0001`, '02:00:00:00:00:02 -> 02:00:00:00:00:01 type 0x806'],
  ['cut in the IP header', ipv4Tcp.slice(0, 60), '02:00:00:00:00:02 -> 02:00:00:00:00:01 type 0x800'],
  ['nothing', '', ''],
];
for (const [name, hex, text] of packets) {
  test(`packet: ${name}`, () => assert.equal(packetText(decodePacket(bytes(hex))), text));
}

test('every prefix of a packet decodes without throwing', () => {
  for (const hex of [ipv4Tcp, ipv6Udp, ipip, ipv6InIpv6]) {
    const whole = bytes(hex);
    for (let length = 0; length <= whole.length; length++) decodePacket(whole.subarray(0, length));
  }
});

test('a drop event names reason, program and flow', () => {
  const packet = bytes(ipv4Tcp);
  const header = encodeEventHeader({
    type: EventType.EVENT_DROP,
    subtype: DropReason.DROP_NO_SERVICE,
    source: VerdictSource.FROM_CONTAINER,
    family: 4,
    hash: 0xabcd,
    timestamp: 5_000_000_000n,
    packetLength: packet.length,
    captured: packet.length,
    srcIdentity: 300,
    dstIdentity: 2,
    ifindex: 7,
    endpointId: 12,
    line: 99,
  });
  const event = decodeEvent(Buffer.concat([header, packet]), { bootTime: 0, hex: true });
  assert.equal(event?.type, 'drop');
  assert.equal(event?.reasonName, 'Service backend not found');
  assert.equal(event?.time, '1970-01-01T00:00:05.000Z');
  assert.match(event?.summary ?? '', /from_container .*identity 300->2: 10\.0\.0\.1:31337 -> 10\.0\.0\.2:80 tcp SYN/);
  assert.equal(event?.data?.length, packet.length * 2);
});

test('a drop that names nobody gets endpoint and identity by address: the sender of a pod, else the receiver', () => {
  const packet = bytes(ipv4Tcp);
  const summary = (source: number): string => {
    const header = encodeEventHeader({
      ...{ type: EventType.EVENT_DROP, subtype: DropReason.DROP_POLICY, source, family: 4, hash: 0, timestamp: 0n },
      ...{ packetLength: packet.length, captured: packet.length, srcIdentity: 300, dstIdentity: 0 },
      ...{ ifindex: 7, endpointId: 0, line: 0 },
    });
    const holders: Readonly<Record<string, { endpoint: number; identity: number }>> = {
      '10.0.0.1': { endpoint: 11, identity: 300 },
      '10.0.0.2': { endpoint: 12, identity: 400 },
    };
    const event = decodeEvent(Buffer.concat([header, packet]), { bootTime: 0, whoHas: address => holders[address] });
    return event?.summary ?? '';
  };
  assert.match(summary(VerdictSource.FROM_CONTAINER), /to endpoint 11, .*identity 300->400/);
  assert.match(summary(VerdictSource.FROM_OVERLAY), /to endpoint 12, .*identity 300->400/);
});

test('a policy verdict names the rule, and its packet is read behind it', () => {
  const packet = bytes(ipv4Tcp);
  const header = encodeEventHeader({
    type: EventType.EVENT_POLICY_VERDICT,
    subtype: VerdictAction.VERDICT_DENY,
    source: 0,
    family: 4,
    hash: 0,
    timestamp: 0n,
    packetLength: packet.length,
    captured: packet.length,
    srcIdentity: 300,
    dstIdentity: 400,
    ifindex: 7,
    endpointId: 12,
    line: 0,
  });
  const about = {
    ruleId: 9,
    peerIdentity: 300,
    dport: 80,
    proto: 6,
    direction: PolicyDirection.POLICY_INGRESS,
    log: 0,
  };
  const record = (action: number, match: number): Uint8Array =>
    Buffer.concat([header, encodePolicyVerdict({ ...about, action, match }), packet]);
  const ruleText = (id: number): string | undefined =>
    id === 9 ? 'NetworkPolicy shop/web, spec.ingress[0]' : undefined;
  const event = decodeEvent(record(VerdictAction.VERDICT_DENY, VerdictMatch.MATCH_PEER), { bootTime: 0, ruleText });
  assert.equal(event?.type, 'policy-verdict');
  assert.deepEqual(event?.verdict, {
    action: 'deny',
    direction: 'ingress',
    peerIdentity: 300,
    protocol: 'TCP',
    port: 80,
    match: 'peer',
    ruleId: 9,
    rule: 'NetworkPolicy shop/web, spec.ingress[0]',
    log: false,
  });
  assert.match(
    event?.summary ?? '',
    /ingress deny by NetworkPolicy shop\/web, spec\.ingress\[0\] \(rule 9, for peer\), endpoint 12, .*10\.0\.0\.1:31337 -> 10\.0\.0\.2:80 tcp SYN/,
  );
  const early = decodeEvent(record(VerdictAction.VERDICT_DENY, VerdictMatch.MATCH_UNKNOWN_PEER), { bootTime: 0 });
  assert.match(early?.summary ?? '', /does not know the peer's identity yet/);
  const locked = decodeEvent(record(VerdictAction.VERDICT_DENY, VerdictMatch.MATCH_NONE), { bootTime: 0 });
  assert.match(locked?.summary ?? '', /ingress deny: no policy in force yet/);
  const logged = Buffer.concat([header, encodePolicyVerdict({ ...about, log: 1, action: 0, match: 1 }), packet]);
  const told = decodeEvent(logged, { bootTime: 0, ruleText, ruleLog: id => (id === 9 ? 'PCI' : undefined) });
  assert.deepEqual([told?.verdict?.log, told?.verdict?.logText], [true, 'PCI']);
  assert.match(told?.summary ?? '', /\(rule 9, for \w+, log 'PCI'\)/);
  for (let length = 0; length < record(1, 1).length; length += 1) {
    decodeEvent(record(1, 1).subarray(0, length), { bootTime: 0 });
  }
});

test('a record shorter than its header is no event', () => {
  assert.equal(decodeEvent(new Uint8Array(10), { bootTime: 0 }), undefined);
});
