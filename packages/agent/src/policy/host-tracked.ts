/** When the kernel begins to track the node's own flows, with a host firewall alone. */
import { EndpointFlags } from '@ciliate/abi';
import type { EndpointMapRow } from '@ciliate/model';
import type { Table } from '@ciliate/tables';

/**
 * Calls `begun` once, as soon as an entry of the host is in force. Connections that are older were never seen to begin: what comes next on
 * them would count as a flow of the other side's, which a policy for nodes may forbid. Who has some (our watches) begins them anew.
 */
export class HostTracked {
  readonly name = 'host-tracked';
  readonly #rows: Table<EndpointMapRow, string>;
  readonly #begun: () => void;
  #unsubscribe: (() => void) | undefined;

  constructor(rows: Table<EndpointMapRow, string>, begun: () => void) {
    this.#rows = rows;
    this.#begun = begun;
  }

  start(): void {
    this.#unsubscribe = this.#rows.subscribe(() => this.#check());
    this.#check();
  }

  stop(): void {
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
  }

  #check(): void {
    if (this.#unsubscribe === undefined) return;
    const isTracked = this.#rows
      .all()
      .some(
        ({ value, status }) =>
          (value.flags & EndpointFlags.ENDPOINT_HOST) !== 0 && value.policyRevision > 0 && status.kind === 'done',
      );
    if (!isTracked) return;
    this.stop();
    this.#begun();
  }
}
