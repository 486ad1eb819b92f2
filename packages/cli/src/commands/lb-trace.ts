/** `ciliate lb trace`: a packet to a service through the loaded programs, step by step. Exit code 1 when it does not get there. */
import { type LbTrace, restPaths } from '@ciliate/protocol';
import type { Context } from '../context.ts';

export async function lbTrace(
  { agent, output }: Context,
  { from, to }: { readonly from: string; readonly to: string },
): Promise<void> {
  const trace = await agent.get<LbTrace>(`${restPaths.lbTrace}?${new URLSearchParams({ from, to })}`);
  output.render(trace, () => {
    const width = Math.max(...trace.steps.map(({ stage }) => stage.length));
    output.line(`${trace.from} → ${trace.to}`);
    for (const [i, { stage, text }] of trace.steps.entries()) {
      output.line(`  ${String(i + 1).padStart(2)}  ${stage.padEnd(width)}  ${text}`);
    }
    const { good, bad } = output.paint;
    output.line(trace.outcome === 'forwarded' ? good(`forwarded to ${trace.backend}`) : bad(trace.outcome));
  });
  if (trace.outcome !== 'forwarded') process.exitCode = 1;
}
