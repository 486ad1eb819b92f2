/** Deep equality of plain values, arrays and byte arrays. Functions and class instances are equal only when identical. */
export function deepEqual(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (a instanceof Uint8Array || b instanceof Uint8Array) {
    return a instanceof Uint8Array && b instanceof Uint8Array && sameItems(a, b);
  }
  if (a instanceof Uint32Array || b instanceof Uint32Array) {
    return a instanceof Uint32Array && b instanceof Uint32Array && sameItems(a, b);
  }
  if (Array.isArray(a) || Array.isArray(b)) return Array.isArray(a) && Array.isArray(b) && sameItems(a, b);
  return sameFields(a, b, undefined);
}

/** Deep equality of two rows, whatever their status: the reconciler's field does not make a row a new one. */
export function sameRow(a: object, b: object): boolean {
  return a === b || sameFields(a, b, 'status');
}

function sameItems(a: ArrayLike<unknown>, b: ArrayLike<unknown>): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i += 1) if (!deepEqual(a[i], b[i])) return false;
  return true;
}

function sameFields(a: object, b: object, except: string | undefined): boolean {
  const fieldsA = a as Readonly<Record<string, unknown>>;
  const fieldsB = b as Readonly<Record<string, unknown>>;
  const names = Object.keys(fieldsA);
  if (size(names, except) !== size(Object.keys(fieldsB), except)) return false;
  for (const name of names) {
    if (name === except) continue;
    if (!Object.hasOwn(fieldsB, name) || !deepEqual(fieldsA[name], fieldsB[name])) return false;
  }
  return true;
}

function size(names: readonly string[], except: string | undefined): number {
  return except !== undefined && names.includes(except) ? names.length - 1 : names.length;
}
