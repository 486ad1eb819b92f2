/** Contents of policy maps, and the steps by which a map in use goes from one to the next. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  changeOfContent,
  changeOfPart,
  ciliumClusterwideNetworkPolicyFromK8s,
  ciliumNetworkPolicyFromK8s,
  networkPolicyFromK8s,
  onlyLetsIn,
  PolicyContent,
  type PolicyMapEntry,
  type PolicyRow,
} from '@ciliate/model';
import * as fc from 'fast-check';
import { appliedRules, type EnforcementMode } from './compile-group.ts';
import { GroupCompiler } from './group-compiler.ts';
import { type PolicyAnswer, PolicyLookup, policyKeyText } from './lookup.ts';
import type { Party, RawPolicy } from './oracle.test-lib.ts';
import { flows, pods, policies } from './policies.test-lib.ts';
import { peerKey } from './selector-cache.ts';

const protocols = { TCP: 6, UDP: 17, SCTP: 132, ICMP: 1, ICMPv6: 58 } as const;
const peer = 4711;

function rowOf(policy: RawPolicy, audit: boolean): PolicyRow {
  const parsers = {
    NetworkPolicy: networkPolicyFromK8s,
    CiliumNetworkPolicy: ciliumNetworkPolicyFromK8s,
    CiliumClusterwideNetworkPolicy: ciliumClusterwideNetworkPolicyFromK8s,
  };
  const parsed = parsers[policy.kind as keyof typeof parsers](policy);
  assert.ok('row' in parsed);
  return { ...parsed.row, audit: audit ? 'on' : 'off' };
}

const labelsOf = (party: Party) =>
  Object.fromEntries(
    party.labels.map(label => [label.slice(0, label.indexOf('=')), label.slice(label.indexOf('=') + 1)]),
  );

/** What the map says to every flow of the peer, in both directions. */
function answers(parts: Iterable<PolicyMapEntry>): readonly PolicyAnswer[] {
  const lookup = new PolicyLookup(parts);
  return [0, 1].flatMap(direction =>
    flows.map(({ protocol, port }) =>
      lookup.ask({ direction, identity: peer, classIdentity: 0, protocol: protocols[protocol], port }),
    ),
  );
}

/** Let through; whether that is reported as an audit may differ for a moment. */
const verdict = ({ allowed, audit }: PolicyAnswer): boolean => allowed || audit;

test('each step of a change in a map that is in use says to a packet what was said before, or what will be', () => {
  let changes = 0;
  const rows = fc.array(fc.tuple(policies, fc.boolean()), { minLength: 1, maxLength: 5 });
  const ports = fc.constantFrom(new Map([['6/http', [80]]]), new Map([['6/http', [8080, 81]]]), new Map());
  fc.assert(
    fc.property(
      rows,
      fc.constantFrom(...pods),
      fc.infiniteStream(fc.boolean()),
      ports,
      ports,
      (list, party, coins, before, now) => {
        const subject = { labels: labelsOf(party), host: false, namedPorts: new Map([['6/http', [80]]]) };
        const applied = appliedRules(
          list.map(([policy, audit]) => rowOf(policy, audit)),
          subject,
        );
        const ids = new Map<string, number>();
        const compiler = new GroupCompiler(subject, applied, {
          ...{ mode: 'default', cidrMatchesNodes: false, now: 0, allowLocalHost: true, keyOf: peerKey },
          ruleId: reference => {
            const key = JSON.stringify(reference);
            ids.set(key, ids.get(key) ?? ids.size + 1);
            return ids.get(key) ?? 0;
          },
        });
        const keys = [...compiler.peers()].map(([key]) => key);
        const some = () => keys.filter(() => coins.next().value);
        const everybody = compiler.part({ id: 0, namedPorts: new Map() }, []);
        const old = compiler.part({ id: peer, namedPorts: before }, some());
        const next = compiler.part({ id: peer, namedPorts: now }, some());
        const [first, last] = [answers([...everybody, ...old]), answers([...everybody, ...next])];
        const map = new Map([...everybody, ...old].map(entry => [policyKeyText(entry[0]), entry]));
        const { puts, removes } = changeOfPart(old, next);
        const done = first.map(() => false);
        const check = () => {
          changes += 1;
          answers(map.values()).forEach((answer, i) => {
            const [a, b] = [first[i], last[i]];
            assert.ok(a !== undefined && b !== undefined);
            const found = verdict(answer);
            if (found !== verdict(a)) assert.equal(found, verdict(b), 'neither as before nor as it will be');
            if (done[i] === true) assert.equal(found, verdict(b), 'back again');
            done[i] = done[i] === true || (found === verdict(b) && found !== verdict(a));
          });
        };
        for (const entry of puts) {
          map.set(policyKeyText(entry[0]), entry);
          check();
        }
        for (const key of removes) {
          map.delete(policyKeyText(key));
          check();
        }
        const wanted = new Map([...everybody, ...next].map(entry => [policyKeyText(entry[0]), entry[1]]));
        assert.deepEqual(new Map([...map].map(([key, [, value]]) => [key, value])), wanted);
      },
    ),
    { numRuns: 1000 },
  );
  assert.ok(changes > 200, `${changes} steps`);
});

const block = 0x0200_0001;
const modes = fc.constantFrom<EnforcementMode>('always', 'always', 'default');

test('rules that come or go step by step: each packet is judged by the old policy or by the new one', () => {
  let [changes, whole] = [0, 0];
  const rows = fc.array(fc.tuple(policies, fc.boolean()), { maxLength: 4 });
  fc.assert(
    fc.property(
      rows,
      rows,
      modes,
      fc.constantFrom(...pods),
      fc.infiniteStream(fc.boolean()),
      (kept, others, mode, party, coins) => {
        const subject = { labels: labelsOf(party), host: false, namedPorts: new Map([['6/http', [80]]]) };
        const numbers = new Map<string, number>();
        /** Whom a peer stands for, the same in both policies. */
        const members = new Map<string, ReadonlySet<number>>();
        const pick = (key: string) => {
          const ids = [peer, block].filter(() => coins.next().value);
          members.set(key, members.get(key) ?? new Set(ids));
          return members.get(key) ?? new Set();
        };
        const contentOf = (list: typeof kept) => {
          const all = list.map(([policy, audit]) => rowOf(policy, audit));
          const compiler = new GroupCompiler(subject, appliedRules(all, subject), {
            ...{ mode, cidrMatchesNodes: false, now: 0, allowLocalHost: true, keyOf: peerKey },
            ruleId: reference => {
              const key = JSON.stringify(reference);
              numbers.set(key, numbers.get(key) ?? numbers.size + 1);
              return numbers.get(key) ?? 0;
            },
          });
          const keys = [...compiler.peers()].map(([key]) => key);
          const namedPorts = new Map([['6/http', [8080]]]);
          const part = (id: number) =>
            [
              id,
              compiler.part(
                { id, namedPorts },
                keys.filter(key => pick(key).has(id)),
              ),
            ] as const;
          return PolicyContent.of([[0, compiler.part({ id: 0, namedPorts: new Map() }, [])], part(peer), part(block)]);
        };
        // Some of the policies go, others come.
        const before = contentOf([...kept, ...others.filter(() => coins.next().value)]);
        const now = contentOf([...kept, ...others.filter(() => coins.next().value)]);
        const change = changeOfContent(before, now);
        if (change === undefined) {
          whole += 1;
          return;
        }
        const all = (entries: Iterable<PolicyMapEntry>): readonly boolean[] => {
          const lookup = new PolicyLookup(entries);
          return [peer, 1234].flatMap(identity =>
            [block, 0].flatMap(classIdentity =>
              [0, 1].flatMap(direction =>
                flows.map(({ protocol, port }) =>
                  verdict(lookup.ask({ direction, identity, classIdentity, protocol: protocols[protocol], port })),
                ),
              ),
            ),
          );
        };
        const [first, last] = [all(before.entries()), all(now.entries())];
        const map = new Map([...before.entries()].map(one => [policyKeyText(one[0]), one]));
        const done = first.map(() => false);
        const check = () => {
          changes += 1;
          all(map.values()).forEach((found, i) => {
            if (found !== first[i]) assert.equal(found, last[i], 'neither as before nor as it will be');
            if (done[i] === true) assert.equal(found, last[i], 'back again');
            done[i] = done[i] === true || found !== first[i];
          });
        };
        for (const one of change.puts) {
          map.set(policyKeyText(one[0]), one);
          check();
        }
        for (const key of change.removes) {
          map.delete(policyKeyText(key));
          check();
        }
        const texts = (entries: Iterable<PolicyMapEntry>) =>
          [...entries].map(([key, value]) => `${policyKeyText(key)} ${value.flags} ${value.ruleId}`).toSorted();
        assert.deepEqual(texts(map.values()), texts(now.entries()));
        assert.equal(onlyLetsIn(before, now) && first.some((was, i) => was && last[i] === false), false);
      },
    ),
    { numRuns: 600 },
  );
  assert.ok(changes > 200, `${changes} steps`);
  assert.ok(whole > 0, 'some cannot be done so');
});

const entry = (identity: number, dport: number, ruleId: number): PolicyMapEntry => [
  { prefixlen: 64, identity, direction: 0, proto: 6, dport },
  { ruleId, proxyPort: 0, flags: 0, packets: 0n, bytes: 0n },
];

test('a content is the parts that it was given last, and knows what another has otherwise', () => {
  const part = fc.tuple(fc.nat(200), fc.array(fc.tuple(fc.nat(3), fc.nat(2)), { maxLength: 3 }));
  fc.assert(
    fc.property(fc.array(fc.array(part, { maxLength: 5 }), { maxLength: 6 }), steps => {
      let content = PolicyContent.empty;
      let naive = new Map<number, readonly PolicyMapEntry[]>();
      for (const step of steps) {
        const parts = step.map(([id, ports]) => [id, ports.map(([port, rule]) => entry(id, port, rule))] as const);
        const next = content.with(parts);
        const wanted = new Map(naive);
        for (const [id, entries] of parts) {
          wanted.delete(id);
          if (entries.length > 0) wanted.set(id, entries);
        }
        const moved = [...new Set([...naive.keys(), ...wanted.keys()])].filter(
          id => JSON.stringify(naive.get(id), text) !== JSON.stringify(wanted.get(id), text),
        );
        assert.deepEqual(next.changedSince(content).toSorted(), moved.toSorted());
        assert.equal(next.equals(content), moved.length === 0);
        assert.equal(next.size, [...wanted.values()].flat().length);
        const fresh = PolicyContent.of(wanted);
        assert.deepEqual([...next.entries()], [...fresh.entries()], 'the order is that of a fresh one');
        [content, naive] = [next, wanted];
      }
      for (const [id, entries] of naive) assert.deepEqual(content.part(id), entries);
    }),
  );
});

const text = (_key: string, value: unknown): unknown => (typeof value === 'bigint' ? String(value) : value);
