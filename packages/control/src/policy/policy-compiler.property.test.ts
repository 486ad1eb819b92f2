import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type AddressBlockRow,
  allLabels,
  ciliumClusterwideNetworkPolicyFromK8s,
  ciliumNetworkPolicyFromK8s,
  firstCidrIdentity,
  firstClassIdentity,
  networkPolicyFromK8s,
  type PolicyRow,
  type Prefix,
  parseAddress,
  parsePrefix,
  policyKey,
  prefixContains,
  prefixLength,
  ruleReferenceKey,
} from '@ciliate/model';
import * as fc from 'fast-check';
import { AddressAsks } from './address-asks.ts';
import type { EnforcementMode } from './compile-group.ts';
import { ExactClasses } from './exact-classes.ts';
import { PolicyLookup, policyKeyText } from './lookup.ts';
import { blockOfKey } from './named-addresses.ts';
import { type Flow, oracleVerdict, type Party, type RawPolicy } from './oracle.test-lib.ts';
import { cidrGroups, everybody, flows, host, init, outside, pods, policies, services } from './policies.test-lib.ts';
import { PolicyCompiler } from './policy-compiler.ts';
import { namesService, type ServicePeer, targetsOf } from './service-peers.ts';

const protocolNumbers = { TCP: 6, UDP: 17, SCTP: 132, ICMP: 1, ICMPv6: 58 } as const;
const groups = Object.entries(cidrGroups).map(([name, cidrs]) => ({ name, labels: {}, cidrs: cidrs.map(parsePrefix) }));
const subjects = [...pods, host, init];

function labelsOf(party: Party): Readonly<Record<string, string>> {
  return Object.fromEntries(
    party.labels.map(label => {
      const at = label.indexOf('=');
      return at < 0 ? [label, ''] : [label.slice(0, at), label.slice(at + 1)];
    }),
  );
}

function namedPorts({ ports = [] }: Party): ReadonlyMap<string, readonly number[]> {
  return new Map(
    ports.map(({ name, protocol, port }) => [
      `${protocolNumbers[protocol as keyof typeof protocolNumbers]}/${name}`,
      [port],
    ]),
  );
}

function rowOf(policy: RawPolicy): PolicyRow {
  const parse =
    policy.kind === 'NetworkPolicy'
      ? networkPolicyFromK8s
      : policy.kind === 'CiliumNetworkPolicy'
        ? ciliumNetworkPolicyFromK8s
        : ciliumClusterwideNetworkPolicyFromK8s;
  const parsed = parse(policy);
  assert.ok('row' in parsed, JSON.stringify([policy, parsed]));
  assert.deepEqual(parsed.row.refused, []);
  return parsed.row;
}

const serviceTargets = ({ service }: ServicePeer) =>
  targetsOf(
    services.map(one => ({ ...one, selector: one.selector ?? {} })).filter(one => namesService(service, one)),
    ({ namespace, name }) =>
      services.find(one => one.name === name && one.namespace === namespace)?.addresses?.map(parseAddress) ?? [],
    address => pods.filter(party => party.cidr === address).map(identityOf)[0],
  );

const isNode = ({ labels }: Party): boolean => labels.some(label => /^reserved:(host|remote-node)$/.test(label));

/** What a Node object says. */
function nodeLabelsOf(party: Party): Readonly<Record<string, string>> {
  const own = Object.entries(labelsOf(party)).filter(([key]) => /^(node|k8s):/.test(key));
  return Object.fromEntries(own.map(([key, value]) => [key.slice(key.indexOf(':') + 1), value]));
}

/** As identities: what nodes are labelled is asked by their addresses. */
function identityLabels(party: Party): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(labelsOf(party)).filter(([key]) => !key.startsWith('node:')));
}

/** Compiler and what stands around it: identities, blocks, and who has which. */
class World {
  readonly options: {
    readonly mode: EnforcementMode;
    readonly allowLocalHost: boolean;
    readonly dualStack: boolean;
    readonly cidrMatchesNodes: boolean;
  };
  readonly #asks: AddressAsks;
  readonly #exact = new ExactClasses([]);
  readonly #classOf = new Map<string, number>();
  readonly compiler: PolicyCompiler;
  readonly policies = new Map<string, RawPolicy>();
  readonly audits = new Map<string, PolicyRow['audit']>();
  #blocks = new Map<string, AddressBlockRow>();
  readonly #numbers = new Map<string, number>();

  constructor(mode: EnforcementMode, allowLocalHost: boolean, cidrMatchesNodes = false) {
    this.options = { mode, allowLocalHost, dualStack: false, cidrMatchesNodes };
    this.compiler = new PolicyCompiler(this.options);
    this.compiler.setCidrGroups(groups);
    this.#asks = new AddressAsks({ clusterName: 'default', cidrMatchesNodes, nodeLabels: allLabels });
    this.#asks.setCidrGroups(groups);
    this.#asks.setServiceTargets(serviceTargets);
    this.compiler.setServiceTargets(serviceTargets);
  }

  addEverybody(): void {
    for (const party of everybody) this.addIdentity(party);
    for (const party of subjects) this.addGroup(party);
  }

  addIdentity(party: Party): void {
    const id = identityOf(party);
    this.compiler.setIdentity({ id, labels: identityLabels(party) });
    this.compiler.setNamedPorts(id, namedPorts(party));
  }

  addGroup(party: Party): void {
    const [labels, isHost] = [labelsOf(party), party === host];
    this.compiler.addGroup(String(identityOf(party)), { labels, host: isHost, namedPorts: namedPorts(party) });
  }

  set(policy: RawPolicy, isThere: boolean, audit: PolicyRow['audit'] = 'off'): void {
    const row: PolicyRow = { ...rowOf(policy), audit };
    this.audits.set(policyKey(row), audit);
    const key = policyKey(row);
    if (isThere) this.policies.set(key, policy);
    else this.policies.delete(key);
    this.#asks.set(key, isThere ? row : undefined);
    this.#asks.takeChanges();
    this.#number();
    this.compiler.setPolicy(key, isThere ? row : undefined);
  }

  #number(): void {
    const wanted = new Map<string, AddressBlockRow>();
    for (const key of this.#asks.blocks()) {
      const { kind, prefix } = blockOfKey(key);
      wanted.set(key, { kind, prefix, id: this.#id(kind, key) });
    }
    for (const [text, block] of this.#blocks) if (!wanted.has(text)) this.compiler.removeIdentity(block.id);
    for (const [text, block] of wanted) if (!this.#blocks.has(text)) this.compiler.setBlock(block);
    this.#blocks = wanted;
    for (const party of everybody) {
      const address = parseAddress(party.cidr ?? '');
      const node = { name: address, labels: nodeLabelsOf(party), addresses: [address], local: party === host };
      if (isNode(party)) this.#exact.set(address, this.#asks.ofNode({ ...node, apiServers: [] }), 0);
      else this.#exact.set(address, this.#asks.ofPod(pods.includes(party) ? [address] : [], namedPorts(party)), 0);
    }
    this.#classOf.clear();
    for (const [key, row] of this.#exact.takeDirty(0, 0)) {
      const before = this.#known.get(key);
      if (before !== undefined && before !== row?.id) this.compiler.removeIdentity(before);
      if (row === undefined) this.#known.delete(key);
      else this.#known.set(key, row.id);
      if (row !== undefined) this.compiler.setClass(row);
      for (const address of row?.addresses ?? []) this.#classOf.set(address, row?.id ?? 0);
    }
  }

  readonly #known = new Map<string, number>();

  #class(peer: Party): number {
    return this.#classOf.get(parseAddress(peer.cidr ?? '')) ?? this.blockOf('class', peer.cidr) ?? 0;
  }

  #id(kind: 'cidr' | 'class', text: string): number {
    const id =
      this.#numbers.get(text) ?? this.#numbers.size + (kind === 'cidr' ? firstCidrIdentity : firstClassIdentity);
    this.#numbers.set(text, id);
    return id;
  }

  /** The number that the kernel finds for an address: of the longest block that has it. */
  blockOf(kind: 'cidr' | 'class', cidr: string | undefined): number | undefined {
    const address = parseAddress(cidr ?? '');
    const length = (prefix: Prefix) => prefixLength(prefix);
    return [...this.#blocks.values()]
      .filter(block => block.kind === kind && prefixContains(block.prefix, address))
      .toSorted((a, b) => length(b.prefix) - length(a.prefix))[0]?.id;
  }

  /** As the kernel asks. */
  ask(party: Party): (direction: 'ingress' | 'egress', peer: Party, flow: Flow) => boolean {
    const compiled = this.compiler.compile(String(identityOf(party)), 0);
    const lookup = new PolicyLookup(compiled.content.entries());
    return (direction, peer, flow) => {
      if (!compiled[direction]) return true;
      const block = outside.includes(peer) ? this.blockOf('cidr', peer.cidr) : undefined;
      return lookup.ask({
        direction: direction === 'ingress' ? 0 : 1,
        identity: block ?? identityOf(peer),
        classIdentity: compiled.usesClasses ? this.#class(peer) : 0,
        protocol: protocolNumbers[flow.protocol],
        port: flow.port,
      }).allowed;
    };
  }

  /** Entries of a group with rules in words: their numbers depend on what was there before. */
  entries(party: Party): readonly string[] {
    const { content, rules: _own, ...rest } = this.compiler.compile(String(identityOf(party)), 0);
    const rules = this.compiler.rules();
    const lines = [...content.entries()].map(([key, value]) => {
      const reference = rules.get(value.ruleId);
      assert.ok(reference !== undefined, `rule ${value.ruleId} of ${policyKeyText(key)} is not known`);
      return `${this.#blockText(key.identity)} ${policyKeyText({ ...key, identity: 0 })} ${value.flags} ${ruleReferenceKey(reference)}`;
    });
    return [JSON.stringify(rest), ...lines.toSorted()];
  }

  #blockText(id: number): string {
    const found = [...this.#blocks].map(([key, block]) => [key, block.id] as const);
    return [...found, ...this.#known].find(([, one]) => one === id)?.[0] ?? String(id);
  }
}

const reserved: Readonly<Record<string, number>> = {
  'reserved:host': 1,
  'reserved:world': 2,
  'reserved:health': 4,
  'reserved:init': 5,
  'reserved:remote-node': 6,
  'reserved:kube-apiserver': 7,
};

function identityOf(party: Party): number {
  const number = party.labels.map(label => reserved[label]).find(one => one !== undefined);
  return number ?? 1000 + pods.indexOf(party);
}

const steps = fc.array(fc.tuple(policies, fc.boolean(), fc.constantFrom('off', 'off', 'on')), {
  minLength: 1,
  maxLength: 6,
});
const modes = fc.constantFrom<EnforcementMode>('default', 'default', 'always', 'never');

function checkAgainstOracle(world: World): void {
  const all = [...world.policies.values()];
  const { mode, allowLocalHost, cidrMatchesNodes } = world.options;
  const options = { mode, allowLocalHost, cidrMatchesNodes, groups: cidrGroups, services };
  for (const subject of subjects) {
    // Without any policy the node leaves even those without identity alone (policy-compiler.ts).
    if (subject === init && all.length === 0) continue;
    const ask = world.ask(subject);
    for (const direction of ['ingress', 'egress'] as const) {
      for (const peer of everybody) {
        if (peer === subject) continue;
        for (const flow of flows) {
          const wanted = oracleVerdict(all, direction, subject, peer, flow, options);
          const found = ask(direction, peer, flow) ? 'allowed' : 'denied';
          if (found === wanted) continue;
          assert.fail(
            `${direction} of ${subject.cidr} with ${peer.cidr}, ${flow.protocol} ${flow.port}: maps say ${found}, the API ${wanted}`,
          );
        }
      }
    }
  }
}

test('compiled maps give the verdict that the API texts give, for every flow', () => {
  fc.assert(
    fc.property(
      fc.array(policies, { minLength: 1, maxLength: 4 }),
      modes,
      fc.boolean(),
      fc.boolean(),
      (list, mode, allowLocalHost, cidrMatchesNodes) => {
        const world = new World(mode, allowLocalHost, cidrMatchesNodes);
        world.addEverybody();
        for (const policy of list) world.set(policy, true);
        checkAgainstOracle(world);
      },
    ),
    { numRuns: 150 * Number(process.env.FUZZ ?? 1) },
  );
});

test('changes one by one lead to the maps that a fresh start makes', () => {
  fc.assert(
    fc.property(steps, fc.shuffledSubarray([...everybody]), modes, (changes, absent, mode) => {
      const late = [...absent];
      const world = new World(mode, true);
      for (const party of everybody) if (!late.includes(party)) world.addIdentity(party);
      for (const party of subjects) world.addGroup(party);
      for (const [policy, isThere, audit] of changes) {
        world.set(policy, isThere, audit);
        for (const subject of subjects) world.entries(subject);
        const next = late.pop();
        if (next !== undefined) world.addIdentity(next);
      }
      for (const party of late) world.addIdentity(party);
      const fresh = new World(mode, true);
      for (const [key, policy] of world.policies) fresh.set(policy, true, world.audits.get(key));
      fresh.addEverybody();
      for (const subject of subjects) assert.deepEqual(world.entries(subject), fresh.entries(subject));
    }),
    { numRuns: 150 * Number(process.env.FUZZ ?? 1) },
  );
});

test('what a change touches is compiled again, and nothing is left out', () => {
  fc.assert(
    fc.property(steps, fc.shuffledSubarray([...everybody]), (changes, absent) => {
      const late = [...absent];
      const world = new World('default', true);
      for (const party of everybody) if (!late.includes(party)) world.addIdentity(party);
      for (const party of subjects) world.addGroup(party);
      const known = new Map(subjects.map(subject => [String(identityOf(subject)), world.entries(subject)]));
      world.compiler.takeDirty();
      for (const [policy, isThere, audit] of changes) {
        world.set(policy, isThere, audit);
        const next = late.pop();
        if (next !== undefined) world.addIdentity(next);
        const dirty = new Set(world.compiler.takeDirty());
        for (const subject of subjects) {
          const name = String(identityOf(subject));
          const now = world.entries(subject);
          if (!dirty.has(name)) assert.deepEqual(now, known.get(name), `${name} changed and was not dirty`);
          known.set(name, now);
        }
      }
    }),
    { numRuns: 100 * Number(process.env.FUZZ ?? 1) },
  );
});
