/** GET /v1/ciliate/policy/explain: policies explained, and what this node's kernel says to the same flow. */
import { DropReason, EndpointFlags } from '@ciliate/abi';
import {
  explainFlow,
  type FlowExplanation,
  PolicyLookup,
  type PolicyScene,
  portsCalled,
  type SideExplanation,
  type Somebody,
  sceneFromTables,
  somebodyNamed,
} from '@ciliate/control';
import type { ProbeAnswer } from '@ciliate/datapath';
import { dropReasonName } from '@ciliate/hubble';
import { type Address, isIPv4, ModelError } from '@ciliate/model';
import type { KernelVerdict, LivePolicyExplanation } from '@ciliate/protocol';
import { sceneSettings } from '../policy/scene-settings.ts';
import type { AgentContext } from '../status/context.ts';
import { ruleText } from './policy-json.ts';
import { RestFailure } from './router.ts';

type Live = LivePolicyExplanation<FlowExplanation>;

/** Flows that are explained at once. */
const most = 100;

export function explainLive(context: AgentContext, query: URLSearchParams): readonly Live[] {
  const scene = sceneFromTables(context.tables, sceneSettings(context.options));
  const [port, protocol] = [query.get('port') ?? '', query.get('protocol') ?? 'tcp'];
  const [froms, tos] = ['from', 'to'].map(name => named(scene, query.get(name) ?? ''));
  const pairs = (froms ?? []).flatMap(from =>
    (tos ?? []).filter(to => to.name !== from.name).map(to => [from, to] as const),
  );
  const flows = pairs.flatMap(([from, to]) => portsCalled(port, to, protocol).map(one => ({ from, to, ...one })));
  if (flows.length === 0 && pairs.length > 0) {
    throw bad(`port '${port}' is none, and nobody who is called names one so`, 'write 5432, 53/UDP, icmp/8 or http');
  }
  return flows.slice(0, most).map(flow => live(context, scene, flow));
}

const bad = (message: string, remedy: string): RestFailure => new RestFailure(400, 'BAD_REQUEST', message, remedy);

function named(scene: PolicyScene, text: string): readonly Somebody[] {
  try {
    const found = somebodyNamed(scene, text);
    if (found.length > 0) return found;
  } catch (error) {
    if (error instanceof ModelError) throw bad(error.message, 'write namespace/label=value');
    throw error;
  }
  throw bad(
    `nobody is called '${text}'`,
    'write namespace/name, namespace/label=value, an address, world, host or remote-node',
  );
}

interface LiveFlow {
  readonly from: Somebody;
  readonly to: Somebody;
  readonly protocol: number;
  readonly port: number;
}

function live(context: AgentContext, scene: PolicyScene, flow: LiveFlow): Live {
  const { from, to, protocol, port } = flow;
  const explanation = explainFlow(scene, from, to, protocol, port);
  const [source, destination] = addressesOf(context, from, to);
  if (source === undefined || destination === undefined) return { explanation, kernel: [], disagreements: [] };
  const kernel = explanation.sides.flatMap(side => {
    const [subject, peer] = side.direction === 'egress' ? [source, destination] : [destination, source];
    const verdict = kernelVerdict(context, side, { subject, peer, protocol, port });
    return verdict === undefined ? [] : [verdict];
  });
  const answer = context.datapath.probe({ source, destination, protocol, port });
  const disagreements = disagreementsOf(explanation, kernel, answer);
  if (answer === undefined) return { explanation, kernel, disagreements };
  const { program, passed, reason } = answer;
  const run = { program, passed, reason: passed ? '' : dropReasonName(reason) };
  return { explanation, kernel, run, disagreements };
}

/** One of each, of the same family; host: the node's. */
function addressesOf(
  context: AgentContext,
  from: Somebody,
  to: Somebody,
): readonly [Address | undefined, Address | undefined] {
  const all = (somebody: Somebody): readonly Address[] =>
    somebody.name === 'host' ? context.nodeAddresses() : somebody.addresses;
  for (const source of all(from)) {
    const destination = all(to).find(address => isIPv4(address) === isIPv4(source));
    if (destination !== undefined) return [source, destination];
  }
  return [undefined, undefined];
}

const { ENDPOINT_POLICY_INGRESS, ENDPOINT_POLICY_EGRESS } = EndpointFlags;
const { ENDPOINT_POLICY_AUDIT, ENDPOINT_POLICY_LOCKDOWN } = EndpointFlags;

/** Undefined: the subject is not on this node. */
function kernelVerdict(
  { datapath, tables }: AgentContext,
  { direction, hasPolicy }: SideExplanation,
  flow: { readonly subject: Address; readonly peer: Address; readonly protocol: number; readonly port: number },
): KernelVerdict | undefined {
  const { endpoint } = datapath.loadedPeer(flow.subject);
  if (endpoint === undefined || !hasPolicy) return undefined;
  const { flags, policyGroup } = endpoint;
  if ((flags & ENDPOINT_POLICY_LOCKDOWN) !== 0)
    return { direction, allowed: false, rule: 'its policy is not loaded yet' };
  const bit = direction === 'ingress' ? ENDPOINT_POLICY_INGRESS : ENDPOINT_POLICY_EGRESS;
  if ((flags & bit) === 0) return { direction, allowed: true, rule: `${direction} is not judged` };
  const { identity, classIdentity, known } = datapath.loadedPeer(flow.peer);
  const answer = new PolicyLookup(datapath.policyMap(policyGroup) ?? []).ask({
    direction: direction === 'ingress' ? 0 : 1,
    identity,
    classIdentity,
    known,
    protocol: flow.protocol,
    port: flow.port,
  });
  const audit = answer.audit || (flags & ENDPOINT_POLICY_AUDIT) !== 0;
  return {
    direction,
    allowed: answer.allowed || audit,
    rule: ruleText(tables, answer.ruleId) ?? `rule ${answer.ruleId}`,
  };
}

const policyReasons: readonly number[] = [DropReason.DROP_POLICY, DropReason.DROP_POLICY_DENY];

function disagreementsOf(
  explanation: FlowExplanation,
  kernel: readonly KernelVerdict[],
  run: ProbeAnswer | undefined,
): readonly string[] {
  const word = (allowed: boolean) => (allowed ? 'allow' : 'deny');
  const found: string[] = [];
  for (const { direction, allowed } of kernel) {
    const side = explanation.sides.find(one => one.direction === direction);
    if (side === undefined || side.allowed === allowed) continue;
    found.push(`${direction}: the policies ${word(side.allowed)} and the loaded map would ${word(allowed)}`);
  }
  if (run === undefined) return found;
  // What another node judges is not in this program.
  const judged = explanation.sides.filter(side => kernel.some(one => one.direction === side.direction));
  const wanted = judged.every(side => side.allowed);
  // What is dropped for another reason (no route, say) says nothing about policy.
  const denied = !run.passed && policyReasons.includes(run.reason);
  if (wanted ? !denied : !run.passed) return found;
  const reason = run.passed ? '' : ` (${dropReasonName(run.reason)})`;
  return [
    ...found,
    `the policies ${word(wanted)} and ${run.program} ${run.passed ? 'lets it pass' : 'drops it'}${reason}`,
  ];
}
