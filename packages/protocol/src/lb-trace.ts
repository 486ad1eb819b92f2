/** GET /v1/ciliate/lb/trace?from=…&to=…: what becomes of the first packet of a flow to a service. */

export interface LbTraceStep {
  /** 'client', 'socket', 'frontend', 'scope', 'sources', 'affinity', 'backends', 'program', 'translation', 'way'. */
  readonly stage: string;
  readonly text: string;
}

export interface LbTrace {
  readonly from: string;
  /** ADDRESS:PORT/PROTO */
  readonly to: string;
  readonly steps: readonly LbTraceStep[];
  /** 'forwarded', 'refused' (answered port unreachable or reset), 'dropped', 'no service' (left to routing). */
  readonly outcome: 'forwarded' | 'refused' | 'dropped' | 'no service';
  /** ADDRESS:PORT of the backend that this packet goes to; '' = none. */
  readonly backend: string;
}
