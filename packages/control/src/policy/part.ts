/** The entries about one identity in one direction. */
import { type PolicyEntry, PolicyFlags, type PolicyKey } from '@ciliate/abi';
import type { PolicyMapEntry } from '@ciliate/model';
import type { PeerIdentity } from './peers.ts';
import type { PortPrefix } from './port-prefixes.ts';
import { withAudits } from './with-audits.ts';

/** What a rule says of each identity that one of its peers stands for. */
export interface Use {
  /** Of two rules that say the same of the same the first is named. */
  readonly order: number;
  /** One for all entries: most of the memory of large maps would be equal values. */
  readonly value: PolicyEntry;
  readonly prefixes: readonly (PortPrefix & { readonly protocol: number })[];
  /** Ports by what the identity calls so: '6/http'. */
  readonly names: readonly { readonly protocol: number; readonly name: string }[];
}

export interface PartPlace {
  /** enum policy_direction */
  readonly direction: number;
  /** What nobody names is denied, and not only tried out. */
  readonly isDenied: boolean;
  /** What is allowed to everybody. */
  readonly allowed: readonly PolicyMapEntry[];
}

const { POLICY_DENY, POLICY_AUDIT, POLICY_LOG } = PolicyFlags;

/** Ordered by key. `uses` in the order of the rules. Of two for one key a deny wins, then the first. */
export function entriesOfPart(
  { id, namedPorts }: Pick<PeerIdentity, 'id' | 'namedPorts'>,
  uses: readonly Use[],
  { direction, isDenied, allowed }: PartPlace,
): readonly PolicyMapEntry[] {
  const found = new Map<number, PolicyMapEntry>();
  const audits: PolicyMapEntry[] = [];
  for (const use of uses) {
    const put = (proto: number, dport: number, bits: number): void => {
      const key = { prefixlen: proto === 0 ? 40 : 48 + bits, identity: id, direction, proto, dport };
      const entry: PolicyMapEntry = [key, use.value];
      if ((use.value.flags & POLICY_AUDIT) === 0) keep(found, entry);
      else audits.push(entry);
    };
    for (const { protocol, port, bits } of use.prefixes) put(protocol, port, bits);
    for (const { protocol, name } of use.names) {
      for (const port of namedPorts.get(name) ?? []) put(protocol, port, 16);
    }
  }
  const enforced = [...found.values()].filter(entry => !isCovered(entry, found));
  const tried = audits.filter(entry => !isCovered(entry, found));
  return withAudits(enforced, tried, { isDenied, allowed }).toSorted(([a], [b]) => compareKeys(a, b));
}

function keep(found: Map<number, PolicyMapEntry>, entry: PolicyMapEntry): void {
  const place = placeOf(entry[0]);
  const before = found.get(place);
  if (before === undefined || strength(entry[1]) > strength(before[1])) found.set(place, entry);
  else if ((entry[1].flags & POLICY_LOG) !== 0 && (before[1].flags & POLICY_LOG) === 0) {
    found.set(place, [before[0], { ...before[1], flags: before[1].flags | POLICY_LOG }]);
  }
}

const strength = ({ flags }: PolicyEntry): number => ((flags & POLICY_DENY) === 0 ? 1 : 2);

/** A broader deny says the same or the contrary: the longest match must not find this one. */
function isCovered([key, { flags }]: PolicyMapEntry, found: ReadonlyMap<number, PolicyMapEntry>): boolean {
  const audit = (flags & POLICY_AUDIT) !== 0;
  if ((flags & POLICY_DENY) !== 0 && !audit) return false;
  const denies = (place: number) => ((found.get(place)?.[1].flags ?? 0) & POLICY_DENY) !== 0;
  if (audit && denies(placeOf(key))) return true;
  if (key.prefixlen > 40 && denies(anywhere)) return true;
  for (let bits = 0; bits < key.prefixlen - 48; bits += 1) {
    const dport = bits === 0 ? 0 : (key.dport >>> (16 - bits)) << (16 - bits);
    if (denies(placeOf({ ...key, prefixlen: 48 + bits, dport }))) return true;
  }
  return false;
}

/** Of one identity and direction: a number for protocol, port and length. */
const placeOf = ({ prefixlen, proto, dport }: Pick<PolicyKey, 'prefixlen' | 'proto' | 'dport'>): number =>
  (proto * 65_536 + dport) * 65 + prefixlen;

const anywhere = placeOf({ prefixlen: 40, proto: 0, dport: 0 });

function compareKeys(a: PolicyKey, b: PolicyKey): number {
  return a.proto - b.proto || a.dport - b.dport || a.prefixlen - b.prefixlen;
}
