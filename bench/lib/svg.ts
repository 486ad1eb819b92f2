/** Charts as one SVG, for the docs. */
import type { BarChart, Chart } from './section.ts';
import { drawLines, lineHeight } from './svg-lines.ts';
import { colours, escapeText, left, short, width } from './svg-style.ts';

const bar = 13;

/** JSON makes null of what could not be measured. */
function isMeasured(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value);
}

function barHeight({ series, groups }: BarChart): number {
  return 60 + groups.length * (series.length * bar + 12) + 10;
}

function drawBars(chart: BarChart, top: number): readonly string[] {
  const { title, unit, series, groups } = chart;
  const largest = Math.max(...groups.flatMap(group => group.values.filter(isMeasured)), Number.MIN_VALUE);
  const scale = (width - left - 90) / largest;
  const parts = [
    `<text x="10" y="${top + 20}" font-size="15" font-weight="bold">${escapeText(title)} (${unit})</text>`,
  ];
  series.forEach((name, i) => {
    const x = left + i * 130;
    parts.push(`<rect x="${x}" y="${top + 30}" width="10" height="10" fill="${colours[i % colours.length]}"/>`);
    parts.push(`<text x="${x + 15}" y="${top + 39}" font-size="11">${escapeText(name)}</text>`);
  });
  groups.forEach((group, row) => {
    const y = top + 52 + row * (series.length * bar + 12);
    const middle = y + (series.length * bar) / 2 + 4;
    parts.push(`<text x="${left - 8}" y="${middle}" font-size="11" text-anchor="end">${escapeText(group.name)}</text>`);
    group.values.forEach((value, i) => {
      if (!isMeasured(value)) return;
      const length = Math.max(1, value * scale);
      const place = `x="${left}" y="${y + i * bar}" width="${length.toFixed(1)}" height="${bar - 2}"`;
      parts.push(`<rect ${place} fill="${colours[i % colours.length]}"/>`);
      parts.push(`<text x="${left + length + 5}" y="${y + i * bar + 9}" font-size="10">${short(value)}</text>`);
    });
  });
  return parts;
}

const chartHeight = (chart: Chart): number => ('lines' in chart ? lineHeight : barHeight(chart));

const drawChart = (chart: Chart, top: number): readonly string[] =>
  'lines' in chart ? drawLines(chart, top) : drawBars(chart, top);

export function svgOf(charts: readonly Chart[]): string {
  const tops = charts.map((_, i) => charts.slice(0, i).reduce((sum, chart) => sum + chartHeight(chart), 0));
  const height = charts.reduce((sum, chart) => sum + chartHeight(chart), 0);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif">`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    ...charts.flatMap((chart, i) => drawChart(chart, tops[i] ?? 0)),
    '</svg>',
    '',
  ].join('\n');
}
