/** `ciliate policy …`: policies explained, tested and compared, without a cluster or on one. */
import { type Command, Option } from 'commander';
import { createContext, type GlobalOptions } from '../context.ts';
import { CliError } from '../errors.ts';
import { type DiffFlags, diffLive, diffPolicies } from '../policy/diff.ts';
import { type ExplainFlags, explainLive, explainOffline } from '../policy/explain.ts';
import { addSceneOptions } from '../policy/options.ts';
import { type TestFlags, testLive, testPolicies } from '../policy/test.ts';
import { verifyPolicies } from '../policy/verify.ts';

/** Subcommands of `group`, which is `ciliate policy`. */
export function addPolicyTools(group: Command): void {
  addExplain(group);
  addTest(group);
  addDiff(group);
  addVerify(group);
}

function addExplain(group: Command): void {
  addSceneOptions(
    group
      .command('explain')
      .description(
        'Why a flow is allowed or denied: the rule, who isolates, what came nearest, what would allow it. ' +
          'With -f of manifests; else of an agent, whose kernel is asked too',
      )
      .requiredOption('--from <who>', 'namespace/pod, namespace/label=value, an address, world, host, remote-node …')
      .requiredOption('--to <who>', 'likewise')
      .requiredOption('--port <port>', '5432, 53/UDP, icmp/8, or the name that --to gives to one of its ports')
      .addOption(
        new Option('--protocol <name>', 'of a port without one')
          .choices(['tcp', 'udp', 'sctp', 'TCP', 'UDP', 'SCTP'])
          .default('tcp'),
      ),
  )
    .addHelpText('after', exitCodes('all of it is allowed', 'something is denied, or the kernel disagrees'))
    .action(
      judging(async (flags: ExplainFlags, command: Command) => {
        const context = createContext(command.optsWithGlobals<GlobalOptions>());
        if (flags.filename === undefined) await explainLive(flags, context);
        else explainOffline(flags, context.output);
      }),
    );
}

function addTest(group: Command): void {
  addSceneOptions(
    group
      .command('test <file...>')
      .description("Expectations such as 'shop/* can reach db/postgres on 5432; nothing else' (docs/policy-testing.md)")
      .option('--live', 'pods and policies of a running cluster, and its kernel asked too, instead of manifests')
      .option('--junit <file>', 'write the results there as JUnit XML'),
  )
    .addHelpText('after', exitCodes('all expectations hold', 'some do not'))
    .action(
      judging(async (files: readonly string[], flags: TestFlags, command: Command) => {
        const context = createContext(command.optsWithGlobals<GlobalOptions>());
        if (flags.live === true) await testLive(files, flags, context);
        else testPolicies(files, flags, context.output);
      }),
    );
}

function addDiff(group: Command): void {
  addSceneOptions(
    group
      .command('diff')
      .description('What new policies (-f) would change: pairs, recorded flows, ways to the node; by which rule')
      .option('--base <path...>', 'what is there: pods, workloads, namespaces, policies; else what the agent knows')
      .option('--flows <file>', "recorded flows: lines of 'ciliate monitor -o json'")
      .option('--apiserver-port <port>', 'of the API server, for lock-outs', '6443'),
  )
    .addHelpText('after', exitCodes('no way to the node would be closed', 'one would be'))
    .action(
      judging(async (flags: DiffFlags, command: Command) => {
        const context = createContext(command.optsWithGlobals<GlobalOptions>());
        if (flags.base === undefined && flags.filename !== undefined) await diffLive(flags, context);
        else diffPolicies(flags, context.output);
      }),
    );
}

function addVerify(group: Command): void {
  group
    .command('verify')
    .description('Compare the policy maps in the kernel with what the policies compile to, now')
    .addHelpText('after', exitCodes('they are equal', 'they are not'))
    .action(
      judging((_flags: unknown, command: Command) =>
        verifyPolicies(createContext(command.optsWithGlobals<GlobalOptions>())),
      ),
    );
}

const exitCodes = (good: string, bad: string): string => `\nExit code 0: ${good}; 1: ${bad}; 2: nobody could say.`;

/** Exit code 1 is an answer of these commands: what keeps them from one has another. */
function judging<Args extends readonly unknown[]>(action: (...args: Args) => Promise<void>) {
  return async (...args: Args): Promise<void> => {
    try {
      await action(...args);
    } catch (error) {
      if (!(error instanceof CliError) || error.exitCode !== 1) throw error;
      throw new CliError({ code: error.code, exitCode: 2 }, error.message, { cause: error });
    }
  };
}
