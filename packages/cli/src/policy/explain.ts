/** `ciliate policy explain`: why a flow is allowed or denied. */
import { explainFlow, type FlowExplanation, type SideExplanation } from '@ciliate/control';
import { type LivePolicyExplanation, restPaths } from '@ciliate/protocol';
import type { Context } from '../context.ts';
import type { Output } from '../output.ts';
import { named, portsOf, readScene, type SceneFlags } from './options.ts';

export interface ExplainFlags extends SceneFlags {
  readonly from: string;
  readonly to: string;
  readonly port: string;
  readonly protocol: string;
}

/** From manifests alone. Exit code 1 when something is denied. */
export function explainOffline(flags: ExplainFlags, output: Output): void {
  const { scene } = readScene(flags, flags.filename ?? [], output);
  const [froms, tos] = [named(scene, flags.from), named(scene, flags.to)];
  const explained = froms.flatMap(from =>
    tos
      .filter(to => to !== from)
      .flatMap(to => portsOf(flags, tos, to).map(({ protocol, port }) => explainFlow(scene, from, to, protocol, port))),
  );
  output.render(explained, () => {
    explained.forEach((one, i) => {
      if (i > 0) output.line();
      printExplanation(one, output);
    });
  });
  if (explained.some(one => !one.allowed)) process.exitCode = 1;
}

type Live = LivePolicyExplanation<FlowExplanation>;

/** From what an agent knows, with what its kernel says. Exit code 1 when something is denied, or the two do not agree. */
export async function explainLive(flags: ExplainFlags, { agent, output }: Context): Promise<void> {
  const query = new URLSearchParams({ from: flags.from, to: flags.to, port: flags.port, protocol: flags.protocol });
  const explained = await agent.get<readonly Live[]>(`${restPaths.policyExplain}?${query}`);
  output.render(explained, () => {
    explained.forEach((one, i) => {
      if (i > 0) output.line();
      printLive(one, output);
    });
  });
  if (explained.some(one => !one.explanation.allowed || one.disagreements.length > 0)) process.exitCode = 1;
}

function printLive({ explanation, kernel, run, disagreements }: Live, output: Output): void {
  const { bad, dim } = output.paint;
  printExplanation(explanation, output);
  for (const { direction, allowed, rule } of kernel) {
    output.line(dim(`  loaded map, ${direction}: ${allowed ? 'allows' : 'denies'}: ${rule}`));
  }
  if (run !== undefined) {
    output.line(dim(`  a packet through ${run.program}: ${run.passed ? 'passes' : `dropped, ${run.reason}`}`));
  }
  if (kernel.length === 0)
    output.line(dim("  this node's kernel judges no side of it: ask the agent of the pod's node (--node)"));
  for (const text of disagreements) output.line(bad(`  DISAGREEMENT: ${text}`));
}

export function printExplanation({ from, to, port, allowed, sides }: FlowExplanation, output: Output): void {
  const { good, bad, bold } = output.paint;
  output.line(`${bold(`${from} → ${to} ${port}`)}  ${allowed ? good('allowed') : bad('denied')}`);
  for (const side of sides) printSide(side, output);
}

function printSide(side: SideExplanation, output: Output): void {
  const { good, bad, dim } = output.paint;
  const name = `${side.direction} of ${side.subject}`;
  if (!side.hasPolicy) {
    output.line(dim(`  ${name}: no policy is about it here`));
    return;
  }
  const verdict = side.audit ? bad('allowed by audit only') : side.allowed ? good('allowed') : bad('denied');
  output.line(`  ${name}: ${verdict}: ${side.rule}`);
  if (side.nearest !== undefined) {
    output.line(`    nearest rule: ${side.nearest.rule}`);
    for (const failed of side.nearest.failed) output.line(`      does not fit: ${failed}`);
  }
  if (side.yaml !== undefined) {
    output.line('    the smallest policy that would allow it:');
    for (const line of side.yaml.split('\n')) output.line(`      ${line}`);
  } else if (side.remedy !== undefined) {
    output.line(`    ${side.remedy}`);
  }
}
