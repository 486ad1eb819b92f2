/** What this node knows of itself: pod CIDRs, router and health addresses. Kept on disk for a start without API server. */
import { join } from 'node:path';
import { type Address, type NodeRow, type Prefix, tryParseAddress } from '@ciliate/model';
import { type Ipam, IpamError } from './ipam/ipam.ts';
import { describe, type Log } from './log.ts';
import { readStateFile, writeStateFile } from './state-file.ts';

const format = 1;

export class LocalNode {
  readonly #path: string;
  readonly #ipam: Ipam;
  readonly #log: Log;
  readonly #health: boolean;
  readonly #hasPods: boolean;
  #saved = '';
  #row: NodeRow | undefined;
  /** What the programs were loaded with. */
  #loaded: readonly Address[] | undefined;
  #logged: readonly string[] = [];
  #problem: string | undefined;
  #routers: readonly Address[] = [];
  #healthAddresses: readonly Address[] = [];

  constructor(
    options: {
      readonly stateDir: string;
      readonly healthEndpoint: boolean;
      /** False: pods get their addresses from somebody else. */
      readonly hasPods: boolean;
    },
    modules: { readonly ipam: Ipam; readonly log: Log },
  ) {
    this.#path = join(options.stateDir, 'node.json');
    this.#health = options.healthEndpoint;
    this.#hasPods = options.hasPods;
    this.#ipam = modules.ipam;
    this.#log = modules.log;
  }

  get row(): NodeRow | undefined {
    return this.#row;
  }

  /** Whether programs can be loaded: they hold the node's addresses, and the router's where pods are ours. */
  get isKnown(): boolean {
    return internalAddresses(this.#row).length > 0 && (!this.#hasPods || this.#routers.length > 0);
  }

  /** Why pods cannot get addresses although the node is known. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** What has changed since the start and is not in force, with what to do. */
  get notices(): readonly string[] {
    return changesOf({
      loaded: this.#loaded,
      now: internalAddresses(this.#row),
      withdrawn: this.#ipam.withdrawn,
    });
  }

  /** The node's addresses, for the programs' constants: later changes are told, not followed. */
  takeAddresses(): readonly Address[] {
    this.#loaded = internalAddresses(this.#row);
    return this.#loaded;
  }

  get podCIDRs(): readonly Prefix[] {
    return this.#ipam.podCIDRs;
  }

  get routers(): readonly Address[] {
    return this.#routers;
  }

  get healthAddresses(): readonly Address[] {
    return this.#healthAddresses;
  }

  /** The node as it was when the agent last ran; undefined for a first start. */
  load(name: string): NodeRow | undefined {
    try {
      const state = readStateFile(this.#path) as { readonly format?: number; readonly row?: NodeRow } | undefined;
      if (state?.format !== format || state.row?.name !== name) return undefined;
      return this.complete(state.row);
    } catch (error) {
      this.#log.error('node state cannot be read, ignored', { path: this.#path, error: describe(error) });
      return undefined;
    }
  }

  /**
   * A row from the API server, with the addresses that we took ourselves. Called for each version of the local node;
   * rows of other nodes pass unchanged.
   */
  complete(row: NodeRow): NodeRow {
    if (!row.local) return row;
    const podCIDRs = this.#hasPods ? this.#adopt(row.podCIDRs) : row.podCIDRs;
    const local: NodeRow = {
      ...row,
      podCIDRs,
      routerAddresses: this.#routers,
      healthAddresses: this.#health ? this.#healthAddresses : [],
    };
    this.#row = local;
    this.#logNotices();
    if (this.isKnown) this.#save(local);
    return local;
  }

  #adopt(podCIDRs: readonly Prefix[]): readonly Prefix[] {
    try {
      this.#ipam.setPodCIDRs(podCIDRs);
      this.#problem = undefined;
    } catch (error) {
      const problem = describe(error);
      if (problem !== this.#problem) this.#log.error('pod CIDR refused', { podCIDRs, error: problem });
      this.#problem = problem;
      if (error instanceof IpamError) return this.#ipam.podCIDRs;
      throw error;
    }
    if (this.#ipam.podCIDRs.length > 0 && this.#routers.length === 0) {
      this.#routers = this.#ipam.reserveFixed(0, 'router');
      this.#healthAddresses = this.#ipam.reserveFixed(1, 'health');
    }
    return this.#ipam.podCIDRs;
  }

  #logNotices(): void {
    const { notices } = this;
    for (const notice of notices) if (!this.#logged.includes(notice)) this.#log.warn(notice);
    this.#logged = notices;
  }

  #save(row: NodeRow): void {
    // Labels change often and are not needed to start.
    const state = JSON.stringify({ format, row: { ...row, labels: {} } });
    if (state === this.#saved) return;
    writeStateFile(this.#path, JSON.parse(state));
    this.#saved = state;
  }
}

/** What a running agent cannot follow, as sentences with their remedy. */
export function changesOf(node: {
  readonly loaded: readonly Address[] | undefined;
  readonly now: readonly Address[];
  readonly withdrawn: readonly Prefix[];
}): readonly string[] {
  const { loaded, now, withdrawn } = node;
  const moved = loaded !== undefined && now.length > 0 && now.toSorted().join() !== loaded.toSorted().join();
  return [
    ...(moved
      ? [
          `the node's address is ${now.join(', ')} now, programs were loaded with ${loaded.join(', ')}: restart the agent of this node`,
        ]
      : []),
    ...withdrawn.map(
      prefix =>
        `pod CIDR ${prefix} was taken from this node while addresses of it are in use: restart its pods, then the agent`,
    ),
  ];
}

/** The node's own addresses that packets of other nodes come to. */
export function internalAddresses(row: NodeRow | undefined): readonly Address[] {
  return (row?.addresses ?? [])
    .filter(item => item.type === 'InternalIP')
    .map(item => tryParseAddress(item.address))
    .filter(address => address !== undefined);
}
