/** Real packets between two namespaces, and when their verdict changes. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

export type Verdict = 'allow' | 'deny';

/** Microseconds between two packets: how exact the times are. */
const interval = 200;

export interface ProbePath {
  /** Paths of network namespaces. */
  readonly client: string;
  readonly server: string;
  readonly address: string;
  readonly port: number;
}

interface Change {
  readonly verdict: Verdict;
  /** When the first packet of it was sent, in nanoseconds of CLOCK_MONOTONIC. */
  readonly at: bigint;
}

export class VerdictProbe {
  readonly #process: ChildProcess;
  readonly #changes: Change[] = [];
  #wake: () => void = () => undefined;
  #ended = '';

  constructor(program: string, { client, server, address, port }: ProbePath) {
    const words = [client, server, address, String(port), String(interval)];
    const child = spawn(program, words, { stdio: ['ignore', 'pipe', 'pipe'] });
    createInterface({ input: child.stdout }).on('line', line => {
      const [verdict, at = '0'] = line.split(' ');
      this.#changes.push({ verdict: verdict === 'allow' ? 'allow' : 'deny', at: BigInt(at) });
      this.#wake();
    });
    child.stderr.on('data', text => {
      this.#ended += String(text);
    });
    child.on('exit', code => {
      this.#ended += `exit ${code}`;
      this.#wake();
    });
    this.#process = child;
  }

  /** Every change so far. */
  get verdicts(): readonly Verdict[] {
    return this.#changes.map(change => change.verdict);
  }

  /** When the verdict that holds now came into force; waits until it is `verdict`. @throws after 30 s */
  async since(verdict: Verdict): Promise<bigint> {
    const end = performance.now() + 30_000;
    for (;;) {
      const last = this.#changes.at(-1);
      if (last?.verdict === verdict) return last.at;
      if (this.#ended !== '') throw new Error(`the probe has ended: ${this.#ended}`);
      if (performance.now() > end) throw new Error(`no ${verdict} in 30 s: ${this.verdicts.join(' ')}`);
      await new Promise<void>(resolve => {
        this.#wake = resolve;
        setTimeout(resolve, 1000);
      });
    }
  }

  close(): void {
    this.#process.kill('SIGKILL');
  }
}
