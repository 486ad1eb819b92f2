import { type Ratio, ratioOf } from '../lib/ratio.ts';
import type { Sample } from '../lib/report.ts';
import type { Mode } from '../lib/scenarios.ts';
import { rateOf } from '../lib/section.ts';
import type { ContestantName, Route } from './peers.ts';
import type { Measured } from './text.ts';

/** What was measured, by what one wants to know. */
export class Results {
  readonly #measured: readonly Measured[];

  constructor(measured: readonly Measured[]) {
    this.#measured = measured;
  }

  samples(size: number, route: Route, mode: Mode, contestant: ContestantName): readonly Sample[] {
    return (
      this.#measured.find(
        it => it.size === size && it.route === route && it.mode === mode && it.contestant === contestant,
      )?.samples ?? []
    );
  }

  rates(size: number, route: Route, mode: Mode, contestant: ContestantName): readonly number[] {
    return this.samples(size, route, mode, contestant).map(sample => rateOf(mode, sample));
  }

  /** Ours against theirs. */
  ratio(size: number, route: Route, mode: Mode, against: ContestantName): Ratio {
    return ratioOf(this.rates(size, route, mode, 'ciliate'), this.rates(size, route, mode, against));
  }
}
