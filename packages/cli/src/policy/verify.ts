/** `ciliate policy verify`: the loaded maps against the compiler. Exit code 1 when they differ. */
import { type PolicyVerification, restPaths } from '@ciliate/protocol';
import type { Context } from '../context.ts';

export async function verifyPolicies({ agent, output }: Context): Promise<void> {
  const result = await agent.get<PolicyVerification>(restPaths.policyVerify);
  const { maps, endpoints, differences, checked, lastRound } = result;
  output.render(result, () => {
    if (differences.length > 0) {
      output.table(
        ['WHERE', 'WHAT', 'KEY (identity/direction/protocol/port/bits)', 'WANTED', 'FOUND'],
        differences.map(({ where, what, key, wanted, found }) => [where, what, key, wanted, found]),
      );
    }
    const { good, bad } = output.paint;
    const verdict = differences.length === 0 ? good('no difference') : bad(`${differences.length} differences`);
    output.line(`${maps} policy maps and ${endpoints} endpoints compared: ${verdict}`);
    output.line(
      `the agent has compared ${checked} so far, last round ${lastRound === '' ? 'not ended yet' : lastRound}`,
    );
  });
  if (differences.length > 0) process.exitCode = 1;
}
