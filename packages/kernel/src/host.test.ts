import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KernelError } from './errors.ts';
import { probeFeatures, requireFeatures } from './host.ts';

const feature = (name: string, present: boolean) => ({ name, present, remedy: `get ${name}` });

test('a kernel with everything is not complained about', () => {
  requireFeatures([feature('Linux 5.15', true), feature('kernel BTF', true)]);
});

test('everything that is missing is named at once, each with its remedy, and nothing else', () => {
  assert.throws(
    () => requireFeatures([feature('Linux 5.15', true), feature('kernel BTF', false), feature('bpffs', false)]),
    (error: unknown) => {
      assert.ok(error instanceof KernelError);
      assert.equal(error.code, 'FEATURE_MISSING');
      assert.match(error.message, /kernel BTF: get kernel BTF\n.*bpffs: get bpffs$/);
      assert.doesNotMatch(error.message, /5\.15/);
      return true;
    },
  );
});

test('a folder that is no bpffs, and no cgroup v2, are seen, with the command that helps', () => {
  const found = probeFeatures({ bpfRoot: '/proc', cgroupRoot: undefined });
  const of = (name: string) => found.find(one => one.name === name);
  assert.equal(of('bpffs')?.present, false);
  assert.match(of('bpffs')?.remedy ?? '', /mount -t bpf bpf \/proc/);
  assert.equal(of('cgroup v2')?.present, false);
  assert.match(of('cgroup v2')?.remedy ?? '', /mount -t cgroup2/);
});
