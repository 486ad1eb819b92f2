/** `ciliate policy diff`: what new policies would change, before they are applied. */
import {
  changedFlows,
  type FlowChange,
  type LockOut,
  lockOuts,
  type PolicyScene,
  parsePortNumber,
  policyDiff,
  portText,
  type RecordedFlow,
  type SceneJson,
  sceneDefaults,
  sceneFromJson,
  sceneFromObjects,
  somebodyNamed,
  type VerdictChange,
  withPolicies,
} from '@ciliate/control';
import { tryParseAddress } from '@ciliate/model';
import { type MonitorEvent, restPaths } from '@ciliate/protocol';
import type { Context } from '../context.ts';
import { CliError } from '../errors.ts';
import type { Output } from '../output.ts';
import { problemText, readManifests, readText } from './manifests.ts';
import { readScene, type SceneFlags } from './options.ts';

export interface DiffFlags extends SceneFlags {
  readonly base?: readonly string[];
  readonly flows?: string;
  readonly apiserverPort: string;
}

/** On top of what an agent knows. Exit code 1 when a way to the node would be closed. */
export async function diffLive(flags: DiffFlags, { agent, output }: Context): Promise<void> {
  const before = sceneFromJson(await agent.get<SceneJson>(restPaths.policyScene));
  const added = readScene(flags, flags.filename ?? [], output).scene.input;
  compareScenes(before, withPolicies(before, added.policies, added.cidrGroups), flags, output);
}

/** Of manifests alone. Exit code 1 when a way to the node would be closed. */
export function diffPolicies(flags: DiffFlags, output: Output): void {
  if (flags.filename === undefined || flags.base === undefined) {
    throw new CliError(
      { code: 'USAGE', exitCode: 2 },
      'diff needs -f (what shall be applied); with --base (what is there: pods, policies) it asks no agent',
    );
  }
  const settings = { ...sceneDefaults, mode: flags.enforcement, allowLocalHost: flags.localhost, now: Date.now() };
  const [base, added] = [readManifests(flags.base), readManifests(flags.filename)];
  const after = sceneFromObjects([...base, ...added], settings);
  for (const problem of after.problems) output.warn(problemText(problem));
  // Pods that come with the policies are there in both, so that only verdicts differ.
  const others = added.filter(({ object }) => !isPolicy(object));
  const before = sceneFromObjects([...base, ...others], settings);
  compareScenes(before.scene, after.scene, flags, output);
}

export function compareScenes(before: PolicyScene, after: PolicyScene, flags: DiffFlags, output: Output): void {
  const changes = policyDiff(before, after);
  const flows = flags.flows === undefined ? [] : readFlows(flags.flows, after);
  const changed = changedFlows(before, after, flows);
  const locked = lockOuts(before, after, { apiServerPort: Number(flags.apiserverPort), ssh: sshSession(after) });
  output.render({ changes, flows: changed.map(flowJson), lockOuts: locked }, () => {
    printLockOuts(locked, output);
    printChanges(changes, output);
    if (flags.flows !== undefined) printFlows(changed, flows.length, output);
  });
  if (locked.length > 0) process.exitCode = 1;
}

function isPolicy(object: unknown): boolean {
  const kind = typeof object === 'object' && object !== null && 'kind' in object ? String(object.kind) : '';
  return /^(NetworkPolicy|Cilium(Clusterwide)?NetworkPolicy)(List)?$/.test(kind);
}

/** The client of the session in which the command runs, as sshd says it: 'address port address port'. */
function sshSession(scene: PolicyScene): Parameters<typeof lockOuts>[2]['ssh'] {
  const [client = '', , , port = ''] = (process.env.SSH_CONNECTION ?? '').split(' ');
  const address = tryParseAddress(client);
  if (address === undefined) return undefined;
  // A pod's or another node's when it is one.
  const [somebody = scene.outside(address)] = somebodyNamed(scene, address);
  return { client: somebody, port: Number(port) };
}

/** Lines of `ciliate monitor -o json`: each distinct flow once. Throws CliError BAD_FLOWS. */
function readFlows(file: string, scene: PolicyScene): readonly RecordedFlow[] {
  const found = new Map<string, RecordedFlow>();
  readText(file)
    .split('\n')
    .forEach((line, i) => {
      if (line.trim() === '') return;
      const flow = flowOf(parseEvent(line, `${file}:${i + 1}`), scene);
      if (flow !== undefined) found.set(`${flow.from.name} ${flow.to.name} ${flow.protocol} ${flow.port}`, flow);
    });
  return [...found.values()];
}

function parseEvent(line: string, place: string): MonitorEvent {
  try {
    return JSON.parse(line) as MonitorEvent;
  } catch (cause) {
    const message = `${place}: is not JSON: record with 'ciliate monitor -o json'`;
    throw new CliError({ code: 'BAD_FLOWS', exitCode: 2 }, message, { cause });
  }
}

function flowOf({ packet }: MonitorEvent, scene: PolicyScene): RecordedFlow | undefined {
  const { source, destination, protocol = '', destinationPort, icmpType, tcpFlags = 'SYN' } = packet ?? {};
  if (source === undefined || destination === undefined) return undefined;
  // Replies belong to the flow of their first packet.
  if (tcpFlags.includes('ACK') && tcpFlags.includes('SYN')) return undefined;
  const port = parsePortNumber(
    destinationPort === undefined ? `${protocol}/${icmpType ?? ''}` : `${destinationPort}/${protocol}`,
  );
  const [from] = somebodyNamed(scene, source);
  const [to] = somebodyNamed(scene, destination);
  return port === undefined || from === undefined || to === undefined ? undefined : { from, to, ...port };
}

const flowJson = ({ from, to, protocol, port, becomes, rule }: FlowChange): unknown => {
  return { from: from.name, to: to.name, port: portText(protocol, port), becomes, rule };
};

function printLockOuts(locked: readonly LockOut[], output: Output): void {
  for (const { way, rule } of locked) output.line(output.paint.bad(`LOCKED OUT: ${way} would be denied: ${rule}`));
}

const few = 3;

function some(names: readonly string[]): string {
  const shown = names.slice(0, few).join(', ');
  return names.length > few ? `${shown} and ${names.length - few} more` : shown;
}

function printChanges(changes: readonly VerdictChange[], output: Output): void {
  if (changes.length === 0) {
    output.line('no pair changes its verdict');
    return;
  }
  const { good, bad } = output.paint;
  output.table(
    ['FROM', 'TO', 'PORTS', 'BECOMES', 'BY'],
    changes.map(({ from, to, ports, becomes, rule }) => [
      some(from),
      some(to),
      some(ports),
      becomes === 'allowed' ? good(becomes) : bad(becomes),
      rule,
    ]),
  );
}

function printFlows(changed: readonly FlowChange[], all: number, output: Output): void {
  output.line();
  output.line(`of ${all} recorded flows ${changed.length} would change`);
  for (const { from, to, protocol, port, becomes, rule } of changed) {
    output.line(`  ${from.name} → ${to.name} ${portText(protocol, port)} becomes ${becomes}: ${rule}`);
  }
}
