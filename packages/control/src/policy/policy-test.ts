/** Expectations held against a scene. */
import { type Address, ModelError, nthAddress, prefixSize } from '@ciliate/model';
import { type Expectation, expectationForm, parseExpectation } from './expectation.ts';
import { portText } from './explain-terms.ts';
import { prefixesOf } from './peers.ts';
import type { PolicyScene, Somebody } from './scene.ts';
import { type PortNumber, parsePortNumber, portsCalled, somebodyNamed } from './scene-names.ts';

export interface PolicyTest {
  readonly text: string;
  /** Where it stands: 'shop.yaml:12'. */
  readonly place: string;
  readonly name: string;
}

export interface PolicyTestResult extends PolicyTest {
  readonly passed: boolean;
  /** Flows that were judged. */
  readonly checked: number;
  /** Why it cannot be judged; undefined: it was. */
  readonly problem: string | undefined;
  readonly wrong: readonly WrongFlow[];
}

export interface WrongFlow {
  readonly from: Somebody;
  readonly to: Somebody;
  readonly flow: PortNumber;
  readonly wanted: 'allowed' | 'denied';
}

/** 'a → b 80/TCP is denied and should be allowed' */
export function wrongText({ from, to, flow, wanted }: WrongFlow): string {
  const found = wanted === 'allowed' ? 'denied' : 'allowed';
  return `${from.name} → ${to.name} ${portText(flow.protocol, flow.port)} is ${found} and should be ${wanted}`;
}

interface Read {
  readonly from: readonly Somebody[];
  readonly to: readonly Somebody[];
  readonly expectation: Expectation;
  readonly test: PolicyTest;
}

export function runPolicyTests(scene: PolicyScene, tests: readonly PolicyTest[]): readonly PolicyTestResult[] {
  const read = tests.map(test => readTest(scene, test));
  const good = read.flatMap(one => ('problem' in one ? [] : [one]));
  const runner = new Runner(scene, good);
  return read.map(one => ('problem' in one ? failed(one.test, one.problem) : runner.run(one)));
}

function failed(test: PolicyTest, problem: string): PolicyTestResult {
  return { ...test, passed: false, checked: 0, problem, wrong: [] };
}

function readTest(
  scene: PolicyScene,
  test: PolicyTest,
): Read | { readonly test: PolicyTest; readonly problem: string } {
  const expectation = parseExpectation(test.text);
  if (expectation === undefined) return { test, problem: `is not an expectation: ${expectationForm}` };
  const wrongPort = expectation.ports.find(
    port => parsePortNumber(port) === undefined && !/^[a-z][a-z0-9-]*$/i.test(port),
  );
  if (wrongPort !== undefined)
    return { test, problem: `'${wrongPort}' is no port: write 5432, 53/UDP, icmp/8 or a name` };
  try {
    const found = [expectation.from, expectation.to].map(texts =>
      texts.map(text => ({ text, who: somebodyNamed(scene, text) })),
    );
    const nobody = found.flat().find(({ who }) => who.length === 0);
    if (nobody !== undefined) return { test, problem: `nobody is called '${nobody.text}': is the manifest there?` };
    const [from = [], to = []] = found.map(each => [...new Set(each.flatMap(({ who }) => who))]);
    return { test, expectation, from, to };
  } catch (error) {
    if (error instanceof ModelError) return { test, problem: error.message };
    throw error;
  }
}

class Runner {
  readonly #scene: PolicyScene;
  readonly #all: readonly Read[];
  readonly #ports: readonly PortNumber[];
  readonly #others: readonly Somebody[];

  constructor(scene: PolicyScene, all: readonly Read[]) {
    this.#scene = scene;
    this.#all = all;
    this.#ports = probePorts(scene, all);
    this.#others = [...scene.input.pods, ...scene.reserved().filter(isAsked), ...outsideSamples(scene)];
  }

  run(read: Read): PolicyTestResult {
    const wrong: WrongFlow[] = [];
    let checked = 0;
    const check = (from: Somebody, to: Somebody, flow: PortNumber, can: boolean) => {
      checked += 1;
      if (this.#scene.allows(from, to, flow.protocol, flow.port) === can) return;
      wrong.push({ from, to, flow, wanted: can ? 'allowed' : 'denied' });
    };
    const { can, nothingElse } = read.expectation;
    for (const [from, to] of pairs(read)) for (const flow of this.#portsOf(read, to)) check(from, to, flow, can);
    if (nothingElse) {
      for (const to of read.to) {
        for (const from of this.#others) {
          if (from === to) continue;
          for (const flow of this.#ports) if (!this.#isExpected(from, to, flow)) check(from, to, flow, false);
        }
      }
    }
    return { ...read.test, passed: wrong.length === 0, checked, problem: undefined, wrong };
  }

  /** Without ports all of them: each that somebody names, and one that nobody does. */
  #portsOf({ expectation }: Read, to: Somebody): readonly PortNumber[] {
    if (expectation.ports.length === 0) return this.#ports;
    return expectation.ports.flatMap(text => portsCalled(text, to));
  }

  /** Some line says that it can: "else" is what none does. */
  #isExpected(from: Somebody, to: Somebody, flow: PortNumber): boolean {
    return this.#all.some(
      read =>
        read.expectation.can &&
        read.to.includes(to) &&
        read.from.some(one => one.name === from.name) &&
        this.#portsOf(read, to).some(({ protocol, port }) => protocol === flow.protocol && port === flow.port),
    );
  }
}

function* pairs({ from, to }: Read): IterableIterator<readonly [Somebody, Somebody]> {
  for (const a of from) for (const b of to) if (a !== b) yield [a, b];
}

/** The node's own processes reach its pods anyway; the rest of these are not sources of their own. */
function isAsked({ name }: Somebody): boolean {
  return name === 'remote-node' || name.startsWith('world');
}

/** Ports at which a verdict can change, and one that nobody names. */
function probePorts(scene: PolicyScene, all: readonly Read[]): readonly PortNumber[] {
  const expected = all.flatMap(({ expectation, to }) =>
    expectation.ports.flatMap(text => to.flatMap(who => portsCalled(text, who))),
  );
  const found = new Map<string, PortNumber>();
  for (const one of [...portsOfPolicies(scene), ...expected]) found.set(`${one.protocol}/${one.port}`, one);
  return [...found.values()];
}

/** Stands for every port that nobody names. */
export const unnamedPort = 33_333;

/** Ports that policies and pods name, those around ranges, and one that nobody names; TCP and UDP. */
export function portsOfPolicies(scene: PolicyScene): readonly PortNumber[] {
  const found = [6, 17].map(protocol => ({ protocol, port: unnamedPort }));
  for (const { namedPorts } of scene.input.pods) {
    for (const [key, numbers] of namedPorts) {
      for (const port of numbers) found.push({ protocol: Number(key.split('/')[0]), port });
    }
  }
  const rules = scene.input.policies.flatMap(policy => policy.rules).flatMap(rule => [...rule.ingress, ...rule.egress]);
  for (const { protocol, port, endPort } of rules.flatMap(rule => rule.ports ?? [])) {
    if (typeof port === 'string') continue;
    const isIcmp = protocol === 1 || protocol === 58;
    const numbers = endPort === 0 ? [port] : [port, endPort, endPort + 1];
    for (const number of numbers) {
      if (number > 0 || isIcmp) found.push({ protocol: protocol === 0 ? 6 : protocol, port: number });
    }
  }
  return found.filter(({ port }) => port <= 65_535);
}

/** An address of each block that policies name: what they let in is to be seen. */
export function outsideSamples(scene: PolicyScene): readonly Somebody[] {
  const rules = scene.input.policies.flatMap(policy => policy.rules).flatMap(rule => [...rule.ingress, ...rule.egress]);
  const prefixes = new Set(rules.flatMap(rule => rule.peers ?? []).flatMap(peer => prefixesOf(peer, scene.context)));
  const addresses = new Set<Address>();
  for (const prefix of prefixes) addresses.add(nthAddress(prefix, prefixSize(prefix) > 1n ? 1 : 0));
  const pods = new Set(scene.input.pods.flatMap(pod => pod.addresses));
  return [...addresses].filter(address => !pods.has(address)).map(address => scene.outside(address));
}
