/** The command tree. Building it does nothing; parsing runs one command. */
import { type LbMapName, lbMapNames } from '@ciliate/protocol';
import { Command, Option } from 'commander';
import * as bpf from './commands/bpf.ts';
import { lbTrace } from './commands/lb-trace.ts';
import * as lists from './commands/lists.ts';
import { monitor } from './commands/monitor.ts';
import { addPolicyTools } from './commands/policy.ts';
import { bpfPolicyList, policyGet, policySelectors } from './commands/policy-lists.ts';
import { addSandboxCommands } from './commands/sandbox.ts';
import { serviceGet } from './commands/service-get.ts';
import { status } from './commands/status.ts';
import { completionScript } from './completion.ts';
import { type Context, createContext, type GlobalOptions } from './context.ts';

type Action = (context: Context) => Promise<void>;

function addList(parent: Command, name: string, description: string, action: Action): void {
  parent
    .command(name)
    .alias('ls')
    .description(description)
    .action((_options: unknown, command: Command) => action(createContext(command.optsWithGlobals<GlobalOptions>())));
}

function addGet(
  parent: Command,
  argument: string,
  description: string,
  action: (context: Context, id: string) => Promise<void>,
): void {
  parent
    .command(`get <${argument}>`)
    .description(description)
    .action((id: string, _options: unknown, command: Command) =>
      action(createContext(command.optsWithGlobals<GlobalOptions>()), id),
    );
}

function addStatus(program: Command): void {
  program
    .command('status')
    .description('State of the agent and of what it programs')
    .option('-v, --verbose', 'every section: addresses, controllers, maps and their fill, cluster health')
    .option('--brief', 'one word; exit code 1 when not OK')
    .action((options, command: Command) => status(createContext(command.optsWithGlobals<GlobalOptions>()), options));
}

function addBpf(program: Command): void {
  const group = program.command('bpf').description('What the kernel maps hold');
  const maps: readonly (readonly [string, string, Action])[] = [
    ['ct', 'Connection tracking', bpf.bpfCtList],
    ['nat', 'Address translations', bpf.bpfNatList],
    ['ipcache', 'Prefix → identity and tunnel endpoint', bpf.bpfIpcacheList],
    ['endpoint', 'Addresses of this node', bpf.bpfEndpointList],
    ['metrics', 'Packets and bytes, forwarded and dropped by reason', bpf.bpfMetricsList],
  ];
  for (const [name, description, action] of maps) {
    addList(group.command(name).description(description), 'list', description, action);
  }
  addBpfLb(group);
  addBpfPolicy(group);
}

/** What policies this node has; tools that need no agent are in the same group. */
function addPolicyLists(policy: Command): void {
  policy
    .command('get [name]')
    .description('Policies as this node has read them, with the revision of what it enforces')
    .action((name: string | undefined, _options: unknown, command: Command) =>
      policyGet(createContext(command.optsWithGlobals<GlobalOptions>()), name),
    );
  policy
    .command('selectors')
    .description('Selectors of policies, and the identities that each stands for now')
    .action((_options: unknown, command: Command) =>
      policySelectors(createContext(command.optsWithGlobals<GlobalOptions>())),
    );
}

const lbMapWords: Readonly<Record<LbMapName, string>> = {
  backends: 'backends by their number',
  revnat: 'what replies get as their source again',
  'source-ranges': 'who may dial, or with the deny policy may not',
  affinity: 'clients, and the backends that they come back to',
  maglev: 'tables of Maglev: what share each backend has',
  skip: 'pods that a local redirect does not apply to, being its backends',
  dsr: 'backends of this node, and what they may answer as when other nodes forward to them (DSR)',
};

function addBpfLb(bpfGroup: Command): void {
  const description = 'Services and their backends';
  const list = bpfGroup.command('lb').description(description).command('list').alias('ls').description(description);
  list.option('--frontends', 'frontends without their slots');
  for (const name of lbMapNames) list.option(`--${name}`, lbMapWords[name]);
  list.action((_options: unknown, command: Command) => {
    const context = createContext(command.optsWithGlobals<GlobalOptions>());
    const isAsked = (name: string) => command.getOptionValue(camelCase(name)) === true;
    const asked = ['frontends', ...lbMapNames].filter(isAsked);
    if (asked.length > 1) command.error(`error: --${asked.join(' and --')}: one at a time`);
    const chosen = lbMapNames.find(isAsked);
    return chosen === undefined
      ? bpf.bpfLbList(context, command.getOptionValue('frontends') === true)
      : bpf.bpfLbMapList(context, chosen);
  });
}

/** As commander names the value of an option. */
function camelCase(name: string): string {
  return name.replace(/-(\w)/g, (_match, letter: string) => letter.toUpperCase());
}

function addBpfPolicy(bpfGroup: Command): void {
  const description = 'Policy maps: who may do what, by which rule, and how many flows it decided';
  bpfGroup
    .command('policy')
    .description(description)
    .command('list [endpoint]')
    .aliases(['ls', 'get'])
    .description(`${description}; endpoint: an ID, 'host', 'pod-name:ns/name' …`)
    .option('--all', 'every policy map of the node, as without an endpoint')
    .action((endpoint: string | undefined, options: { readonly all?: boolean }, command: Command) =>
      bpfPolicyList(
        createContext(command.optsWithGlobals<GlobalOptions>()),
        options.all === true ? undefined : endpoint,
      ),
    );
}

function addMonitor(program: Command): void {
  program
    .command('monitor')
    .description('Events of the datapath as they come: drops with their reason, traces')
    .option('-t, --type <types...>', 'only these: drop, trace, policy-verdict, debug, trace-sock')
    .option('--related-to <endpoint>', 'only events of this endpoint id')
    .option('--hex', 'with the captured bytes')
    .action((options, command: Command) => monitor(createContext(command.optsWithGlobals<GlobalOptions>()), options));
}

function addLists(program: Command): void {
  const service = program.command('service').description('Frontends and their backends');
  addList(service, 'list', 'ID, frontend, type and backends of every service', lists.serviceList);
  addGet(
    service,
    'name',
    'What a service is, where it goes, and why an endpoint gets nothing: name, namespace/name, or an ID of the list',
    serviceGet,
  );
  program
    .command('lb')
    .description('Load balancing, as the loaded programs do it')
    .command('trace')
    .description('A packet to a service through the loaded programs, step by step')
    .requiredOption('--from <client>', 'a pod of the node (namespace/name), or an address outside of the cluster')
    .requiredOption('--to <frontend>', 'ADDRESS:PORT/PROTO, as 10.96.0.10:53/UDP or [fd00::1]:80')
    .action((options: { readonly from: string; readonly to: string }, command: Command) =>
      lbTrace(createContext(command.optsWithGlobals<GlobalOptions>()), options),
    );
  const endpoint = program.command('endpoint').description('Workloads of this node');
  addList(endpoint, 'list', 'Identity, labels and addresses of every endpoint', lists.endpointList);
  addGet(endpoint, 'id', "One endpoint: its ID, 'pod-name:ns/name', 'ipv4:…', 'container-id:…'", lists.endpointGet);
  const identity = program.command('identity').description('Numbers of label sets');
  addList(identity, 'list', 'Every identity in use', lists.identityList);
  addGet(identity, 'id', 'Labels of one identity', lists.identityGet);
  addList(
    program.command('ip').description('Prefix → identity'),
    'list',
    'What the ipcache maps to which identity',
    lists.ipList,
  );
  addList(
    program.command('node').description('Nodes of the cluster'),
    'list',
    'Addresses and pod CIDRs of every node',
    lists.nodeList,
  );
}

export function createProgram(version: string): Command {
  const program = new Command('ciliate')
    .description('Kubernetes networking, load balancing, policy and observability with eBPF')
    .version(version, '-V, --version')
    .option('--node <name>', 'the agent of this sandbox node')
    .option('--socket-path <path>', "the agent's REST socket")
    .addOption(new Option('-o, --output <format>', 'output format').choices(['json', 'table']).default('table'))
    .showSuggestionAfterError(true)
    .showHelpAfterError('(ciliate --help lists the commands)');
  addStatus(program);
  addLists(program);
  addBpf(program);
  addMonitor(program);
  const policy = program.command('policy').description('Policies: what they say, and why');
  addPolicyTools(policy);
  addPolicyLists(policy);
  addSandboxCommands(program);
  program
    .command('completion <shell>')
    .description('Completion script for bash, zsh or fish: source it, or put it where your shell looks')
    .action((shell: string) => {
      process.stdout.write(completionScript(shell, program));
    });
  return program;
}
