/** Of the record itself: a name that a user has chosen may also be one that every object has ('constructor'). */
export function own<Value>(record: Readonly<Record<string, Value>>, key: string): Value | undefined {
  return Object.hasOwn(record, key) ? record[key] : undefined;
}
