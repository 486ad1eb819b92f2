/** What policies ask of addresses: blocks that they name, labels of nodes, what pods in a block call a port. Counted, so that a change costs what it names. */
import { type CidrGroupRow, type Peer, type PolicyRow, type Prefix, peersOf, protocolNumbers } from '@ciliate/model';
import { noPeerContext, type PeerContext, prefixesOf } from './peers.ts';

export type BlockKind = 'cidr' | 'class';

/** Texts with the number of those who name each. */
class Counted {
  readonly #counts = new Map<string, number>();
  readonly #changed = new Set<string>();

  add(text: string, by: 1 | -1): void {
    const count = (this.#counts.get(text) ?? 0) + by;
    if (count > 0) this.#counts.set(text, count);
    else this.#counts.delete(text);
    if (count === 0 || (count === 1 && by === 1)) this.#changed.add(text);
  }

  has(text: string): boolean {
    return this.#counts.has(text);
  }

  keys(): IterableIterator<string> {
    return this.#counts.keys();
  }

  get size(): number {
    return this.#counts.size;
  }

  /** Those that began or ceased to be named since it was last asked. */
  takeChanged(): readonly string[] {
    const changed = [...this.#changed];
    this.#changed.clear();
    return changed;
  }
}

interface Asked {
  readonly policy: PolicyRow;
  /** 'class 10.0.0.0/8' */
  readonly blocks: readonly string[];
  readonly nodeKeys: readonly string[];
  readonly portNames: readonly string[];
}

export class NamedAddresses {
  /** 'cidr 10.0.0.0/8', 'class 10.0.0.0/8' */
  readonly blocks = new Counted();
  /** Keys of node labels, without source. */
  readonly nodeKeys = new Counted();
  /** '6/http': named by egress rules whose peers are blocks that pods may be in. */
  readonly portNames = new Counted();
  readonly #asked = new Map<string, Asked>();
  /** Policies whose blocks are not theirs alone to say. */
  readonly #dependent = new Map<'cidr-group' | 'service', Set<string>>([
    ['cidr-group', new Set()],
    ['service', new Set()],
  ]);
  #context: PeerContext = noPeerContext;

  set(key: string, policy: PolicyRow | undefined): void {
    this.#count(this.#asked.get(key), -1);
    this.#asked.delete(key);
    for (const keys of this.#dependent.values()) keys.delete(key);
    if (policy === undefined || policy.refused.length > 0) return;
    const asked = askedBy(policy, this.#context);
    this.#asked.set(key, asked);
    for (const { kind } of peersOf(policy)) {
      if (kind === 'cidr-group' || kind === 'service') this.#dependent.get(kind)?.add(key);
    }
    this.#count(asked, 1);
  }

  setCidrGroups(cidrGroups: readonly CidrGroupRow[]): void {
    this.#context = { ...this.#context, cidrGroups };
    this.#again('cidr-group');
  }

  setServiceTargets(serviceTargets: PeerContext['serviceTargets']): void {
    this.#context = { ...this.#context, serviceTargets };
    this.#again('service');
  }

  #again(kind: 'cidr-group' | 'service'): void {
    for (const key of [...(this.#dependent.get(kind) ?? [])]) this.set(key, this.#asked.get(key)?.policy);
  }

  #count(asked: Asked | undefined, by: 1 | -1): void {
    for (const text of asked?.blocks ?? []) this.blocks.add(text, by);
    for (const text of asked?.nodeKeys ?? []) this.nodeKeys.add(text, by);
    for (const text of asked?.portNames ?? []) this.portNames.add(text, by);
  }
}

export const blockKey = (kind: BlockKind, prefix: Prefix): string => `${kind} ${prefix}`;

export function blockOfKey(key: string): { readonly kind: BlockKind; readonly prefix: Prefix } {
  const [kind, prefix] = key.split(' ');
  return { kind: kind === 'class' ? 'class' : 'cidr', prefix: prefix as Prefix };
}

function askedBy(policy: PolicyRow, context: PeerContext): Asked {
  const peers = peersOf(policy);
  const blocks = peers.flatMap(peer => {
    const kind = peer.kind === 'cidr' && peer.pods ? 'class' : 'cidr';
    return prefixesOf(peer, context).map(prefix => blockKey(kind, prefix));
  });
  return { policy, blocks, nodeKeys: peers.flatMap(nodeKeys), portNames: policy.rules.flatMap(namesOfPorts) };
}

function nodeKeys(peer: Peer): readonly string[] {
  if (peer.kind !== 'nodes') return [];
  return peer.terms.filter(({ source }) => source === '' || source === 'node').map(({ key }) => key);
}

function namesOfPorts({ egress }: PolicyRow['rules'][number]): readonly string[] {
  const inBlocks = egress.filter(({ peers }) => peers?.some(peer => peer.kind === 'cidr' && peer.pods));
  const ports = inBlocks.flatMap(traffic => traffic.ports ?? []);
  return ports.flatMap(({ protocol, port }) => (typeof port === 'string' ? [`${protocol}/${port}`] : []));
}

/** '6/http' → numbers, as rules name ports. */
export function namedPortEntries(
  ports: Readonly<Record<string, { readonly port: number; readonly protocol: keyof typeof protocolNumbers }>>,
): readonly (readonly [string, readonly number[]])[] {
  return Object.entries(ports).map(
    ([name, { port, protocol }]) => [`${protocolNumbers[protocol]}/${name.toLowerCase()}`, [port]] as const,
  );
}
