import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { CniReply, CniRequest } from '@ciliate/protocol';
import { runPlugin } from './plugin.ts';

const reply: CniReply = {
  interfaces: [
    { name: 'lxc0', mac: '02:00:00:00:00:01', mtu: 1450, sandbox: '' },
    { name: 'eth0', mac: '02:00:00:00:00:02', mtu: 1450, sandbox: '/run/netns/x' },
  ],
  ips: [
    { address: '10.244.1.5/32', gateway: '10.244.1.1', interface: 1 },
    { address: 'fd00::5/128', gateway: 'fd00::1', interface: 1 },
  ],
  routes: [{ dst: '0.0.0.0/0', gw: '10.244.1.1', mtu: 1450 }],
  agentMicroseconds: 1,
};

let dir = '';
let server: Server;
let requests: CniRequest[] = [];
let answer: { status: number; body: unknown } = { status: 200, body: reply };

before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'ciliate-cni-'));
  server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', chunk => chunks.push(chunk));
    request.on('end', () => {
      requests.push(JSON.parse(Buffer.concat(chunks).toString()));
      const text = JSON.stringify(answer.body);
      response.writeHead(answer.status, { 'content-length': Buffer.byteLength(text) }).end(text);
    });
  });
  await new Promise<void>(resolve => server.listen(join(dir, 'agent.sock'), resolve));
});

after(() => {
  server.close();
  rmSync(dir, { recursive: true, force: true });
});

const environment = {
  CNI_COMMAND: 'ADD',
  CNI_CONTAINERID: 'c1',
  CNI_NETNS: '/run/netns/x',
  CNI_IFNAME: 'eth0',
  CNI_ARGS: 'IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web',
};
const config = (fields: Readonly<Record<string, unknown>> = {}): string =>
  JSON.stringify({
    cniVersion: '1.0.0',
    name: 'ciliate',
    socketPath: join(dir, 'agent.sock'),
    stateDir: dir,
    ...fields,
  });

async function run(
  env: Readonly<Record<string, string | undefined>>,
  input: string,
): Promise<{ code: number; output: Record<string, unknown> }> {
  requests = [];
  const { stdout, exitCode } = await runPlugin({ ...environment, ...env }, () => input);
  return { code: exitCode, output: stdout === '' ? {} : JSON.parse(stdout) };
}

const failures: readonly {
  name: string;
  env?: Readonly<Record<string, string>>;
  input?: () => string;
  code: number;
  says: RegExp;
}[] = [
  { name: 'no command', env: { CNI_COMMAND: '' }, code: 4, says: /CNI_COMMAND/ },
  { name: 'an unknown command', env: { CNI_COMMAND: 'PATCH' }, code: 4, says: /'PATCH' is unknown/ },
  { name: 'no container id', env: { CNI_CONTAINERID: '' }, code: 4, says: /CNI_CONTAINERID is required for ADD/ },
  { name: 'a bad container id', env: { CNI_CONTAINERID: '-a/b' }, code: 4, says: /CNI_CONTAINERID '-a\/b'/ },
  { name: 'no namespace', env: { CNI_NETNS: '' }, code: 4, says: /CNI_NETNS/ },
  { name: 'an interface name that is too long', env: { CNI_IFNAME: 'a123456789012345' }, code: 4, says: /CNI_IFNAME/ },
  { name: 'an interface name with a slash', env: { CNI_IFNAME: 'a/b' }, code: 4, says: /CNI_IFNAME/ },
  { name: 'args that are no pairs', env: { CNI_ARGS: 'K8S_POD_NAME' }, code: 4, says: /CNI_ARGS/ },
  { name: 'no configuration', input: () => '', code: 6, says: /position 0/ },
  { name: 'a truncated configuration', input: () => config().slice(0, 40), code: 6, says: /position \d+/ },
  { name: 'a configuration that is a list', input: () => '[]', code: 6, says: /not a JSON object/ },
  { name: 'no cniVersion', input: () => config({ cniVersion: undefined }), code: 1, says: /missing/ },
  { name: 'an old cniVersion', input: () => config({ cniVersion: '0.2.0' }), code: 1, says: /0\.2\.0/ },
  {
    name: 'CHECK in 0.3.1',
    env: { CNI_COMMAND: 'CHECK' },
    input: () => config({ cniVersion: '0.3.1', prevResult: {} }),
    code: 1,
    says: /CHECK does not exist in CNI 0.3.1/,
  },
  { name: 'STATUS in 1.0.0', env: { CNI_COMMAND: 'STATUS' }, code: 1, says: /1\.1\.0|STATUS/ },
  { name: 'CHECK without prevResult', env: { CNI_COMMAND: 'CHECK' }, code: 7, says: /prevResult/ },
  {
    name: 'GC without attachments',
    env: { CNI_COMMAND: 'GC' },
    input: () => config({ cniVersion: '1.1.0' }),
    code: 7,
    says: /valid-attachments/,
  },
  { name: 'no network name', input: () => config({ name: '' }), code: 7, says: /name/ },
  { name: 'ADD without agent', input: () => config({ socketPath: '/nowhere/agent.sock' }), code: 11, says: /nowhere/ },
  {
    name: 'STATUS without agent',
    env: { CNI_COMMAND: 'STATUS' },
    input: () => config({ cniVersion: '1.1.0', socketPath: '/nowhere/a' }),
    code: 50,
    says: /nowhere/,
  },
];
for (const { name, env = {}, input = config, code, says } of failures) {
  test(`error: ${name}`, async () => {
    const result = await run(env, input());
    assert.equal(result.code, 1);
    assert.equal(result.output.code, code);
    assert.match(`${result.output.msg} ${result.output.details}`, says);
    assert.equal(typeof result.output.cniVersion, 'string');
    assert.deepEqual(requests, []);
  });
}

test('VERSION needs no agent and lists every version', async () => {
  const result = await run({ CNI_COMMAND: 'VERSION', CNI_CONTAINERID: '' }, '{"cniVersion":"0.4.0"}');
  assert.deepEqual(result.output, { cniVersion: '0.4.0', supportedVersions: ['0.3.1', '0.4.0', '1.0.0', '1.1.0'] });
});

test('ADD passes on what the runtime said', async () => {
  await run({}, config());
  assert.equal(requests[0]?.containerId, 'c1');
  assert.equal(requests[0]?.args.K8S_POD_NAME, 'web');
});

for (const version of ['0.3.1', '0.4.0', '1.0.0', '1.1.0']) {
  test(`ADD result of ${version}`, async () => {
    const { code, output } = await run({}, config({ cniVersion: version }));
    assert.equal(code, 0);
    assert.equal(output.cniVersion, version);
    const ips = output.ips as readonly Record<string, unknown>[];
    const interfaces = output.interfaces as readonly Record<string, unknown>[];
    assert.deepEqual(
      ips.map(ip => ip.version),
      version < '1' ? ['4', '6'] : [undefined, undefined],
    );
    assert.equal(interfaces[0]?.sandbox, undefined);
    assert.equal(interfaces[1]?.mtu, version === '1.1.0' ? 1450 : undefined);
  });
}

test('behind another plugin the previous result is kept and ours comes after it', async () => {
  const prevResult = {
    cniVersion: '1.0.0',
    interfaces: [{ name: 'br0' }],
    ips: [{ address: '192.0.2.1/24', interface: 0 }],
    dns: { nameservers: ['192.0.2.53'] },
  };
  const { output } = await run({}, config({ prevResult }));
  assert.deepEqual(
    (output.interfaces as readonly { name: string }[]).map(item => item.name),
    ['br0', 'lxc0', 'eth0'],
  );
  assert.deepEqual(
    (output.ips as readonly { interface: number }[]).map(item => item.interface),
    [0, 2, 2],
  );
  assert.deepEqual(output.dns, prevResult.dns);
});

test("the agent's error object reaches the runtime", async () => {
  answer = { status: 500, body: { code: 101, msg: 'there already', details: 'DEL it' } };
  const { code, output } = await run({}, config());
  answer = { status: 200, body: reply };
  assert.equal(code, 1);
  assert.deepEqual(output, { cniVersion: '1.0.0', code: 101, msg: 'there already', details: 'DEL it' });
});

test('DEL without agent succeeds only when the state on disk proves that nothing is left', async () => {
  const del = { CNI_COMMAND: 'DEL', CNI_NETNS: '' };
  const away = config({ socketPath: '/nowhere/a' });
  mkdirSync(join(dir, 'endpoints'));
  assert.equal((await run(del, away)).code, 0);
  writeFileSync(join(dir, 'endpoints/7.json'), JSON.stringify({ containerId: 'c1', containerDevice: 'eth0' }));
  const there = await run(del, away);
  assert.equal(there.output.code, 11);
  writeFileSync(join(dir, 'endpoints/7.json'), '{');
  assert.equal((await run(del, away)).output.code, 11);
});
