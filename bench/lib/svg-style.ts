export const colours = ['#5b8def', '#f2994a', '#27ae60', '#9b51e0', '#eb5757'];
export const width = 860;
/** Where charts begin: names stand to the left. */
export const left = 190;

export const escapeText = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');

export function short(value: number): string {
  if (value >= 10_000) return `${(value / 1000).toFixed(0)}k`;
  return value >= 100 ? value.toFixed(0) : value.toFixed(2);
}
