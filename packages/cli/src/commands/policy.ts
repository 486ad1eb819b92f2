/** `ciliate policy …`: policies explained, tested and compared, without a cluster or on one. */
import { type Command, Option } from 'commander';
import { createContext, type GlobalOptions } from '../context.ts';
import { type ExplainFlags, explainOffline } from '../policy/explain.ts';
import { addSceneOptions } from '../policy/options.ts';

/** Subcommands of `group`, which is `ciliate policy`. */
export function addPolicyTools(group: Command): void {
  addExplain(group);
}

function addExplain(group: Command): void {
  addSceneOptions(
    group
      .command('explain')
      .description('Why a flow is allowed or denied: the rule, who isolates, what came nearest, what would allow it')
      .requiredOption('--from <who>', 'namespace/pod, namespace/label=value, an address, world, host, remote-node …')
      .requiredOption('--to <who>', 'likewise')
      .requiredOption('--port <port>', '5432, 53/UDP, icmp/8')
      .addOption(
        new Option('--protocol <name>', 'of a port without one')
          .choices(['tcp', 'udp', 'sctp', 'TCP', 'UDP', 'SCTP'])
          .default('tcp'),
      ),
  ).action((flags: ExplainFlags, command: Command) => {
    explainOffline(flags, createContext(command.optsWithGlobals<GlobalOptions>()).output);
  });
}
