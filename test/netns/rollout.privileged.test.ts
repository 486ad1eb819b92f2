/** Backends come and go under load: no request fails, and no established connection breaks. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { Cluster, eventually, type Outcome } from '../lib/cluster.ts';
import { privileged } from '../lib/privileged.ts';

const replicas = 20;
const manifest = `
apiVersion: v1
kind: Pod
metadata: { name: client }
spec: { nodeName: node-1, containers: [{ name: c, image: netshoot }] }
---
apiVersion: v1
kind: Service
metadata: { name: web }
spec:
  type: NodePort
  ipFamilyPolicy: RequireDualStack
  selector: { app: web }
  ports: [{ port: 80, targetPort: 8080 }]
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  replicas: ${replicas}
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      terminationGracePeriodSeconds: 30
      containers:
      - name: web
        image: ciliate/echo
        ports: [{ containerPort: 8080 }]
        readinessProbe: { tcpSocket: { port: 8080 }, periodSeconds: 1 }
        lifecycle: { preStop: { sleep: { seconds: 4 } } }
---
apiVersion: v1
kind: Service
metadata: { name: sticky, annotations: { service.cilium.io/lb-algorithm: maglev } }
spec:
  type: NodePort
  ipFamilyPolicy: RequireDualStack
  selector: { member: "yes" }
  ports: [{ port: 80, targetPort: 8080 }]
${['a', 'b', 'c', 'd']
  .map(
    (name, i) => `---
apiVersion: v1
kind: Pod
metadata: { name: sticky-${name}, labels: { member: "${name === 'd' ? 'no' : 'yes'}" } }
spec: { nodeName: node-${(i % 2) + 1}, containers: [{ name: c, image: ciliate/echo, ports: [{ containerPort: 8080 }] }] }
`,
  )
  .join('')}
---
apiVersion: v1
kind: Service
metadata: { name: named }
spec:
  ipFamilyPolicy: RequireDualStack
  selector: { named: "yes" }
  ports: [{ port: 53, targetPort: 5353, protocol: UDP }]
${['udp-1', 'udp-2']
  .map(
    (name, i) => `---
apiVersion: v1
kind: Pod
metadata: { name: ${name}, labels: { named: "${i === 0 ? 'yes' : 'no'}" } }
spec:
  nodeName: node-${i + 1}
  containers:
  - name: c
    image: ${name}
    command: ["${process.execPath}", "-e", ${JSON.stringify(`
const socket = require('node:dgram').createSocket('udp6');
socket.on('message', (_, from) => socket.send('${name}', from.port, from.address));
socket.bind(5353);`)}]
`,
  )
  .join('')}`;

/** argv: address. A connected socket that asks again and again; it prints who answers when that is somebody else, and errors. */
const askedByName = `
const dgram = require('node:dgram'), [, address] = process.argv;
let last = ''; const say = text => { if (text !== last) console.log(last = text); };
const open = () => {
  const socket = dgram.createSocket(address.includes(':') ? 'udp6' : 'udp4');
  socket.on('message', message => say(String(message)));
  socket.on('error', error => { say(error.code); socket.close(); clearInterval(timer); setTimeout(open, 50); });
  let timer; socket.connect(53, address, () => { timer = setInterval(() => socket.send('?', () => {}), 50); });
};
open(); setTimeout(() => process.exit(0), 20000);
`;

/** argv: stop file, URLs. Each URL in a loop, every request by a connection of its own, until the file is there. */
const newConnections = `
const { get } = require('node:http'), { existsSync } = require('node:fs');
const [, stop, ...urls] = process.argv;
let done = 0; const failed = [], pods = new Set();
const ask = url => new Promise(resolve => {
  const request = get(url, { agent: false, timeout: 10000 }, answer => {
    let text = ''; answer.on('data', part => { text += part; });
    answer.on('end', () => { pods.add(/pod: (\\S+)/.exec(text)?.[1]); resolve(); });
    answer.on('error', error => { failed.push(url + ' ' + error.message); resolve(); });
  });
  request.on('timeout', () => request.destroy(new Error('no answer within 10 s')));
  request.on('error', error => { failed.push(url + ' ' + error.message); resolve(); });
});
const loop = async url => { while (!existsSync(stop)) { await ask(url); done += 1; await new Promise(go => setTimeout(go, 20)); } };
Promise.all(urls.map(loop)).then(() => console.log(JSON.stringify({ done, failed, pods: pods.size })));
`;

/** argv: stop file, connections of each URL, URLs. Every connection asks again and again, and tells which pods it has met. */
const heldConnections = `
const { Agent, get } = require('node:http'), { existsSync } = require('node:fs');
const [, stop, count, ...urls] = process.argv;
const connection = async url => {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 }), pods = new Set(), sockets = new Set(); let failed = '';
  while (!existsSync(stop) && failed === '') {
    await new Promise(resolve => {
      const request = get(url, { agent, timeout: 10000 }, answer => {
        let text = ''; answer.on('data', part => { text += part; });
        answer.on('end', () => { pods.add(/pod: (\\S+)/.exec(text)?.[1]); resolve(); });
      });
      request.on('socket', socket => sockets.add(socket));
      request.on('timeout', () => request.destroy(new Error('no answer within 10 s')));
      request.on('error', error => { failed = url + ' ' + error.message; resolve(); });
    });
    await new Promise(go => setTimeout(go, 100));
  }
  agent.destroy();
  return { pods: [...pods], sockets: sockets.size, failed };
};
Promise.all(urls.flatMap(url => Array.from({ length: Number(count) }, () => connection(url)))).then(all => console.log(JSON.stringify(all)));
`;

interface Held {
  readonly pods: readonly string[];
  readonly sockets: number;
  readonly failed: string;
}

/** What `askedByName` prints, as it comes. */
function follow(cluster: Cluster, from: string, address: string) {
  const child = cluster.start(from, process.execPath, '-e', askedByName, address);
  const lines: string[] = [];
  createInterface({ input: child.stdout }).on('line', line => lines.push(line));
  return {
    all: () => lines,
    includes: (text: string) => (lines.includes(text) ? true : undefined),
    end: () => child.kill(),
  };
}

describe('backends come and go', privileged('sandbox'), () => {
  const cluster = new Cluster({ name: 'rollout' });
  const folder = mkdtempSync(join(tmpdir(), 'ciliate-rollout-'));
  const urls = { pod: [] as string[], outside: [] as string[] };

  /** Whatever is started ends by the file, which the test writes even when it fails. */
  function load(script: string, from: string, args: readonly string[]): { stop(): Promise<string> } {
    const file = join(folder, Math.random().toString(36).slice(2));
    const running: Promise<Outcome> = cluster.execLong(from, 180_000, process.execPath, '-e', script, file, ...args);
    return {
      async stop() {
        writeFileSync(file, '');
        const { code, stdout, stderr } = await running;
        assert.equal(code, 0, stderr);
        return stdout;
      },
    };
  }
  async function urlsOf(service: string): Promise<void> {
    const clusterIPs = await cluster.kube('get', 'svc', service, '-o', 'jsonpath={.spec.clusterIPs[*]}');
    const port = await cluster.kube('get', 'svc', service, '-o', 'jsonpath={.spec.ports[0].nodePort}');
    urls.pod = clusterIPs.split(' ').map(ip => (ip.includes(':') ? `http://[${ip}]/` : `http://${ip}/`));
    urls.outside = [`http://172.30.0.11:${port}/`, `http://[fd00:172:30::12]:${port}/`];
  }
  const bothAnswer = async (): Promise<true | undefined> => {
    for (const [from, all] of [['pod/default/client', urls.pod] as const, ['outside', urls.outside] as const]) {
      for (const url of all) {
        if ((await cluster.exec(from, 'curl', '-gsS', '-m', '3', url)).code !== 0) return undefined;
      }
    }
    return true;
  };

  before(async () => {
    cluster.up();
    await cluster.apply(manifest);
    await cluster.kube('rollout', 'status', 'deployment/web', '--timeout=120s');
    await cluster.kube('wait', '--for=condition=Ready', 'pod', '--all', '--timeout=60s');
  });
  after(() => {
    cluster.down();
    rmSync(folder, { recursive: true, force: true });
  });

  test(`a rollout of ${replicas} backends under load: no request fails, by ClusterIP and NodePort, IPv4 and IPv6`, async () => {
    await urlsOf('web');
    await eventually('the service answers', bothAnswer);
    const loads = [load(newConnections, 'pod/default/client', urls.pod), load(newConnections, 'outside', urls.outside)];
    let reports: readonly string[] = [];
    try {
      await cluster.kube('rollout', 'restart', 'deployment/web');
      await cluster.kube('rollout', 'status', 'deployment/web', '--timeout=110s');
      await eventually('old pods are gone', async () => {
        const pods = await cluster.kube('get', 'pods', '-l', 'app=web', '-o', 'name');
        return pods.split('\n').length === replicas ? true : undefined;
      });
    } finally {
      reports = await Promise.all(loads.map(one => one.stop()));
    }
    for (const report of reports) {
      const { done, failed, pods } = JSON.parse(report) as { done: number; failed: string[]; pods: number };
      assert.deepEqual(failed, []);
      assert.ok(done > 100, `${done} requests`);
      assert.ok(pods > replicas, `only ${pods} pods were met: the rollout was over before the load`);
    }
  });

  test('a UDP socket is closed when its backend leaves, and its owner reaches the next one', async () => {
    const clusterIPs = (await cluster.kube('get', 'svc', 'named', '-o', 'jsonpath={.spec.clusterIPs[*]}')).split(' ');
    const heard = clusterIPs.map(ip => ({ ip, lines: follow(cluster, 'pod/default/client', ip) }));
    try {
      for (const { ip, lines } of heard)
        await eventually(`udp-1 answers by ${ip}`, async () => lines.includes('udp-1'));
      await cluster.kube('label', 'pod', 'udp-2', 'named=yes', '--overwrite');
      await cluster.kube('label', 'pod', 'udp-1', 'named=no', '--overwrite');
      for (const { ip, lines } of heard)
        await eventually(`udp-2 answers by ${ip}`, async () => lines.includes('udp-2'));
    } finally {
      for (const { lines } of heard) lines.end();
    }
    for (const { lines } of heard) assert.deepEqual(lines.all(), ['udp-1', 'ECONNABORTED', 'udp-2']);
  });

  test('Maglev: a backend that leaves and one that comes break no established connection', async () => {
    await urlsOf('sticky');
    await eventually('the service answers', bothAnswer);
    const loads = [
      load(heldConnections, 'pod/default/client', ['5', ...urls.pod]),
      load(heldConnections, 'outside', ['10', ...urls.outside]),
    ];
    let reports: readonly string[] = [];
    try {
      await new Promise(resolve => setTimeout(resolve, 2000));
      await cluster.kube('label', 'pod', 'sticky-b', 'member=no', '--overwrite');
      await new Promise(resolve => setTimeout(resolve, 2000));
      await cluster.kube('label', 'pod', 'sticky-d', 'member=yes', '--overwrite');
      await eventually('the new one answers, and the old one does not', async () => {
        const answers = await Promise.all(
          Array.from({ length: 20 }, () => cluster.exec('outside', 'curl', '-gs', '-m', '3', urls.outside[0] ?? '')),
        );
        const text = answers.map(({ stdout }) => stdout).join('');
        return text.includes('sticky-d') && !text.includes('sticky-b') ? true : undefined;
      });
      await new Promise(resolve => setTimeout(resolve, 1000));
    } finally {
      reports = await Promise.all(loads.map(one => one.stop()));
    }
    const held = reports.flatMap(report => JSON.parse(report) as readonly Held[]);
    assert.equal(held.length, 30);
    for (const one of held)
      assert.deepEqual([one.failed, one.sockets, one.pods.length], ['', 1, 1], JSON.stringify(one));
    assert.ok(
      held.some(({ pods }) => pods[0] === 'sticky-b'),
      'some had the one that left',
    );
  });
});
