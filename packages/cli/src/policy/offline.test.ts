/** The policy tools without a cluster, as a user or CI runs them: what they print, and their exit codes. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';

const pods = `
kind: Pod
metadata: { namespace: shop, name: web, labels: { app: web } }
---
kind: Pod
metadata: { namespace: shop, name: db, labels: { app: db } }
spec: { containers: [{ name: c, ports: [{ name: psql, containerPort: 5432 }] }] }
---
kind: Node
metadata: { name: jump }
status: { addresses: [{ type: InternalIP, address: 172.30.0.12 }] }
`;
const dbPolicy = `
kind: NetworkPolicy
metadata: { namespace: shop, name: db }
spec:
  podSelector: { matchLabels: { app: db } }
  ingress: [{ from: [{ podSelector: { matchLabels: { app: web } } }], ports: [{ port: psql }] }]
`;
const hostPolicy = (entities: string): string => `
kind: CiliumClusterwideNetworkPolicy
metadata: { name: nodes }
spec: { nodeSelector: {}, ingress: [{ fromEntities: [${entities}] }] }
`;

interface Outcome {
  readonly code: number;
  readonly out: string;
}

describe('policy tools without a cluster', () => {
  const folder = mkdtempSync(join(tmpdir(), 'ciliate-policy-offline-'));
  after(() => rmSync(folder, { recursive: true, force: true }));
  const file = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const [podFile, dbFile] = [file('pods.yaml', pods), file('db.yaml', dbPolicy)];
  const policy = (args: readonly string[], ssh = ''): Promise<Outcome> =>
    new Promise(resolve => {
      const argv = [join(import.meta.dirname, '../main.ts'), 'policy', ...args];
      const env = { ...process.env, SSH_CONNECTION: ssh };
      execFile(process.execPath, argv, { env }, (error, stdout, stderr) => {
        resolve({ code: Number(error?.code ?? 0), out: stdout + stderr });
      });
    });
  const explain = (to: string, port: string, files = [podFile, dbFile]) =>
    policy(['explain', '-f', ...files, '--from', 'shop/web', '--to', to, '--port', port]);

  test('explain: 0 allowed, 1 denied, 2 nobody could say; ports by number and by name', async () => {
    const [byNumber, byName, denied, noName, nobody, noFile] = await Promise.all([
      explain('shop/db', '5432'),
      explain('shop/db', 'psql'),
      explain('shop/db', '80'),
      explain('shop/db', 'http'),
      explain('shop/nobody', '80'),
      explain('shop/db', '80', [join(folder, 'none.yaml')]),
    ]);
    assert.equal(byNumber.code, 0, byNumber.out);
    assert.deepEqual(byName, byNumber);
    assert.match(
      byName.out,
      /shop\/web → shop\/db 5432\/TCP {2}allowed[\s\S]*NetworkPolicy shop\/db, spec\.ingress\[0\]/,
    );
    assert.equal(denied.code, 1);
    assert.match(denied.out, /nearest rule: NetworkPolicy shop\/db[\s\S]*does not fit: ports psql/);
    assert.deepEqual([noName.code, nobody.code, noFile.code], [2, 2, 2]);
    assert.match(noName.out, /'http' is no port, and nobody who is called names one so/);
    assert.match(nobody.out, /nobody is called 'shop\/nobody'/);
  });

  test('test: 0 all hold, 1 some do not, with line and JUnit; 2 no file', async () => {
    const lines = ['shop/web can reach shop/db on psql; nothing else', 'shop/web can reach shop/db on 80'];
    const right = file('right.yaml', `manifests: [pods.yaml, db.yaml]\ntests:\n  - ${lines[0]}\n`);
    const wrong = file('wrong.yaml', `manifests: [pods.yaml, db.yaml]\ntests:\n  - ${lines.join('\n  - ')}\n`);
    const xml = join(folder, 'results.xml');
    const [good, bad, none] = await Promise.all([
      policy(['test', right]),
      policy(['test', wrong, '--junit', xml]),
      policy(['test', join(folder, 'none.yaml')]),
    ]);
    assert.equal(good.code, 0, good.out);
    assert.equal(bad.code, 1);
    assert.match(bad.out, /FAIL .*wrong\.yaml:4: shop\/web can reach shop\/db on 80\n.*80\/TCP is denied/);
    assert.match(readFileSync(xml, 'utf8'), /tests="2" failures="1"[\s\S]*wrong\.yaml" line="4"/);
    assert.equal(none.code, 2);
  });

  test('diff: what changes, and 1 when a way to the node would be closed, this SSH session too', async () => {
    const all = file('all.yaml', hostPolicy('kube-apiserver, remote-node'));
    const few = file('few.yaml', hostPolicy('health'));
    const diff = (name: string, ssh: string) => policy(['diff', '--base', podFile, '-f', name], ssh);
    const [pair, outsider, node, closed, nothing] = await Promise.all([
      diff(dbFile, ''),
      diff(all, '198.51.100.4 50000 172.30.0.11 22'),
      diff(all, '172.30.0.12 50000 172.30.0.11 22'),
      diff(few, '172.30.0.12 50000 172.30.0.11 22'),
      policy(['diff']),
    ]);
    assert.equal(pair.code, 0);
    assert.match(pair.out, /shop\/web +shop\/db +.*denied +default deny \(ingress\) by NetworkPolicy shop\/db/);
    assert.equal(outsider.code, 1);
    assert.match(outsider.out, /LOCKED OUT: this SSH session \(22\/TCP\) from 198\.51\.100\.4/);
    assert.equal(node.code, 0, 'who comes from another node has that node’s identity');
    assert.equal(closed.code, 1);
    for (const way of [
      'the kubelet (10250/TCP)',
      'the API server of this node (6443/TCP)',
      'this SSH session (22/TCP)',
    ]) {
      assert.ok(closed.out.includes(`LOCKED OUT: ${way} from `), `${way}: ${closed.out}`);
    }
    assert.equal(nothing.code, 2);
  });

  test('an agent that is not there is no answer', async () => {
    const { code, out } = await policy([
      'explain',
      '--from',
      'a/b',
      '--to',
      'c/d',
      '--port',
      '1',
      '--socket-path',
      join(folder, 'none.sock'),
    ]);
    assert.equal(code, 2, out);
  });
});
