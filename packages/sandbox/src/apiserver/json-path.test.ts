import assert from 'node:assert/strict';
import { test } from 'node:test';
import { jsonPathText } from './json-path.ts';

const object = {
  spec: {
    addresses: [
      { type: 'InternalIP', ip: '172.30.0.11' },
      { type: 'CiliumInternalIP', ip: '10.244.1.1' },
    ],
  },
  'security-labels': { 'k8s:io.kubernetes.pod.namespace': 'shop' },
  status: { conditions: [{ type: 'Valid', status: 'True' }], ids: [4, 5] },
};

const cases: readonly (readonly [path: string, text: string])[] = [
  ['.spec.addresses[?(@.type=="CiliumInternalIP")].ip', '10.244.1.1'],
  ['.status.conditions[?(@.type=="Valid")].status', 'True'],
  ["{.status.conditions[?(@.type=='Valid')].status}".slice(1, -1), 'True'],
  ['.spec.addresses[0].ip', '172.30.0.11'],
  ['.status.ids[1]', '5'],
  ['.security-labels.k8s:io\\.kubernetes\\.pod\\.namespace', 'shop'],
  ['.status.ids', '[4,5]'],
  ['.spec.nothing.there', ''],
  ['.spec.addresses[?(@.type=="Other")].ip', ''],
  ['.status.ids[9]', ''],
];
for (const [path, text] of cases) test(`column ${path}`, () => assert.equal(jsonPathText(object, path), text));
