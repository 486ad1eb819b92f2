/** Policy maps as the kernel asks them (bpf/lib/policy.h): the same answer from the same entries. */
import { type PolicyEntry, PolicyFlags, type PolicyKey } from '@ciliate/abi';
import { isDenyEntry, type PolicyMapEntry } from '@ciliate/model';

export interface PolicyAnswer {
  readonly allowed: boolean;
  readonly ruleId: number;
  /** No rule decided. */
  readonly isDefault: boolean;
  readonly audit: boolean;
}

export interface PolicyQuestion {
  /** enum policy_direction */
  readonly direction: number;
  readonly identity: number;
  /** 0: the peer's address is in no block that policies name for pods. */
  readonly classIdentity: number;
  readonly protocol: number;
  /** ICMP: the type. */
  readonly port: number;
  /** False: the ipcache does not have the identity for the peer's address. */
  readonly known?: boolean;
}

const { POLICY_DENY, POLICY_DEFAULT, POLICY_AUDIT, POLICY_KNOWN } = PolicyFlags;

/** Longest-prefix lookups over the entries of one group. */
export class PolicyLookup {
  readonly #entries = new Map<string, PolicyEntry>();

  constructor(entries: Iterable<PolicyMapEntry>) {
    for (const [key, value] of entries) this.#entries.set(policyKeyText(key), value);
  }

  ask(question: PolicyQuestion): PolicyAnswer {
    const own = this.#longest(question, question.identity);
    const ofClass = question.classIdentity === 0 ? undefined : this.#longest(question, question.classIdentity);
    const any = this.#longest(question, 0);
    const found = [own, ofClass, any].filter(entry => entry !== undefined);
    const decides = found.find(isDenyEntry) ?? found.find(entry => (entry.flags & POLICY_DEFAULT) === 0) ?? any;
    if (decides === undefined) return { allowed: false, ruleId: 0, isDefault: true, audit: false };
    if (
      question.known === false &&
      own === undefined &&
      ofClass === undefined &&
      (decides.flags & POLICY_KNOWN) !== 0
    ) {
      return { allowed: false, ruleId: 0, isDefault: true, audit: false };
    }
    return {
      allowed: (decides.flags & POLICY_DENY) === 0,
      ruleId: decides.ruleId,
      isDefault: (decides.flags & POLICY_DEFAULT) !== 0,
      audit: (decides.flags & POLICY_AUDIT) !== 0,
    };
  }

  #longest({ direction, protocol, port }: PolicyQuestion, identity: number): PolicyEntry | undefined {
    for (let bits = 16; bits >= 0; bits -= 1) {
      const dport = bits === 0 ? 0 : (port >>> (16 - bits)) << (16 - bits);
      const found = this.#entries.get(
        policyKeyText({ prefixlen: 48 + bits, identity, direction, proto: protocol, dport }),
      );
      if (found !== undefined) return found;
    }
    return this.#entries.get(policyKeyText({ prefixlen: 40, identity, direction, proto: 0, dport: 0 }));
  }
}

export function policyKeyText({ prefixlen, identity, direction, proto, dport }: PolicyKey): string {
  return `${identity}/${direction}/${proto}/${dport}/${prefixlen}`;
}
