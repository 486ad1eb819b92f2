/** Why an object cannot be used. */
export interface ParseProblem {
  /** Path in the object: 'spec.ports[0].port'. */
  readonly field: string;
  readonly message: string;
  readonly remedy: string;
}

/** A row, with what had to be left out of it; or why there is none. An object without row never disturbs others. */
export type Parsed<Row> =
  | { readonly row: Row; readonly problems: readonly ParseProblem[] }
  | { readonly error: ParseProblem };

/** Thrown inside a parser only; `parsing` turns it into the error. */
export class BadField extends Error {
  readonly problem: ParseProblem;

  constructor(problem: ParseProblem) {
    super(`${problem.field}: ${problem.message}`);
    this.name = 'BadField';
    this.problem = problem;
  }
}

/** Runs a parser that may throw BadField and may note problems. */
export function parsing<Row>(parse: (problems: ParseProblem[]) => Row): Parsed<Row> {
  const problems: ParseProblem[] = [];
  try {
    return { row: parse(problems), problems };
  } catch (thrown) {
    if (thrown instanceof BadField) return { error: thrown.problem };
    throw thrown;
  }
}
