/** Whom policies isolate, by the agent's options: enable-policy, allow-localhost. Real packets, both families. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { eventually } from '../lib/cluster.ts';
import { friendsOnly, PolicyNode } from '../lib/policy-node.ts';
import { privileged } from '../lib/privileged.ts';

describe('enforcement modes', privileged('root'), () => {
  const world = new PolicyNode(`ciliate-modes-${process.pid}`);
  before(() => world.up());
  after(() => world.down());

  const restart = async (...options: readonly string[]): Promise<void> => {
    await world.node.stopAgent('SIGTERM');
    await world.node.startAgent(options);
  };
  /** Nobody listens on the server: to be refused at once is an answer of it, silence is policy. */
  const hostReaches = (wanted: boolean) =>
    eventually(`the node ${wanted ? 'reaches' : 'does not reach'} its pod`, async () => {
      const found = ([4, 6] as const).map(family => {
        const target = `/dev/tcp/${world.pod('server').address[family]}/80`;
        const argv = [`--net=${world.node.netns}`, 'timeout', '1', 'bash', '-c', `echo > ${target}`];
        return spawnSync('nsenter', argv).status !== 124;
      });
      return found.every(reaches => reaches === wanted) ? true : undefined;
    });
  const toFoe = (wanted: boolean) =>
    eventually(`who no policy selects is ${wanted ? 'open' : 'closed'}`, async () =>
      (await world.reaches('friend', 'foe')) === wanted ? true : undefined,
    );

  test('default: whom a policy selects, and the node reaches its pods', async () => {
    await world.expect({ friend: true, foe: false }, 'friends only');
    await toFoe(true);
    await hostReaches(true);
  });

  test('always: everybody, and what a policy allows is all that passes', async () => {
    await restart('--enable-policy', 'always');
    await toFoe(false);
    assert.equal(await world.reaches('friend'), false, 'nothing lets it leave');
    await hostReaches(true);
    world.set({
      policies: [
        friendsOnly,
        {
          metadata: { namespace: 'default', name: 'leave' },
          spec: { podSelector: { matchLabels: { role: 'friend' } }, policyTypes: ['Egress'], egress: [{}] },
        },
      ],
    });
    await world.expect({ friend: true, foe: false }, 'out of one and into the other');
    await toFoe(false);
  });

  test('never: nobody, whatever policies say', async () => {
    await restart('--enable-policy', 'never');
    await world.expect({ friend: true, foe: true }, 'all of them');
    await toFoe(true);
  });

  test('allow-localhost policy: the node is let in by policies alone', async () => {
    await restart('--allow-localhost', 'policy');
    await world.expect({ friend: true, foe: false }, 'friends only');
    await hostReaches(false);
    const metadata = { namespace: 'default', name: 'host' };
    const spec = {
      endpointSelector: { matchLabels: { role: 'server' } },
      ingress: [{ fromEntities: ['host'], toPorts: [{ ports: [{ port: '80', protocol: 'TCP' }] }] }],
    };
    world.set({ ciliumPolicies: [{ metadata, spec }] });
    await hostReaches(true);
    await world.expect({ friend: true, foe: false }, 'the others as before');
  });
});
