/** Objects as YAML for people to copy: block style, quotes only where they are needed. */

export function yamlText(value: unknown, indent = ''): string {
  if (Array.isArray(value)) {
    if (value.length === 0) return '[]';
    return value.map((item: unknown) => `${indent}- ${yamlText(item, `${indent}  `).trimStart()}`).join('\n');
  }
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value).filter(([, field]) => field !== undefined);
    if (entries.length === 0) return '{}';
    return entries.map(([key, field]) => `${indent}${scalar(key)}:${fieldText(field, indent)}`).join('\n');
  }
  return scalar(value);
}

function fieldText(field: unknown, indent: string): string {
  if (typeof field !== 'object' || field === null) return ` ${scalar(field)}`;
  const inner = yamlText(field, `${indent}  `);
  return inner === '{}' || inner === '[]' ? ` ${inner}` : `\n${inner}`;
}

const plain = /^[A-Za-z_/][A-Za-z0-9_./-]*$/;
const words = new Set(['true', 'false', 'null', 'yes', 'no', 'on', 'off', 'y', 'n']);

function scalar(value: unknown): string {
  if (typeof value !== 'string') return String(value);
  return plain.test(value) && !words.has(value.toLowerCase()) ? value : `'${value.replaceAll("'", "''")}'`;
}
