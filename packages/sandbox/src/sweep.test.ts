import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { findCgroup2 } from './host/cgroup.ts';
import { layoutOf, nodeLayout } from './layout.ts';
import { planSweep } from './sweep.ts';

const mounts = [
  'tmpfs /run tmpfs rw 0 0',
  'cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0',
  'bpf /run/ciliate/walk/node-1/bpf bpf rw 0 0',
  'x /run/ciliate/walk/node-1/bpf/deep\\040er x rw 0 0',
  'bpf /run/ciliate/walker/node-1/bpf bpf rw 0 0',
  'bpf /sys/fs/bpf bpf rw 0 0',
].join('\n');

describe('what a sweep removes', () => {
  const layout = layoutOf('walk');

  test('mounts below the own directory only, innermost first', () => {
    assert.deepEqual(planSweep(layout, undefined, [], mounts).mounts, [
      '/run/ciliate/walk/node-1/bpf/deep er',
      '/run/ciliate/walk/node-1/bpf',
    ]);
  });

  test('the cgroup is found without a state file', () => {
    assert.equal(planSweep(layout, undefined, [], mounts).cgroup, '/sys/fs/cgroup/unified/ciliate-walk');
  });

  test('recorded namespaces once, and never one that does not bear our prefix', () => {
    const pods = ['ciliate-walk-pod-1', 'ciliate-walk-pod-1', 'somebody-else', 'ciliate-pod-2'];
    assert.deepEqual(planSweep(layout, undefined, pods, mounts).namespaces, ['ciliate-walk-pod-1']);
  });
});

describe('names', () => {
  test('the default sandbox has the short ones', () => {
    assert.equal(layoutOf('sandbox').lan, 'ciliate-lan');
    assert.equal(layoutOf('walk').outside, 'ciliate-walk-outside');
    assert.equal(nodeLayout(layoutOf('sandbox'), '/cg', 2).cgroup, '/cg/ciliate-sandbox/node-2');
  });

  for (const name of ['', 'lan', 'node-1', 'pod', '../x', 'UP', 'a b']) {
    test(`'${name}' is refused`, () => {
      assert.throws(() => layoutOf(name), { data: { code: 'BAD_NAME', name } });
    });
  }

  test('cgroup2 is found, or is not there', () => {
    assert.equal(findCgroup2(mounts), '/sys/fs/cgroup/unified');
    assert.equal(findCgroup2('tmpfs /run tmpfs rw 0 0'), undefined);
  });
});
