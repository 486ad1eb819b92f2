/** Who is not known yet does not pass: pods that come while the API server is away, agents that start without it, labels that never rest. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { eventually } from '../lib/cluster.ts';
import { PolicyNode } from '../lib/policy-node.ts';
import { privileged } from '../lib/privileged.ts';

describe('while the API server is away', privileged('root'), () => {
  const world = new PolicyNode(`ciliate-away-${process.pid}`);
  before(async () => {
    await world.up();
    await world.expect({ friend: true, foe: false }, 'friends only');
    await world.node.stopApi();
  });
  after(() => world.down());

  test('a pod that comes is init: nobody reaches it, it reaches nobody; the others go on as before', async () => {
    await world.addPod('late', { role: 'friend' }, false);
    const labels = async (): Promise<string> => JSON.stringify(await world.node.get('/v1/endpoint'));
    assert.match(await labels(), /"reserved:init"/);
    for (let round = 0; round < 5; round += 1) {
      assert.equal(await world.reaches('late'), false, 'the server is closed to it');
      assert.equal(await world.reaches('late', 'foe'), false, 'it may not leave: nobody knows what policy says of it');
      assert.equal(await world.reaches('friend', 'late'), false, 'nor may anybody enter');
      assert.deepEqual([await world.reaches('friend'), await world.reaches('foe')], [true, false]);
    }
  });

  test('an agent that dies and starts meanwhile opens nothing and closes nothing', async () => {
    await world.node.stopAgent('SIGKILL');
    assert.deepEqual([await world.reaches('friend'), await world.reaches('foe')], [true, false], 'without agent');
    const starting = world.node.startAgent();
    const end = Date.now() + 3000;
    while (Date.now() < end) {
      assert.deepEqual([await world.reaches('friend'), await world.reaches('foe')], [true, false], 'while it starts');
      assert.deepEqual([await world.reaches('late'), await world.reaches('friend', 'late')], [false, false]);
    }
    world.node.startApi(world.objects(), 1000);
    await starting;
  });

  test('when it is back the pod gets its identity, and what policy gives it', async () => {
    await world.expect({ late: true, friend: true, foe: false }, 'it is a friend');
    assert.equal(await world.reaches('friend', 'late'), true, 'no policy is about it');
  });
});

/** Runs beside the API server: each request is a change of its own, one after the other. Prints how many there were in a second. */
const storm = `
const { request, Agent } = require('node:http');
const agent = new Agent({ keepAlive: true, maxSockets: 1 });
const [port, count, body] = [process.argv[1], Number(process.argv[2]), process.argv[3]];
const post = text => new Promise((resolve, reject) => {
  const call = request({ agent, port, host: '127.0.0.1', method: 'POST', path: '/test/objects' }, response => response.resume().on('end', resolve));
  call.on('error', reject).end(text);
});
(async () => {
  const begin = performance.now();
  for (let i = 0; i < count; i += 1) await post(body.replaceAll('LABEL', 'n' + i));
  console.log(Math.round(count / (performance.now() - begin) * 1000));
  agent.destroy();
})();`;

describe('labels that never rest', privileged('root'), () => {
  const world = new PolicyNode(`ciliate-storm-${process.pid}`);
  before(async () => {
    await world.up();
    await world.expect({ friend: true, foe: false }, 'friends only');
  });
  after(() => world.down());

  test('thousands of changes as fast as the API server takes them: the foe never passes, the friend always does', async () => {
    world.labels.set('foe', { role: 'foe', build: 'LABEL' });
    const body = JSON.stringify(world.objects());
    const argv = [`--net=${world.node.netns}`, process.execPath, '-e', storm, '18443', '3000', body];
    const child = spawn('nsenter', argv, { stdio: ['ignore', 'pipe', 'inherit'] });
    let rate = '';
    child.stdout.on('data', chunk => {
      rate += String(chunk);
    });
    const ended = new Promise<number>(resolve => child.once('exit', code => resolve(code ?? 255)));
    let rounds = 0;
    while (child.exitCode === null && child.signalCode === null) {
      assert.deepEqual([await world.reaches('friend'), await world.reaches('foe')], [true, false]);
      rounds += 1;
    }
    assert.equal(await ended, 0);
    assert.ok(rounds > 0);
    console.log(`${rate.trim()} changes a second, ${rounds} looks`);
    // The last of them counts, and what it makes of the pod.
    const last = { role: 'friend', build: 'n2999' };
    world.setLabels('foe', last);
    await world.expect({ foe: true, friend: true }, 'it is a friend at last');
    world.setLabels('foe', { role: 'foe' });
    await world.expect({ foe: false, friend: true }, 'and a foe again');
    await eventually('the maps are as they shall be', async () => {
      const found = (await world.node.get('/v1/ciliate/policy/verify')) as { readonly differences: readonly unknown[] };
      assert.deepEqual(found.differences.slice(0, 3), []);
      return true;
    });
  });

  test('between friend and foe: whatever it is last, that it is', async () => {
    for (let i = 0; i < 60; i += 1) world.setLabels('foe', { role: i % 2 === 0 ? 'friend' : 'foe' });
    await world.expect({ foe: false, friend: true }, 'a foe');
    await delay(500);
    assert.equal(await world.reaches('foe'), false, 'and it stays one');
  });
});
