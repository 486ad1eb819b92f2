import type { Parsed } from '@ciliate/model';
import { SourceError } from './errors.ts';
import { type KubeObject, objectKey } from './kube-object.ts';
import type { SourceLog } from './table-sink.ts';

/** The row of an object; what of it was left out is logged. Throws SourceError BAD_OBJECT for one that makes none. */
export function parsedRow<Row>(source: string, object: KubeObject, parsed: Parsed<Row>, log: SourceLog): Row {
  if ('error' in parsed) {
    const { field, message, remedy } = parsed.error;
    throw new SourceError({ code: 'BAD_OBJECT', object: objectKey(object) }, `${field} ${message}: ${remedy}`);
  }
  for (const { field, message, remedy } of parsed.problems) {
    log('part of an object is not valid, left out', { source, object: objectKey(object), field, message, remedy });
  }
  return parsed.row;
}
