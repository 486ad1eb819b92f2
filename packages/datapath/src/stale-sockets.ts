/**
 * A UDP socket that the socket programs have connected to a backend goes on sending to it for ever. When the backend leaves, the socket is
 * closed: its owner gets ECONNABORTED, connects again, and reaches a backend that is there.
 */
import { setImmediate } from 'node:timers/promises';
import type { LbBackend, LbSockRevnat, LbSockRevnatKey } from '@ciliate/abi';
import { type BpfMap, KernelError, UdpSockets } from '@ciliate/kernel';

const udp = 17;
/** So long removals are gathered: one look at each namespace for all of them. Milliseconds. */
const gather = 100;

export interface StaleSocketsModules {
  readonly revnat: Pick<BpfMap<LbSockRevnatKey, LbSockRevnat>, 'lookup'>;
  /** Paths of the namespaces of this node's pods. The node's own is looked at too. */
  readonly namespaces: () => readonly string[];
  readonly onClosed: (count: number) => void;
  readonly onError: (error: unknown) => void;
}

export class StaleSockets {
  readonly #modules: StaleSocketsModules;
  readonly #gone = new Map<string, LbBackend>();
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(modules: StaleSocketsModules) {
    this.#modules = modules;
  }

  /** No frontend has the backend any more. */
  removed(backend: LbBackend): void {
    if (backend.proto !== udp || this.#stopped) return;
    this.#gone.set(keyOf(backend.address, backend.port), backend);
    this.#timer ??= setTimeout(() => void this.#close(), gather).unref();
  }

  /** It is there again. */
  added(backend: LbBackend): void {
    if (backend.proto === udp) this.#gone.delete(keyOf(backend.address, backend.port));
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  async #close(): Promise<void> {
    this.#timer = undefined;
    const gone = new Map(this.#gone);
    this.#gone.clear();
    let closed = 0;
    for (const netns of gone.size === 0 ? [] : [undefined, ...this.#modules.namespaces()]) {
      try {
        closed += this.#closeIn(netns, gone);
      } catch (error) {
        if (error instanceof KernelError && error.errno === 'EOPNOTSUPP') {
          this.#stopped = true;
          this.#modules.onError(
            new Error('the kernel cannot close sockets (CONFIG_INET_DIAG_DESTROY)', { cause: error }),
          );
          return;
        }
        // A namespace that has just gone took its sockets with it.
        if (!(error instanceof KernelError && error.errno === 'ENOENT')) this.#modules.onError(error);
      }
      await setImmediate();
    }
    if (closed > 0) this.#modules.onClosed(closed);
  }

  #closeIn(netns: string | undefined, gone: ReadonlyMap<string, LbBackend>): number {
    const sockets = new UdpSockets(netns);
    try {
      // Only what we have connected there: others chose the address themselves.
      const stale = sockets.connected().filter(({ cookie, destination: address, port }) => {
        if (!gone.has(keyOf(address, port))) return false;
        return this.#modules.revnat.lookup({ cookie, address, port, proto: udp }) !== undefined;
      });
      return stale.filter(socket => sockets.destroy(socket)).length;
    } finally {
      sockets.close();
    }
  }
}

const keyOf = (address: Uint8Array, port: number): string => `${Buffer.from(address).toString('hex')} ${port}`;
