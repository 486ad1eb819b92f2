import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LabelFilter, parseLabelPattern } from './label-filter.ts';
import { securityLabels } from './security-labels.ts';

const filter = (...texts: readonly string[]) => new LabelFilter(texts.map(parseLabelPattern));

test('what is to be left out is left out, and nothing else', () => {
  const some = filter('!team', '!k8s:example\\.com/');
  assert.equal(some.keeps('k8s', 'team'), false);
  assert.equal(some.keeps('k8s', 'teamwork'), false, 'it is a prefix');
  assert.equal(some.keeps('k8s', 'example.com/role'), false);
  assert.equal(some.keeps('node', 'example.com/role'), true, 'of another source');
  assert.equal(some.keeps('k8s', 'app'), true);
});

test('once something is named that is to be kept, nothing else is, but what is always kept', () => {
  const some = filter('k8s:app$', '!app\\.kubernetes\\.io/version');
  assert.equal(some.keeps('k8s', 'app'), true);
  assert.equal(some.keeps('k8s', 'app2'), false);
  assert.equal(some.keeps('k8s', 'tier'), false);
  assert.equal(some.keeps('k8s', 'app.kubernetes.io/name'), true);
  assert.equal(some.keeps('k8s', 'app.kubernetes.io/version'), false, 'the longer match decides');
  assert.equal(some.keeps('k8s', 'io.cilium.k8s.policy.serviceaccount'), true);
});

test('both places of the exclamation mark; what is no expression is named', () => {
  assert.equal(filter('k8s:!team').keeps('k8s', 'team'), false);
  assert.throws(() => parseLabelPattern('k8s:app['), /'k8s:app\[' is no regular expression/);
  assert.throws(() => parseLabelPattern('k8s:'), /'k8s:' names no label/);
});

test('namespace and cluster are in every identity; labels of namespaces can be left out', () => {
  const labels = securityLabels(
    {
      namespace: 'shop',
      podLabels: { app: 'web', team: 'blue' },
      namespaceLabels: { 'kubernetes.io/metadata.name': 'shop', owner: 'x' },
      serviceAccount: 'default',
      cluster: 'default',
    },
    filter(
      '!team',
      '!io\\.kubernetes\\.pod',
      '!io\\.cilium\\.k8s\\.policy',
      '!io\\.cilium\\.k8s\\.namespace\\.labels\\.owner',
    ),
  );
  assert.deepEqual(labels, {
    'k8s:app': 'web',
    'k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name': 'shop',
    'k8s:io.cilium.k8s.policy.cluster': 'default',
    'k8s:io.kubernetes.pod.namespace': 'shop',
  });
});
