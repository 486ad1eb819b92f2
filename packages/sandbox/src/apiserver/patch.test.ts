import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Json, JsonObject } from './object.ts';
import { jsonPatch, mergePatch, strategicMerge, withoutDropped } from './patch.ts';

describe('strategic merge patch', () => {
  const current: JsonObject = {
    containers: [
      { name: 'a', image: '1', env: [{ name: 'X', value: '1' }] },
      { name: 'b', image: '1' },
    ],
    finalizers: ['x'],
    args: ['1', '2'],
  };
  const cases: readonly (readonly [string, JsonObject, (result: JsonObject) => unknown, unknown])[] = [
    [
      'items of a keyed list merge by their key',
      { containers: [{ name: 'a', image: '2' }] },
      result => result.containers,
      [
        { name: 'a', image: '2', env: [{ name: 'X', value: '1' }] },
        { name: 'b', image: '1' },
      ],
    ],
    [
      '$patch delete takes an item',
      { containers: [{ name: 'a', $patch: 'delete' }] },
      result => result.containers,
      [{ name: 'b', image: '1' }],
    ],
    [
      '$setElementOrder orders items',
      { '$setElementOrder/containers': [{ name: 'b' }, { name: 'a' }], containers: [{ name: 'b', image: '2' }] },
      result => (result.containers as readonly JsonObject[]).map(item => item.name),
      ['b', 'a'],
    ],
    ['other lists are replaced', { args: ['3'] }, result => result.args, ['3']],
    ['finalizers are a set', { finalizers: ['x', 'y'] }, result => result.finalizers, ['x', 'y']],
    [
      '$deleteFromPrimitiveList takes from a set',
      { '$deleteFromPrimitiveList/finalizers': ['x'] },
      result => result.finalizers,
      [],
    ],
    ['null removes', { args: null }, result => Object.hasOwn(result, 'args'), false],
  ];
  for (const [name, patch, look, expected] of cases)
    test(name, () => assert.deepEqual(look(strategicMerge(current, patch)), expected));

  test('ports of a service are told apart by protocol too', () => {
    const ports = [
      { port: 53, protocol: 'UDP', name: 'udp' },
      { port: 53, protocol: 'TCP', name: 'tcp' },
    ];
    const patched = strategicMerge({ ports }, { ports: [{ port: 53, protocol: 'TCP', nodePort: 30_053 }] });
    assert.deepEqual(patched.ports, [ports[0], { ...ports[1], nodePort: 30_053 }]);
  });
});

describe('merge patch (RFC 7396, appendix A)', () => {
  const cases: readonly (readonly [Json, Json, Json])[] = [
    [{ a: 'b' }, { a: 'c' }, { a: 'c' }],
    [{ a: 'b' }, { b: 'c' }, { a: 'b', b: 'c' }],
    [{ a: 'b' }, { a: null }, {}],
    [{ a: ['b'] }, { a: 'c' }, { a: 'c' }],
    [{ a: { b: 'c' } }, { a: { b: 'd', c: null } }, { a: { b: 'd' } }],
    [{ a: [{ b: 'c' }] }, { a: [1] }, { a: [1] }],
    [
      ['a', 'b'],
      ['c', 'd'],
      ['c', 'd'],
    ],
    [{ a: 'foo' }, 'bar', 'bar'],
    [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
  ];
  for (const [target, patch, expected] of cases)
    test(`${JSON.stringify(target)} + ${JSON.stringify(patch)}`, () =>
      assert.deepEqual(mergePatch(target, patch), expected));
});

describe('JSON patch (RFC 6902, appendix A)', () => {
  const cases: readonly (readonly [string, Json, Parameters<typeof jsonPatch>[1], Json])[] = [
    ['add a member', { foo: 'bar' }, [{ op: 'add', path: '/baz', value: 'q' }], { foo: 'bar', baz: 'q' }],
    ['add an item', { foo: ['a', 'c'] }, [{ op: 'add', path: '/foo/1', value: 'b' }], { foo: ['a', 'b', 'c'] }],
    ['append', { foo: ['a'] }, [{ op: 'add', path: '/foo/-', value: 'b' }], { foo: ['a', 'b'] }],
    ['remove an item', { foo: ['a', 'b'] }, [{ op: 'remove', path: '/foo/0' }], { foo: ['b'] }],
    ['replace an item', { foo: ['a', 'b'] }, [{ op: 'replace', path: '/foo/0', value: 'x' }], { foo: ['x', 'b'] }],
    ['move', { a: { b: 1 } }, [{ op: 'move', from: '/a/b', path: '/c' }], { a: {}, c: 1 }],
    ['copy', { a: 1 }, [{ op: 'copy', from: '/a', path: '/b' }], { a: 1, b: 1 }],
    ['escapes', { 'a/b': 1, 'c~d': 1 }, [{ op: 'remove', path: '/a~1b' }], { 'c~d': 1 }],
    ['tilde before slash', { '~1': 1 }, [{ op: 'remove', path: '/~01' }], {}],
  ];
  for (const [name, target, operations, expected] of cases)
    test(name, () => assert.deepEqual(jsonPatch(target, operations), expected));

  const wrong: readonly (readonly [string, Parameters<typeof jsonPatch>[1]])[] = [
    ['a failed test', [{ op: 'test', path: '/a', value: 2 }]],
    ['removing nothing', [{ op: 'remove', path: '/b' }]],
    ['replacing nothing', [{ op: 'replace', path: '/b', value: 1 }]],
    ['adding under nothing', [{ op: 'add', path: '/b/c', value: 1 }]],
    ['an unknown operation', [{ op: 'sing', path: '/a' }]],
  ];
  for (const [name, operations] of wrong)
    test(`${name} is refused`, () => assert.throws(() => jsonPatch({ a: 1 }, operations)));
});

test('what a manager no longer names goes; what others named stays', () => {
  const current: JsonObject = { data: { mine: '1', theirs: '2' }, containers: [{ name: 'a' }, { name: 'b' }] };
  const before: JsonObject = { data: { mine: '1' }, containers: [{ name: 'a' }] };
  assert.deepEqual(withoutDropped(current, before, { data: {}, containers: [] }), {
    data: { theirs: '2' },
    containers: [{ name: 'b' }],
  });
});
