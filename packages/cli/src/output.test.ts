import assert from 'node:assert/strict';
import { test } from 'node:test';
import { alignColumns } from './output.ts';

test('columns are aligned, without blanks at the end of a line', () => {
  assert.equal(
    alignColumns([
      ['ID', 'Frontend'],
      ['1', '10.96.0.1:443/TCP'],
      ['12', 'x'],
    ]),
    'ID   Frontend\n1    10.96.0.1:443/TCP\n12   x',
  );
});

test('a cell with several lines keeps its column', () => {
  assert.equal(
    alignColumns([
      ['1', 'a => b', 'end'],
      ['2', 'first\nsecond', 'end'],
    ]),
    '1   a => b   end\n2   first    end\n    second',
  );
});
