/** JSON patch (RFC 6902), merge patch (RFC 7396), strategic merge patch and server-side apply. */
import { isObject, type Json, type JsonObject, sameJson } from './object.ts';
import { badRequest } from './status.ts';

/** Lists that are merged by a key of their items, by field name; `ports` differs between containers and services. */
const mergeKeys: Readonly<Record<string, readonly string[]>> = {
  containers: ['name'],
  initContainers: ['name'],
  ephemeralContainers: ['name'],
  env: ['name'],
  volumes: ['name'],
  volumeMounts: ['mountPath'],
  ports: ['containerPort', 'port'],
  conditions: ['type'],
  ownerReferences: ['uid'],
  imagePullSecrets: ['name'],
  hostAliases: ['ip'],
  addresses: ['type'],
  taints: ['key'],
  secrets: ['name'],
  podIPs: ['ip'],
};
const setLists = new Set(['finalizers']);

type Items = readonly JsonObject[];

function mergeKey(field: string, items: readonly Json[]): string | undefined {
  if (!items.every(isObject)) return undefined;
  return mergeKeys[field]?.find(key =>
    items.every(item => isObject(item) && (item[key] !== undefined || item.$patch !== undefined)),
  );
}

function mergeList(field: string, current: readonly Json[], patch: readonly Json[]): readonly Json[] {
  const key = mergeKey(field, patch);
  if (setLists.has(field)) return [...new Set([...current, ...patch])];
  if (key === undefined || patch.some(item => isObject(item) && item.$patch === 'replace')) {
    return patch.filter(item => !(isObject(item) && item.$patch === 'replace'));
  }
  const result = [...(current as Items)];
  for (const item of patch as Items) {
    const index = result.findIndex(
      existing =>
        sameJson(existing[key], item[key]) &&
        (field !== 'ports' ||
          existing.protocol === undefined ||
          item.protocol === undefined ||
          existing.protocol === item.protocol),
    );
    if (item.$patch === 'delete') {
      if (index >= 0) result.splice(index, 1);
    } else if (index >= 0) {
      result[index] = strategicMerge(result[index] ?? {}, item);
    } else {
      result.push(item);
    }
  }
  return result;
}

function ordered(list: readonly Json[], order: readonly Json[], field: string): readonly Json[] {
  const key = mergeKey(field, order);
  if (key === undefined) return list;
  const position = (item: Json): number => {
    const index = order.findIndex(wanted => isObject(wanted) && isObject(item) && sameJson(wanted[key], item[key]));
    return index < 0 ? order.length : index;
  };
  return list.toSorted((a, b) => position(a) - position(b));
}

export function strategicMerge(current: JsonObject, patch: JsonObject): JsonObject {
  if (patch.$patch === 'replace') return Object.fromEntries(Object.entries(patch).filter(([key]) => key !== '$patch'));
  const result: Record<string, Json | undefined> = { ...current };
  for (const [name, value] of Object.entries(patch)) {
    const directive = /^\$(deleteFromPrimitiveList|setElementOrder|retainKeys)(?:\/(.+))?$/.exec(name);
    if (directive !== null) {
      const field = directive[2] ?? '';
      const list = result[field];
      const given = Array.isArray(value) ? value : [];
      if (directive[1] === 'deleteFromPrimitiveList' && Array.isArray(list))
        result[field] = list.filter(item => !given.includes(item));
      if (directive[1] === 'retainKeys')
        for (const key of Object.keys(result)) if (!given.includes(key) && patch[key] === undefined) delete result[key];
      continue;
    }
    const before = result[name];
    if (value === null) delete result[name];
    else if (isObject(value) && isObject(before)) result[name] = strategicMerge(before, value);
    else if (isObject(value)) result[name] = strategicMerge({}, value);
    else if (Array.isArray(value)) result[name] = mergeList(name, Array.isArray(before) ? before : [], value);
    else result[name] = value;
  }
  for (const [name, value] of Object.entries(patch)) {
    const field = /^\$setElementOrder\/(.+)$/.exec(name)?.[1];
    const list = field === undefined ? undefined : result[field];
    if (field !== undefined && Array.isArray(list) && Array.isArray(value)) result[field] = ordered(list, value, field);
  }
  return result;
}

export function mergePatch(current: Json | undefined, patch: Json): Json {
  if (!isObject(patch)) return patch;
  const result: Record<string, Json | undefined> = isObject(current) ? { ...current } : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null || value === undefined) delete result[name];
    else result[name] = mergePatch(result[name], value);
  }
  return result;
}

interface Operation {
  readonly op: string;
  readonly path: string;
  readonly from?: string;
  readonly value?: Json;
}

const steps = (path: string): readonly string[] =>
  path
    .split('/')
    .slice(1)
    .map(step => step.replaceAll('~1', '/').replaceAll('~0', '~'));

function change(
  target: Json | undefined,
  path: readonly string[],
  edit: (value: Json | undefined, isListItem: boolean) => Json | undefined,
  whole: string,
): Json | undefined {
  const [step, ...rest] = path;
  if (step === undefined) return edit(target, false);
  if (Array.isArray(target)) {
    const index = step === '-' ? target.length : Number(step);
    const copy: Json[] = [...target];
    if (rest.length > 0) {
      const inner = change(copy[index], rest, edit, whole);
      if (inner !== undefined) copy[index] = inner;
      return copy;
    }
    const value = edit(copy[index], true);
    if (value === undefined) copy.splice(index, 1);
    else copy.splice(index, 0, value);
    return copy;
  }
  if (!isObject(target)) throw badRequest(`the JSON patch path '${whole}' does not exist`);
  const value = change(target[step], rest, edit, whole);
  const result: Record<string, Json | undefined> = { ...target, [step]: value };
  if (value === undefined) delete result[step];
  return result;
}

function valueAt(target: Json | undefined, path: readonly string[]): Json | undefined {
  let found = target;
  for (const step of path) {
    if (Array.isArray(found)) found = found[Number(step)];
    else if (isObject(found)) found = found[step];
    else return undefined;
  }
  return found;
}

function applyOperation(target: Json, operation: Operation): Json {
  const path = steps(operation.path);
  const value = operation.value ?? null;
  const missing = (): never => {
    throw badRequest(`the JSON patch path '${operation.path}' does not exist`);
  };
  const put = (at: readonly string[], content: Json): Json => change(target, at, () => content, operation.path) ?? null;
  switch (operation.op) {
    case 'add':
      return put(path, value);
    case 'replace': {
      if (valueAt(target, path) === undefined) return missing();
      const removed = change(target, path, () => undefined, operation.path) ?? null;
      return change(removed, path, () => value, operation.path) ?? null;
    }
    case 'remove':
      if (valueAt(target, path) === undefined) return missing();
      return change(target, path, () => undefined, operation.path) ?? null;
    case 'test':
      if (!sameJson(valueAt(target, path), value))
        throw badRequest(`the JSON patch test of '${operation.path}' failed`);
      return target;
    case 'copy':
    case 'move': {
      const from = steps(operation.from ?? '');
      const content = valueAt(target, from);
      if (content === undefined) return missing();
      const base = operation.op === 'move' ? (change(target, from, () => undefined, operation.path) ?? null) : target;
      return change(base, path, () => content, operation.path) ?? null;
    }
    default:
      throw badRequest(`the JSON patch operation '${operation.op}' is unknown`);
  }
}

export function jsonPatch(current: Json, operations: readonly Operation[]): Json {
  return operations.reduce(applyOperation, current);
}

/** Fields that a manager no longer names leave the object; the rest merges by key. */
export function withoutDropped(current: JsonObject, before: JsonObject, after: JsonObject): JsonObject {
  const result: Record<string, Json | undefined> = { ...current };
  for (const [name, old] of Object.entries(before)) {
    const now = after[name];
    const there = result[name];
    if (now === undefined) {
      delete result[name];
    } else if (isObject(old) && isObject(now) && isObject(there)) {
      result[name] = withoutDropped(there, old, now);
    } else if (Array.isArray(old) && Array.isArray(now) && Array.isArray(there)) {
      const key = mergeKey(name, old);
      if (key === undefined) continue;
      result[name] = there.filter(item => {
        const same = (list: readonly Json[]): boolean =>
          list.some(other => isObject(other) && isObject(item) && sameJson(other[key], item[key]));
        return !same(old) || same(now);
      });
    }
  }
  return result;
}
