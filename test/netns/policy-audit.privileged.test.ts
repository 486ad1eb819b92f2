/** Policies that are only tried out, and verdicts: real packets, and what the agent says of them. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { eventually } from '../lib/cluster.ts';
import { friendsOnly, PolicyNode } from '../lib/policy-node.ts';
import { privileged } from '../lib/privileged.ts';

const hour = 3_600_000;
const tried = (value: string, made = Date.now()) => ({
  annotations: { 'ciliate.io/audit': value },
  creationTimestamp: new Date(made).toISOString(),
});
const policyWith = (metadata: object) => ({ ...friendsOnly, metadata: { ...friendsOnly.metadata, ...metadata } });

describe('policies that are tried out', privileged('root'), () => {
  const world = new PolicyNode(`ciliate-audit-${process.pid}`);
  before(() => world.up());
  after(() => world.down());

  /** The foe's verdict is told so, by this rule. */
  const told = (action: string, rule: RegExp) =>
    eventually(`${action} is told`, async () => {
      const { events, stop } = await world.verdicts();
      await world.reaches('foe');
      const found = await eventually(
        'the events',
        async () => (events.filter(({ verdict }) => verdict?.action === action).length >= 2 ? events : undefined),
        3000,
      );
      stop();
      for (const { verdict } of found.filter(({ type }) => type === 'policy-verdict')) {
        assert.match(verdict?.rule ?? '', rule);
        assert.deepEqual([verdict?.direction, verdict?.port], ['ingress', 80]);
      }
      return true;
    });

  test('enforced: a foe is denied, and each verdict names the policy', async () => {
    await world.expect({ friend: true, foe: false }, 'friends only');
    await told('deny', /^default deny \(ingress\) by NetworkPolicy default\/server$/);
  });

  test('a policy with "true": its denies are told as audit and let through', async () => {
    world.set({ policies: [policyWith(tried('true'))] });
    await world.expect({ friend: true, foe: true }, 'tried out');
    await told('audit', /^default deny \(ingress\) by NetworkPolicy default\/server$/);
  });

  test('"24h" from when the policy was made: over after a day, by itself', async () => {
    world.set({ policies: [policyWith(tried('24h', Date.now() - 25 * hour))] });
    await world.expect({ friend: true, foe: false }, 'the day is over');
    world.set({ policies: [policyWith(tried('24h', Date.now() - 23 * hour))] });
    await world.expect({ foe: true }, 'the day is not over');
    world.set({ policies: [policyWith(tried('24h', Date.now() - 24 * hour + 5000))] });
    await world.expect({ foe: true }, 'five seconds are left');
    await world.expect({ foe: false, friend: true }, 'and then none, though nothing is written');
  });

  test('a namespace: all policies in it', async () => {
    world.set({ policies: [friendsOnly], namespace: tried('true') });
    await world.expect({ foe: true }, 'all of the namespace');
    world.set({ namespace: {} });
    await world.expect({ foe: false, friend: true }, 'enforced again');
  });

  test('the node: all policies, with an option', async () => {
    await world.node.stopAgent('SIGTERM');
    await world.node.startAgent(['--policy-audit-mode']);
    await world.expect({ friend: true, foe: true }, 'nothing is enforced');
    await told('audit', /default deny \(ingress\) by NetworkPolicy default\/server/);
    await world.node.stopAgent('SIGTERM');
    await world.node.startAgent();
    await world.expect({ friend: true, foe: false }, 'enforced again');
  });

  test('a policy with a log: allowed flows are told too, with its text', async () => {
    const spec = {
      endpointSelector: { matchLabels: { role: 'server' } },
      log: { value: 'PCI' },
      ingress: [{ fromEndpoints: [{ matchLabels: { role: 'friend' } }], toPorts: [{ ports: [{ port: '80' }] }] }],
    };
    const metadata = { namespace: 'default', name: 'logged' };
    world.set({ policies: [], ciliumPolicies: [{ metadata, spec }] });
    await eventually('the event', async () => {
      const { events, stop } = await world.verdicts();
      await world.reaches('friend');
      const found = await eventually('an allow', async () => events.find(one => one.verdict?.action === 'allow'), 2000);
      stop();
      assert.equal(found.verdict?.logText, 'PCI');
      assert.match(
        found.summary,
        /ingress allow by CiliumNetworkPolicy default\/logged, spec\.ingress\[0\] \(rule \d+, for peer, log 'PCI'\)/,
      );
      return true;
    });
  });
});
