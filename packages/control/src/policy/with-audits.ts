/** Deny rules that are only tried out (annotation ciliate.io/audit): they report, and never open what would be closed without them. */
import { PolicyFlags, type PolicyKey } from '@ciliate/abi';
import type { PolicyMapEntry } from '@ciliate/model';
import { policyKeyText } from './lookup.ts';

/**
 * Entries about one identity with those of audited deny rules about it. Where everything else is denied (`isDenied`) such an entry stands
 * only in the place of what an allow rule about the identity, or about everybody (`allowed`), lets through; elsewhere as it is. A flow that
 * another identity's entry allows (a block of addresses) passes without report.
 */
export function withAudits(
  enforced: readonly PolicyMapEntry[],
  audits: readonly PolicyMapEntry[],
  { isDenied, allowed }: { readonly isDenied: boolean; readonly allowed: readonly PolicyMapEntry[] },
): readonly PolicyMapEntry[] {
  if (audits.length === 0) return enforced;
  const found = new Map(enforced.map(entry => [policyKeyText(entry[0]), entry]));
  const allows = [...enforced.filter(([, value]) => (value.flags & PolicyFlags.POLICY_DENY) === 0), ...allowed];
  for (const [key, value] of audits) {
    const places = isDenied
      ? allows.flatMap(([allow]) => common(key, allow) ?? [])
      : [key, ...allows.flatMap(([allow]) => common(key, allow) ?? [])];
    for (const place of places) {
      const text = policyKeyText(place);
      const there = found.get(text);
      if (there === undefined || (there[1].flags & PolicyFlags.POLICY_DENY) === 0) found.set(text, [place, value]);
    }
  }
  return [...found.values()];
}

/** What is in both, for the identity of `audit`; undefined: nothing. `allow` may be about everybody. */
function common(audit: PolicyKey, allow: PolicyKey): PolicyKey | undefined {
  if (allow.identity !== audit.identity && allow.identity !== 0) return undefined;
  if (allow.direction !== audit.direction) return undefined;
  const [narrow, broad] = audit.prefixlen >= allow.prefixlen ? [audit, allow] : [allow, audit];
  return contains(broad, narrow) ? { ...narrow, identity: audit.identity } : undefined;
}

function contains(broad: PolicyKey, narrow: PolicyKey): boolean {
  if (broad.prefixlen <= 40) return true;
  if (broad.proto !== narrow.proto) return false;
  const bits = broad.prefixlen - 48;
  return bits <= 0 || broad.dport >>> (16 - bits) === narrow.dport >>> (16 - bits);
}
