/** `ciliate sandbox …`: the one-box cluster (DESIGN §6). The work is @ciliate/sandbox's. */
import { sandboxDown, sandboxExec, sandboxKubeconfig, sandboxLogs, sandboxStatus, sandboxUp } from '@ciliate/sandbox';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { createOutput } from '../output.ts';

function parseNodes(value: string): number {
  const nodes = Number(value);
  if (!Number.isInteger(nodes) || nodes < 1 || nodes > 32)
    throw new InvalidArgumentError('a whole number from 1 to 32.');
  return nodes;
}

/** Collects a repeated option. */
function agentOption(value: string, before: readonly string[] = []): readonly string[] {
  if (!/^[a-z0-9-]+(=.*)?$/.test(value)) throw new InvalidArgumentError('name=value, as in tc-attach=clsact.');
  return [...before, value];
}

interface UpFlags {
  readonly nodes: number;
  readonly routing: 'vxlan' | 'native';
  readonly ipam: 'kubernetes' | 'cluster-pool';
  readonly kubeconfig?: string;
  readonly agentOption?: readonly string[];
  readonly detach?: boolean;
  readonly name: string;
}

function nameOption(): Option {
  return new Option('--name <name>', 'which sandbox').env('CILIATE_SANDBOX').default('sandbox');
}

function addUp(group: Command): void {
  group
    .command('up')
    .description('Build nodes, pods and a small Kubernetes API server from network namespaces (needs root)')
    .option('--nodes <count>', 'how many nodes', parseNodes, 2)
    .addOption(new Option('--routing <mode>', 'between nodes').choices(['vxlan', 'native']).default('vxlan'))
    .addOption(
      new Option('--ipam <mode>', 'where pod CIDRs come from')
        .choices(['kubernetes', 'cluster-pool'])
        .default('kubernetes'),
    )
    .option('--kubeconfig <file>', 'join the nodes to this API server instead of a small one of our own')
    .option('--agent-option <name=value>', 'an option of every agent; may be given more than once', agentOption)
    .option('--detach', 'return when it is up and leave it running')
    .addOption(nameOption())
    .action(async (flags: UpFlags) => {
      const progress = createOutput({ json: false, stream: process.stdout });
      process.exitCode = await sandboxUp({ ...flags, agentOptions: flags.agentOption ?? [] }, line =>
        progress.line(line),
      );
    });
}

export function addSandboxCommands(program: Command): void {
  const group = program
    .command('sandbox')
    .description('A cluster on this machine: real datapath, no containers needed');
  addUp(group);
  group
    .command('down')
    .description('End it; leaves no process, namespace, link, pin, cgroup or file')
    .addOption(nameOption())
    .action(async (flags: { readonly name: string }) => {
      process.exitCode = await sandboxDown(flags, line => process.stdout.write(`${line}\n`));
    });
  group
    .command('status')
    .description('Its processes, and what happened to those that ended')
    .addOption(nameOption())
    .action(async (flags: { readonly name: string }) => {
      process.exitCode = await sandboxStatus(flags, line => process.stdout.write(`${line}\n`));
    });
  group
    .command('exec <target> <command...>')
    .description("Run a command in 'outside', a node ('node-1') or a pod ('pod/NAMESPACE/NAME'), after --")
    .addOption(nameOption())
    .action(async (target: string, argv: readonly string[], flags: { readonly name: string }) => {
      process.exitCode = await sandboxExec(flags, target, argv);
    });
  group
    .command('logs [process]')
    .description('Log of one process; without a name, which there are')
    .option('-f, --follow', 'go on with what is written')
    .addOption(nameOption())
    .action(async (name: string | undefined, flags: { readonly name: string; readonly follow?: boolean }) => {
      process.exitCode = await sandboxLogs(flags, name, line => process.stdout.write(line));
    });
  group
    .command('kubeconfig')
    .description('Path of the kubeconfig: export KUBECONFIG=$(ciliate sandbox kubeconfig)')
    .addOption(nameOption())
    .action((flags: { readonly name: string }) => {
      process.stdout.write(`${sandboxKubeconfig(flags)}\n`);
    });
}
