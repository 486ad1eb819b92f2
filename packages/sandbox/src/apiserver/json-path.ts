/** The JSON paths of printer columns (apiextensions additionalPrinterColumns): fields, indexes, `\.`, filters by equality. */

type Step =
  | { readonly field: string }
  | { readonly index: number }
  | { readonly field: string; readonly equals: string };

const token = /\.?((?:\\.|[^.[\]\\])+)|\[(\d+)\]|\[\?\(@\.((?:\\.|[^=\\])+?)\s*==\s*(?:"([^"]*)"|'([^']*)')\)\]/g;

function steps(path: string): readonly Step[] {
  return [...path.matchAll(token)].map(([, field, index, filter, double, single]) => {
    if (field !== undefined) return { field: unescaped(field) };
    if (index !== undefined) return { index: Number(index) };
    return { field: unescaped(filter ?? ''), equals: double ?? single ?? '' };
  });
}

const unescaped = (text: string): string => text.replaceAll(/\\(.)/g, '$1');

/** What the path leads to, as a cell's text; '' when it leads nowhere. */
export function jsonPathText(object: unknown, path: string): string {
  const found = steps(path).reduce<unknown>(follow, object);
  if (found === undefined || found === null) return '';
  return typeof found === 'object' ? JSON.stringify(found) : String(found);
}

function follow(value: unknown, step: Step): unknown {
  if ('index' in step) return Array.isArray(value) ? value[step.index] : undefined;
  if ('equals' in step) {
    return Array.isArray(value) ? value.find(item => String(fieldOf(item, step.field)) === step.equals) : undefined;
  }
  return fieldOf(value, step.field);
}

function fieldOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>)[name] : undefined;
}
