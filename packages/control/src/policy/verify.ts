/** What the kernel's policy maps hold, against what the compiler says that they shall. */
import type { EndpointEntry } from '@ciliate/abi';
import { EndpointFlags, PolicyFlags } from '@ciliate/abi';
import { type EndpointMapRow, type PolicyGroupRow, type PolicyMapEntry, sameMapEntry } from '@ciliate/model';
import { policyKeyText } from './lookup.ts';

export interface PolicyDifference {
  /** 'policy map 7', 'endpoint 10.244.1.5' */
  readonly where: string;
  readonly what: 'missing' | 'extra' | 'different';
  /** identity/direction/protocol/port/prefix length */
  readonly key: string;
  /** '' when it is not wanted. */
  readonly wanted: string;
  /** '' when it is not there. */
  readonly found: string;
}

/** `loaded`: undefined when the group has no map. A group that judges nothing needs none, and may have one that lets everything pass. */
export function verifyGroup(
  row: PolicyGroupRow,
  loaded: readonly PolicyMapEntry[] | undefined,
): readonly PolicyDifference[] {
  const where = `policy map ${row.id}`;
  const found = texts(loaded ?? []);
  if (!row.ingress && !row.egress) {
    const denies = (loaded ?? []).filter(([, { flags }]) => (flags & PolicyFlags.POLICY_DENY) !== 0);
    return denies.map(entry => ({
      where,
      what: 'extra',
      key: policyKeyText(entry[0]),
      wanted: '',
      found: valueText(entry),
    }));
  }
  return compareTexts(where, texts(row.content.entries()), found);
}

/** Whether a group's map is as it shall be, some entries at a time and without a word: verifyGroup says what differs. */
export class GroupCheck {
  readonly row: PolicyGroupRow;
  readonly #loaded: Iterator<PolicyMapEntry>;
  #identity = -1;
  #part: readonly PolicyMapEntry[] = [];
  #same = 0;

  /** Of a group that judges. `loaded` is closed at the end, or by close(). */
  constructor(row: PolicyGroupRow, loaded: Iterator<PolicyMapEntry>) {
    this.row = row;
    this.#loaded = loaded;
  }

  /** Reads at most so many entries. Undefined: there are more. */
  step(entries: number): 'same' | 'different' | undefined {
    for (let left = entries; left > 0; left -= 1) {
      const next = this.#loaded.next();
      if (next.done === true) return this.#same === this.row.content.size ? 'same' : 'different';
      if (!this.#isWanted(next.value)) {
        this.close();
        return 'different';
      }
      this.#same += 1;
    }
    return undefined;
  }

  close(): void {
    this.#loaded.return?.();
  }

  #isWanted(entry: PolicyMapEntry): boolean {
    const { identity } = entry[0];
    // A map gives what is about one identity together.
    if (identity !== this.#identity) this.#part = this.row.content.part(identity);
    this.#identity = identity;
    return this.#part.some(own => sameMapEntry(own, entry));
  }
}

function texts(entries: Iterable<PolicyMapEntry>): ReadonlyMap<string, string> {
  return new Map([...entries].map(entry => [policyKeyText(entry[0]), valueText(entry)]));
}

/** Counters grow in the kernel. */
function valueText([, { ruleId, flags, proxyPort }]: PolicyMapEntry): string {
  const names = Object.entries(PolicyFlags).filter(([, bit]) => (flags & bit) !== 0);
  const words = names.map(([name]) => name.slice('POLICY_'.length).toLowerCase());
  return `rule ${ruleId}${words.length === 0 ? '' : ` ${words.join(' ')}`}${proxyPort === 0 ? '' : ` proxy ${proxyPort}`}`;
}

/** Key → value of what is wanted and of what is found. */
export function compareTexts(
  where: string,
  wanted: ReadonlyMap<string, string>,
  found: ReadonlyMap<string, string>,
): readonly PolicyDifference[] {
  const differences: PolicyDifference[] = [];
  for (const [key, value] of wanted) {
    const there = found.get(key);
    if (there === value) continue;
    differences.push({
      where,
      what: there === undefined ? 'missing' : 'different',
      key,
      wanted: value,
      found: there ?? '',
    });
  }
  for (const [key, value] of found) {
    if (!wanted.has(key)) differences.push({ where, what: 'extra', key, wanted: '', found: value });
  }
  return differences;
}

const { ENDPOINT_POLICY_INGRESS, ENDPOINT_POLICY_EGRESS, ENDPOINT_POLICY_CLASS } = EndpointFlags;
const { ENDPOINT_POLICY_AUDIT, ENDPOINT_POLICY_LOCKDOWN } = EndpointFlags;

/** Which group judges an endpoint, in which directions, since which revision. */
export function verifyEndpoint(row: EndpointMapRow, loaded: EndpointEntry | undefined): readonly PolicyDifference[] {
  const wanted = endpointText(row.value);
  const found = loaded === undefined ? '' : endpointText(loaded);
  if (wanted === found) return [];
  const what = loaded === undefined ? 'missing' : 'different';
  return [{ where: `endpoint ${row.address}`, what, key: 'policy', wanted, found }];
}

function endpointText({ policyGroup, policyRevision, flags }: EndpointEntry): string {
  const bits = {
    ingress: ENDPOINT_POLICY_INGRESS,
    egress: ENDPOINT_POLICY_EGRESS,
    class: ENDPOINT_POLICY_CLASS,
    audit: ENDPOINT_POLICY_AUDIT,
    lockdown: ENDPOINT_POLICY_LOCKDOWN,
  };
  const words = Object.entries(bits).flatMap(([name, bit]) => ((flags & bit) === 0 ? [] : [name]));
  return `group ${policyGroup} revision ${policyRevision} ${words.join(' ')}`.trimEnd();
}
