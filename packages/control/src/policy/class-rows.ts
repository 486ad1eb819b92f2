/** addressBlocks, addressClasses → policyClassRows, nodeClassRows. */
import {
  type Address,
  type AddressBlockRow,
  type AddressClassRow,
  addressBytes,
  allIPv4,
  coversMapped,
  hostPrefix,
  type NodeClassRow,
  type PolicyClassRow,
  type PolicyGroupRow,
  type PolicyPeerRow,
  type Prefix,
  prefixAddress,
  prefixBits,
  type Tables,
} from '@ciliate/model';
import {
  type Change,
  type ChangesOf,
  Controller,
  type ControllerModules,
  pending,
  type WriteTxn,
} from '@ciliate/tables';
import { writeWinners } from '../claim-controller.ts';
import { type Claim, Claims } from '../claims.ts';
import { PeersInForce } from './peers-in-force.ts';
import type { BlockRestore } from './restore-policy.ts';

type ClassInputs = {
  readonly addressBlocks: AddressBlockRow;
  readonly addressClasses: AddressClassRow;
  readonly policyPeers: PolicyPeerRow;
  readonly policyGroups: PolicyGroupRow;
};
type ClassTables = Pick<Tables, keyof ClassInputs | 'policyClassRows' | 'nodeClassRows'>;

/** Of two that name one prefix the address's own class counts: it is in the block too. */
const ranks = { exact: 0, block: 1, none: 2 } as const;
/** Of addresses that are in no block. */
const noClass = 0;

export function policyClassController(
  tables: ClassTables,
  restore: BlockRestore,
  modules: ControllerModules,
): Controller<ClassInputs> {
  const { addressBlocks, addressClasses, policyPeers, policyGroups } = tables;
  const rows = new ClassRows(tables, restore, modules);
  return new Controller<ClassInputs>(
    {
      name: 'policy-class-rows',
      inputs: { addressBlocks, addressClasses, policyPeers, policyGroups },
      outputs: [tables.policyClassRows, tables.nodeClassRows],
      run: (changes, txn) => rows.run(changes, txn),
    },
    modules,
  );
}

class ClassRows {
  readonly #tables: ClassTables;
  readonly #modules: ControllerModules;
  readonly #prefixes = new Claims<PolicyClassRow>();
  readonly #nodes = new Claims<NodeClassRow>();
  readonly #inForce: PeersInForce;
  /** Blocks that wait for policy maps, by number. */
  readonly #blocks = new Map<number, AddressBlockRow>();
  readonly #classes = new Map<string, AddressClassRow>();
  readonly #wanted = new Map<Address, AddressClassRow>();
  /** Addresses that keep what they have, by the number that they wait for. */
  readonly #waiting = new Map<number, Set<Address>>();

  constructor(tables: ClassTables, restore: BlockRestore, modules: ControllerModules) {
    this.#tables = tables;
    this.#modules = modules;
    this.#inForce = new PeersInForce([...restore.classes, ...restore.exact].map(([, id]) => id));
  }

  run(changes: ChangesOf<ClassInputs>, txn: WriteTxn): void {
    const ready = this.#inForce.read(changes);
    for (const { key, row, deleted } of changes.addressBlocks) if (row.kind === 'class') this.#block(key, row, deleted);
    const touched = this.#readClasses(changes.addressClasses);
    for (const id of ready) {
      const block = this.#blocks.get(id);
      if (block !== undefined) this.#block(`class ${block.prefix}`, block, false);
      for (const address of this.#waiting.get(id) ?? []) touched.add(address);
      this.#waiting.delete(id);
    }
    for (const address of touched) this.#exact(address);
    writeWinners(this.#prefixes, this.#tables.policyClassRows, txn);
    writeWinners(this.#nodes, this.#tables.nodeClassRows, txn);
  }

  #block(key: string, row: AddressBlockRow, deleted: boolean): void {
    this.#blocks.delete(row.id);
    const isWanted = !deleted && row.leaving !== true;
    if (isWanted && !this.#inForce.has(row.id)) this.#blocks.set(row.id, row);
    else this.#prefixes.set(`block ${key}`, isWanted ? this.#ofBlock(row) : []);
  }

  /** In the map IPv4 is inside of ::/0: the longest match must not find that. */
  #ofBlock({ prefix, id }: AddressBlockRow): readonly Claim<PolicyClassRow>[] {
    const own = this.#prefix(prefix, id, ranks.block);
    return coversMapped(prefix) ? [own, this.#prefix(allIPv4, noClass, ranks.none)] : [own];
  }

  #readClasses(changes: readonly Change<AddressClassRow>[]): Set<Address> {
    const touched = new Set<Address>();
    for (const { key } of changes) {
      for (const address of this.#classes.get(key)?.addresses ?? []) {
        touched.add(address);
        if (this.#wanted.get(address)?.key === key) this.#wanted.delete(address);
      }
    }
    for (const { key, row, deleted } of changes) {
      if (deleted) this.#classes.delete(key);
      else this.#classes.set(key, row);
      for (const address of deleted ? [] : row.addresses) {
        touched.add(address);
        this.#wanted.set(address, row);
      }
    }
    return touched;
  }

  /** One that has a number keeps it until the policy maps know the next: in between it would be nobody whom they name. */
  #exact(address: Address): void {
    const row = this.#wanted.get(address);
    if (row !== undefined && !this.#inForce.has(row.id)) {
      this.#waiting.set(row.id, (this.#waiting.get(row.id) ?? new Set()).add(address));
      return;
    }
    const isOf = (of: AddressClassRow['of']) => row?.of === of;
    const id = row?.id ?? 0;
    this.#nodes.set(address, isOf('node') ? [this.#node(address, id)] : []);
    this.#prefixes.set(`exact ${address}`, isOf('pod') ? [this.#prefix(hostPrefix(address), id, ranks.exact)] : []);
  }

  #prefix(prefix: Prefix, identity: number, rank: number): Claim<PolicyClassRow> {
    const key = { prefixlen: prefixBits(prefix), address: addressBytes(prefixAddress(prefix)) };
    return { key: prefix, rank, row: { prefix, key, value: { identity }, status: pending(this.#modules.clock.now()) } };
  }

  #node(address: Address, identity: number): Claim<NodeClassRow> {
    const key = { address: addressBytes(address) };
    return {
      key: address,
      rank: 0,
      row: { address, key, value: { identity }, status: pending(this.#modules.clock.now()) },
    };
  }
}
