/** The real kubectl against the sandbox's API server, without nodes and without root: every verb that needs no running pod. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { registerCrds } from '../../packages/agent/src/operator/crds.ts';
import { type RunningApiServer, startApiServer } from '../../packages/sandbox/src/apiserver/start.ts';
import { KubeClient, loadKubeConfig } from '../../packages/sources/src/index.ts';
import { type Outcome, run } from '../lib/cluster.ts';

const missing = spawnSync('kubectl', ['version', '--client']).status !== 0;

describe('kubectl', { skip: missing ? 'no kubectl on this machine' : false }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'ciliate-kubectl-'));
  let server: RunningApiServer | undefined;
  const env = { ...process.env, KUBECONFIG: join(folder, 'kubeconfig'), HOME: folder, EDITOR: join(folder, 'editor') };
  const kubectl = (...args: readonly string[]): Promise<Outcome> => run('kubectl', args, { env });
  const works = async (...args: readonly string[]): Promise<string> => {
    const result = await kubectl(...args);
    assert.equal(result.code, 0, `kubectl ${args.join(' ')}: ${result.stderr}`);
    return result.stdout.trim();
  };
  const manifest = (name: string, text: string): string => {
    const file = join(folder, name);
    writeFileSync(file, text);
    return file;
  };
  const deployment = (replicas: number, image: string): string => `
apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  replicas: ${replicas}
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec: { containers: [{ name: web, image: "${image}", ports: [{ containerPort: 80 }] }] }
`;

  before(async () => {
    server = await startApiServer({
      listen: ['127.0.0.1:0'],
      serviceCidrs: ['10.96.0.0/16', 'fd00:10:96::/112'],
      podCidrs: ['10.244.0.0/16'],
      nodePorts: [30_000, 32_767],
      kubeletDir: folder,
      tokens: [],
      advertise: ['127.0.0.1'],
      advertisePort: 6443,
    });
    manifest(
      'kubeconfig',
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'Config',
        'current-context': 'test',
        clusters: [{ name: 'test', cluster: { server: `http://127.0.0.1:${server.ports[0]}` } }],
        contexts: [{ name: 'test', context: { cluster: 'test', user: 'test' } }],
        users: [{ name: 'test', user: {} }],
      }),
    );
  });
  after(() => {
    server?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  test('create -f makes a Deployment, and its ReplicaSet and pods follow', async () => {
    await works('create', '-f', manifest('web.yaml', deployment(2, 'nginx:1')));
    assert.match(await works('get', 'pods', '-l', 'app=web', '--no-headers'), /^web-\S+\s+0\/1\s+Pending/);
  });
  test('get -o wide, yaml, json, jsonpath, name and -A', async () => {
    assert.match(await works('get', 'deploy', 'web', '-o', 'wide'), /CONTAINERS\s+IMAGES\s+SELECTOR/);
    assert.match(await works('get', 'deploy', 'web', '-o', 'yaml'), /kind: Deployment/);
    assert.equal(await works('get', 'deploy', 'web', '-o', 'jsonpath={.spec.replicas}'), '2');
    assert.equal(await works('get', 'deploy', '-A', '-o', 'name'), 'deployment.apps/web');
    assert.equal(JSON.parse(await works('get', 'svc', 'kubernetes', '-o', 'json')).spec.clusterIP, '10.96.0.1');
  });
  test('describe, label, annotate, patch, scale', async () => {
    await works('label', 'deploy', 'web', 'tier=front');
    await works('annotate', 'deploy', 'web', 'note=x');
    await works('patch', 'deploy', 'web', '--type=json', '-p', '[{"op":"replace","path":"/spec/replicas","value":3}]');
    await works('scale', 'deploy', 'web', '--replicas=1');
    assert.match(await works('describe', 'deploy', 'web'), /tier=front[\s\S]*1 desired/);
  });
  test('edit changes what the editor has changed, and refuses what is no number of replicas', async () => {
    const editor = (expression: string): void =>
      writeFileSync(env.EDITOR, `#!/bin/sh\nexec sed -i '${expression}' "$1"\n`, { mode: 0o755 });
    editor('s/replicas: 1/replicas: 2/');
    await works('edit', 'deploy', 'web');
    assert.equal(await works('get', 'deploy', 'web', '-o', 'jsonpath={.spec.replicas}'), '2');
    editor('s/replicas: 2/replicas: many/');
    const refused = await kubectl('edit', 'deploy', 'web');
    assert.notEqual(refused.code, 0);
    assert.equal(await works('get', 'deploy', 'web', '-o', 'jsonpath={.spec.replicas}'), '2');
  });
  test('get -w tells each change as it comes', async () => {
    const watch = spawn('kubectl', ['get', 'deploy', 'web', '-w', '-o', 'jsonpath={.spec.replicas}{"\\n"}'], { env });
    try {
      const lines = createInterface({ input: watch.stdout })[Symbol.asyncIterator]();
      const next = async (): Promise<string> => String((await lines.next()).value);
      assert.equal(await next(), '2');
      await works('scale', 'deploy', 'web', '--replicas=3');
      assert.equal(await next(), '3');
    } finally {
      watch.kill();
    }
  });
  test('apply, client side and server side; another manager conflicts unless forced', async () => {
    const first = manifest('web.yaml', deployment(1, 'nginx:1'));
    await works('apply', '-f', first);
    await works('apply', '--server-side', '--field-manager=a', '-f', first, '--force-conflicts');
    const second = manifest('web2.yaml', deployment(4, 'nginx:1'));
    const conflict = await kubectl('apply', '--server-side', '--field-manager=b', '-f', second);
    assert.match(conflict.stderr, /conflict with "a"/);
    await works('apply', '--server-side', '--field-manager=b', '--force-conflicts', '-f', second);
    assert.equal(await works('get', 'deploy', 'web', '-o', 'jsonpath={.spec.replicas}'), '4');
  });
  test('expose and create with typed clients: addresses and node ports are given once', async () => {
    await works('expose', 'deploy', 'web', '--type=NodePort', '--port=80');
    assert.match(
      await works('get', 'svc', 'web', '--no-headers'),
      /NodePort\s+10\.96\.\d+\.\d+\s+<none>\s+80:3[0-2]\d{3}\/TCP/,
    );
    await works('create', 'service', 'clusterip', 'typed', '--tcp=80:8080');
    await works('create', 'deployment', 'typed', '--image=x', '--port=80');
    assert.equal(await works('get', 'svc', 'typed', '-o', 'jsonpath={.spec.ports[0].targetPort}'), '8080');
  });
  test('a node port that is taken, a bad port and a missing selector are refused with the field', async () => {
    const nodePort = await works('get', 'svc', 'web', '-o', 'jsonpath={.spec.ports[0].nodePort}');
    const twice = await kubectl('create', 'service', 'nodeport', 'twice', '--tcp=80', `--node-port=${nodePort}`);
    assert.match(twice.stderr, /spec\.ports\[0\]\.nodePort: Invalid value: \d+: provided port is already allocated/);
    const bad = await kubectl(
      'create',
      '-f',
      manifest(
        'bad.yaml',
        'apiVersion: v1\nkind: Service\nmetadata: { name: bad }\nspec: { ports: [{ port: 70000 }] }\n',
      ),
    );
    assert.match(bad.stderr, /spec\.ports\[0\]\.port: Invalid value: 70000/);
    const unknown =
      'apiVersion: v1\nkind: Service\nmetadata: { name: bad }\nspec: { portz: [], ports: [{ port: 80 }] }\n';
    assert.match(
      (await kubectl('create', '-f', manifest('unknown.yaml', unknown))).stderr,
      /unknown field "spec\.portz"/,
    );
  });
  test('wait, api-resources, explain, version, and an error for what is not there', async () => {
    await works('wait', '--for=jsonpath={.spec.replicas}=4', 'deploy/web', '--timeout=10s');
    assert.match(await works('api-resources'), /deployments\s+deploy\s+apps\/v1/);
    assert.match(await works('explain', 'pods'), /KIND:\s+Pod/);
    assert.match(await works('explain', 'deployment.spec.replicas'), /FIELD: replicas <integer>/);
    assert.match(await works('explain', 'pod.spec.containers.ports'), /containerPort\s+<integer>/);
    assert.equal(await works('auth', 'can-i', 'create', 'pods'), 'yes');
    assert.match(await works('version'), /Server Version: v1\.3\d/);
    assert.match((await kubectl('get', 'svc', 'nope')).stderr, /services "nope" not found/);
  });
  test('delete takes what is owned with it; a namespace is emptied', async () => {
    await works('delete', 'deploy', 'web');
    await works('wait', '--for=delete', 'pods', '-l', 'app=web', '--timeout=10s');
    await works('create', 'namespace', 'gone');
    await works('create', 'configmap', 'inside', '-n', 'gone', '--from-literal=a=b');
    await works('delete', 'namespace', 'gone', '--timeout=20s');
    assert.match((await kubectl('get', 'namespace', 'gone')).stderr, /not found/);
  });
  test('custom resources are served once their definition is there', async () => {
    const crd = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: { name: widgets.example.io }
spec:
  group: example.io
  scope: Namespaced
  names: { plural: widgets, singular: widget, kind: Widget }
  versions: [{ name: v1, served: true, storage: true, schema: { openAPIV3Schema: { type: object } }, additionalPrinterColumns: [{ name: Size, type: string, jsonPath: .spec.size }] }]
`;
    await works('apply', '-f', manifest('crd.yaml', crd));
    await works(
      'create',
      '-f',
      manifest(
        'widget.yaml',
        'apiVersion: example.io/v1\nkind: Widget\nmetadata: { name: one }\nspec: { size: big }\n',
      ),
    );
    assert.match(await works('get', 'widgets', '--no-headers'), /one\s+big/);
  });
  test('an object of an older version of a CRD is the same object in the newer one', async () => {
    await registerCrds(new KubeClient(await loadKubeConfig(env.KUBECONFIG)));
    const group = 'apiVersion: cilium.io/v2alpha1\nkind: CiliumCIDRGroup\nmetadata: { name: office }\n';
    await works('apply', '-f', manifest('group.yaml', `${group}spec: { externalCIDRs: [192.0.2.0/24] }\n`));
    const read = await works(
      'get',
      'ciliumcidrgroups.v2.cilium.io',
      'office',
      '-o',
      'jsonpath={.apiVersion} {.spec.externalCIDRs[0]}',
    );
    assert.equal(read, 'cilium.io/v2 192.0.2.0/24');
    assert.match(
      await works('get', 'ciliumcidrgroups.v2alpha1.cilium.io', 'office', '-o', 'yaml'),
      /apiVersion: cilium.io\/v2alpha1/,
    );
  });
});
