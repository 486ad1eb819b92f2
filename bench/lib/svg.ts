/** Bar charts as one SVG, for the docs. */
import type { Chart } from './section.ts';

const colours = ['#5b8def', '#f2994a', '#27ae60', '#9b51e0', '#eb5757'];
const width = 860;
const left = 190;
const bar = 13;

const escapeText = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');

/** JSON makes null of what could not be measured. */
function isMeasured(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value);
}

function short(value: number): string {
  if (value >= 10_000) return `${(value / 1000).toFixed(0)}k`;
  return value >= 100 ? value.toFixed(0) : value.toFixed(2);
}

function chartHeight({ series, groups }: Chart): number {
  return 60 + groups.length * (series.length * bar + 12) + 10;
}

function drawChart(chart: Chart, top: number): readonly string[] {
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
