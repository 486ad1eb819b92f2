/** ICMP errors reach the pod whose packet caused them, also when the flow was masqueraded: real packets, both families. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Cluster } from '../lib/cluster.ts';
import { privileged } from '../lib/privileged.ts';

const manifest = `
apiVersion: v1
kind: Pod
metadata: { name: client, namespace: default }
spec:
  nodeName: node-1
  containers: [{ name: client, image: netshoot }]
`;

const families = [
  { name: 'IPv4', flag: '-4', outside: '172.30.0.100', node: '172.30.0.12' },
  { name: 'IPv6', flag: '-6', outside: 'fd00:172:30::100', node: 'fd00:172:30::12' },
] as const;

/** Sends to a closed UDP port and prints what the socket learns. */
const probe = `
const socket = require('node:dgram').createSocket(process.argv[1].includes(':') ? 'udp6' : 'udp4');
socket.on('error', error => { console.log(error.code); process.exit(); });
socket.connect(9, process.argv[1], () => setInterval(() => socket.send('?', () => {}), 200));
socket.on('message', () => {});
setTimeout(() => { console.log('silence'); process.exit(); }, 5000);
`;

describe('ICMP errors', privileged('sandbox'), () => {
  const cluster = new Cluster({ name: 'icmp-errors' });
  const pod = (...argv: readonly string[]) => cluster.exec('pod/default/client', ...argv);

  before(async () => {
    cluster.up();
    await cluster.apply(manifest);
    await cluster.kube('wait', '--for=condition=Ready', 'pod/client', '--timeout=60s');
  });
  after(() => {
    cluster.down();
  });

  for (const { name, flag, outside, node } of families) {
    test(`${name}: the last hop is answered with time exceeded`, async () => {
      const result = await pod('ping', flag, '-n', '-c', '2', '-W', '3', '-t', '1', outside);
      assert.match(result.stdout, /[Tt]ime (to live )?exceeded/, `${result.stdout}${result.stderr}`);
    });

    for (const [what, to] of [
      ['outside, masqueraded', outside],
      ['another node', node],
    ] as const) {
      test(`${name}: a closed UDP port is told at once: ${what}`, async () => {
        const result = await pod(process.execPath, '-e', probe, to);
        assert.equal(result.stdout.trim(), 'ECONNREFUSED', result.stderr);
      });
    }

    /* Locked: bpf_fib_lookup() does not regard the MTU of a route otherwise, only the device's and what was learned. */
    test(`${name}: a smaller MTU on the way is told`, async () => {
      const bits = name === 'IPv4' ? 32 : 128;
      const route = await cluster.exec(
        'node-1',
        'ip',
        flag,
        'route',
        'add',
        `${outside}/${bits}`,
        'dev',
        'eth0',
        'mtu',
        'lock',
        '1300',
      );
      assert.equal(route.code, 0, route.stderr);
      const result = await pod('ping', flag, '-n', '-c', '2', '-W', '3', '-M', 'do', '-s', '1350', outside);
      assert.match(`${result.stdout}${result.stderr}`, /mtu ?= ?1300/);
    });
  }
});
