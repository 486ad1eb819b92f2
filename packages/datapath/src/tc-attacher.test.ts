import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chooseTcMode } from './tc-attacher.ts';

const cases = [
  ['auto', true, 'tcx'],
  ['auto', false, 'clsact'],
  ['tcx', true, 'tcx'],
  ['clsact', true, 'clsact'],
  ['clsact', false, 'clsact'],
] as const;

for (const [asked, supported, mode] of cases) {
  test(`--tc-attach ${asked} on a kernel ${supported ? 'with' : 'without'} tcx: ${mode}`, () => {
    assert.equal(
      chooseTcMode(asked, () => supported),
      mode,
    );
  });
}

test('--tc-attach tcx on a kernel without: a missing feature with its remedy', () => {
  assert.throws(() => chooseTcMode('tcx', () => false), /FEATURE_MISSING|--tc-attach auto/);
});
