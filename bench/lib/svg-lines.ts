/** A line chart over logarithmic axes. */
import type { LineChart } from './section.ts';
import { colours, escapeText, left, short, width } from './svg-style.ts';

const plot = 200;
/** Of a whole chart, title and axis included. */
export const lineHeight = plot + 110;

/** Whole powers of ten around the values. */
function decades(values: readonly number[]): readonly [low: number, high: number] {
  const known = values.filter(value => value > 0 && Number.isFinite(value));
  const low = Math.floor(Math.log10(Math.min(...known)));
  return [low, Math.max(low + 1, Math.ceil(Math.log10(Math.max(...known))))];
}

interface Frame {
  readonly x: (value: number) => number;
  readonly y: (value: number) => number;
  readonly grid: readonly string[];
}

function frameOf(chart: LineChart, top: number): Frame {
  const points = chart.lines.flatMap(line => line.points);
  const [x0, x1] = decades(points.map(([x]) => x));
  const [y0, y1] = decades(points.map(([, y]) => y));
  const right = width - 110;
  const bottom = top + 52 + plot;
  const x = (value: number) => left + ((Math.log10(value) - x0) / (x1 - x0)) * (right - left);
  const y = (value: number) => bottom - ((Math.log10(value) - y0) / (y1 - y0)) * plot;
  const powers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => 10 ** (from + i));
  const grid = [
    ...powers(x0, x1).flatMap(value => [
      `<line x1="${x(value)}" y1="${bottom - plot}" x2="${x(value)}" y2="${bottom}" stroke="#dddddd"/>`,
      `<text x="${x(value)}" y="${bottom + 15}" font-size="10" text-anchor="middle">${value}</text>`,
    ]),
    ...powers(y0, y1).flatMap(value => [
      `<line x1="${left}" y1="${y(value)}" x2="${right}" y2="${y(value)}" stroke="#dddddd"/>`,
      `<text x="${left - 8}" y="${y(value) + 3}" font-size="10" text-anchor="end">${value}</text>`,
    ]),
    `<text x="${(left + right) / 2}" y="${bottom + 30}" font-size="11" text-anchor="middle">${escapeText(chart.x)}</text>`,
  ];
  return { x, y, grid };
}

export function drawLines(chart: LineChart, top: number): readonly string[] {
  const { x, y, grid } = frameOf(chart, top);
  const parts = [
    `<text x="10" y="${top + 20}" font-size="15" font-weight="bold">${escapeText(chart.title)} (${escapeText(chart.y)})</text>`,
    ...grid,
  ];
  chart.lines.forEach(({ name, points }, i) => {
    const colour = colours[i % colours.length];
    const at = left + i * 200;
    parts.push(`<rect x="${at}" y="${top + 30}" width="10" height="10" fill="${colour}"/>`);
    parts.push(`<text x="${at + 15}" y="${top + 39}" font-size="11">${escapeText(name)}</text>`);
    const path = points.map(([px, py]) => `${x(px).toFixed(1)},${y(py).toFixed(1)}`).join(' ');
    parts.push(`<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="2"/>`);
    for (const [px, py] of points) {
      parts.push(`<circle cx="${x(px).toFixed(1)}" cy="${y(py).toFixed(1)}" r="3" fill="${colour}"/>`);
      parts.push(
        `<text x="${x(px).toFixed(1)}" y="${(y(py) - 6).toFixed(1)}" font-size="9" text-anchor="middle">${short(py)}</text>`,
      );
    }
  });
  return parts;
}
