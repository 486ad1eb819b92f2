import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Chart } from './section.ts';
import { svgOf } from './svg.ts';

const bars: Chart = {
  title: 'A < B & C',
  unit: '×',
  series: ['one', 'two'],
  groups: [{ name: 'group', values: [1, undefined] }],
};
const lines: Chart = {
  title: 'Growth',
  x: 'n',
  y: 'ms',
  lines: [
    {
      name: 'in proportion',
      points: [
        [10, 1],
        [1000, 100],
      ],
    },
    {
      name: 'constant',
      points: [
        [10, 3],
        [1000, 3],
      ],
    },
  ],
};

test('names are escaped, what could not be measured has no bar', () => {
  const svg = svgOf([bars]);
  assert.match(svg, />A &lt; B &amp; C \(×\)</);
  assert.equal(svg.match(/<rect/g)?.length, 1 + 2 + 1, 'the ground, two of the legend, one bar');
});

test('over logarithmic axes what grows in proportion is a diagonal, what does not is level', () => {
  const paths = [...svgOf([bars, lines]).matchAll(/points="([^"]+)"/g)].map(([, path = '']) =>
    path.split(' ').map(point => point.split(',').map(Number)),
  );
  const [first = [], second = []] = paths;
  const height = (path: readonly (readonly number[])[]) => (path[0]?.[1] ?? 0) - (path[1]?.[1] ?? 0);
  assert.equal(height(first), 200, 'two decades of two');
  assert.equal(height(second), 0);
});
