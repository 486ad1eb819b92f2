import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { environmentOf, expand } from './environment.ts';
import { baseName, programOf } from './image.ts';
import { nginxConfig } from './nginx.ts';
import { hostnameOf, hostsFile, resolvConf } from './pod-files.ts';

describe('files of a pod', () => {
  test('resolv.conf searches the own namespace first', () => {
    assert.equal(
      resolvConf('shop', '10.96.0.10'),
      'nameserver 10.96.0.10\nsearch shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n',
    );
  });

  test('hosts names every address of the pod', () => {
    const text = hostsFile('web-0', 'web-0.web.shop.svc.cluster.local', ['10.244.1.5', 'fd00::5']);
    assert.match(text, /^10\.244\.1\.5\tweb-0\.web\.shop\.svc\.cluster\.local\tweb-0$/m);
    assert.match(text, /^fd00::5\t/m);
  });

  test('a host name has at most 63 characters and no dash at its end', () => {
    assert.equal(hostnameOf({}, `${'a'.repeat(62)}-b`), 'a'.repeat(62));
    assert.equal(hostnameOf({ hostname: 'own' }, 'pod'), 'own');
  });

  test('nginx listens on each port in both families', () => {
    const text = nginxConfig([80, 8080]);
    for (const line of ['listen 80;', 'listen [::]:80 ', 'listen 8080;', 'listen [::]:8080 '])
      assert.ok(text.includes(line));
    assert.ok(nginxConfig([]).includes('listen 80;'));
  });
});

describe('which program stands for an image', () => {
  const find = (name: string): string | undefined =>
    name === 'nginx' || name === 'iperf3' ? `/usr/bin/${name}` : undefined;
  const cases = [
    { image: 'nginx:1.27', expected: { kind: 'nginx' } },
    { image: 'docker.io/library/nginx@sha256:abc', expected: { kind: 'nginx' } },
    { image: 'iperf3', args: ['-s'], expected: { kind: 'command', argv: ['/usr/bin/iperf3', '-s'] } },
    { image: 'nicolaka/netshoot', expected: { kind: 'command', argv: ['sleep', 'infinity'] } },
    { image: 'ciliate/dns', expected: { kind: 'builtin', program: 'dns' } },
    { image: 'ciliate/echo', expected: { kind: 'builtin', program: 'echo' } },
    { image: 'registry:5000/team/app:v1', expected: { kind: 'builtin', program: 'echo' } },
    { image: 'nginx', command: ['true'], args: ['x'], expected: { kind: 'command', argv: ['true', 'x'] } },
  ];
  for (const { image, expected, ...rest } of cases) {
    test(`${image} ${JSON.stringify(rest)}`, () => {
      assert.deepEqual(programOf({ name: 'c', image, ...rest }, find), expected);
    });
  }

  test('a registry with a port is no tag', () => {
    assert.equal(baseName('registry:5000/app'), 'app');
  });
});

describe('environment of a container', () => {
  test('field references, and $(NAME) of what stands before', () => {
    const env = environmentOf({
      pod: { metadata: { name: 'p', namespace: 'ns', uid: 'u', labels: { app: 'x' } }, spec: { containers: [] } },
      container: {
        name: 'c',
        image: 'i',
        env: [
          { name: 'IP', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } },
          { name: 'APP', valueFrom: { fieldRef: { fieldPath: "metadata.labels['app']" } } },
          { name: 'URL', value: 'http://$(IP)/$(NOPE)/$$(IP)' },
        ],
      },
      hostname: 'p',
      podAddresses: ['10.0.0.1', 'fd00::1'],
      nodeName: 'node-1',
      nodeAddresses: ['172.30.0.11'],
      apiService: { host: '10.96.0.1', port: '443' },
    });
    assert.equal(env.IP, '10.0.0.1');
    assert.equal(env.APP, 'x');
    assert.equal(env.URL, 'http://10.0.0.1/$(NOPE)/$(IP)');
    assert.equal(env.KUBERNETES_SERVICE_HOST, '10.96.0.1');
  });

  test('a lone dollar stays', () => {
    assert.equal(expand('a$b', {}), 'a$b');
  });
});
