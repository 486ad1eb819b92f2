/** `ciliate policy explain`: why a flow is allowed or denied. */
import { explainFlow, type FlowExplanation, type SideExplanation } from '@ciliate/control';
import type { Output } from '../output.ts';
import { named, portOf, readScene, type SceneFlags } from './options.ts';

export interface ExplainFlags extends SceneFlags {
  readonly from: string;
  readonly to: string;
  readonly port: string;
  readonly protocol: string;
}

/** From manifests alone. Exit code 1 when something is denied. */
export function explainOffline(flags: ExplainFlags, output: Output): void {
  const { scene } = readScene(flags, flags.filename ?? [], output);
  const { protocol, port } = portOf(flags.port, flags.protocol);
  const [froms, tos] = [named(scene, flags.from), named(scene, flags.to)];
  const explained = froms.flatMap(from =>
    tos.filter(to => to !== from).map(to => explainFlow(scene, from, to, protocol, port)),
  );
  output.render(explained, () => {
    explained.forEach((one, i) => {
      if (i > 0) output.line();
      printExplanation(one, output);
    });
  });
  if (explained.some(one => !one.allowed)) process.exitCode = 1;
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
