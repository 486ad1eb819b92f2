/** Objects in memory, one counter of resource versions, and the recent changes for watches. Written to disk debounced, if told so. */
import { randomUUID } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { type KubeObject, sameJson } from './object.ts';
import type { Resource } from './registry.ts';
import { alreadyExists, conflict, gone, notFound } from './status.ts';

export interface StoreEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly object: KubeObject;
  /** The object before; for selectors, because leaving a selection is a deletion. */
  readonly before: KubeObject | undefined;
  readonly version: number;
}

/** By name in a namespace ('' for what has none). */
type Bucket = Map<string, Map<string, KubeObject>>;

const historySize = 4096;
/** A crash loses what was not yet on disk; versions that were given out for it must not be given again. */
const restartGap = 100_000;

export class Store {
  readonly #buckets = new Map<string, Bucket>();
  readonly #history = new Map<string, StoreEvent[]>();
  readonly #emitter = new EventEmitter();
  readonly #file: string | undefined;
  #version = 1;
  /** The newest change of a bucket that its history no longer has. */
  readonly #forgotten = new Map<string, number>();
  /** Changes up to here are not in the history: watches from before are told to list again. */
  #floor = 0;
  /** uid of an owner → what names it, by 'bucket namespace/name'. */
  readonly #owned = new Map<string, Map<string, KubeObject>>();
  #saving: NodeJS.Timeout | undefined;

  constructor(file?: string) {
    this.#file = file;
    this.#emitter.setMaxListeners(0);
    if (file !== undefined && existsSync(file)) this.#load(file);
  }

  get version(): number {
    return this.#version;
  }

  #load(file: string): void {
    const saved: { readonly version: number; readonly buckets: Readonly<Record<string, readonly KubeObject[]>> } =
      JSON.parse(readFileSync(file, 'utf8'));
    this.#version = saved.version + restartGap;
    this.#floor = this.#version;
    for (const [name, objects] of Object.entries(saved.buckets)) for (const object of objects) this.#put(name, object);
  }

  #put(bucketName: string, object: KubeObject): void {
    const { namespace = '', name } = object.metadata;
    const bucket = this.#buckets.get(bucketName) ?? new Map();
    this.#buckets.set(bucketName, bucket);
    const inside = bucket.get(namespace) ?? new Map();
    bucket.set(namespace, inside);
    this.#forgetOwners(bucketName, inside.get(name));
    inside.set(name, object);
    for (const { uid } of object.metadata.ownerReferences ?? []) {
      const dependents = this.#owned.get(uid) ?? new Map();
      this.#owned.set(uid, dependents.set(`${bucketName} ${namespace}/${name}`, object));
    }
  }

  #drop(bucketName: string, { metadata }: KubeObject): void {
    const inside = this.#buckets.get(bucketName)?.get(metadata.namespace ?? '');
    this.#forgetOwners(bucketName, inside?.get(metadata.name));
    inside?.delete(metadata.name);
    if (inside?.size === 0) this.#buckets.get(bucketName)?.delete(metadata.namespace ?? '');
  }

  #forgetOwners(bucketName: string, object: KubeObject | undefined): void {
    for (const { uid } of object?.metadata.ownerReferences ?? []) {
      const dependents = this.#owned.get(uid);
      dependents?.delete(`${bucketName} ${object?.metadata.namespace ?? ''}/${object?.metadata.name}`);
      if (dependents?.size === 0) this.#owned.delete(uid);
    }
  }

  #save(): void {
    const file = this.#file;
    if (file === undefined || this.#saving !== undefined) return;
    this.#saving = setTimeout(() => this.flush(), 300);
  }

  /** Writes what is pending. */
  flush(): void {
    clearTimeout(this.#saving);
    this.#saving = undefined;
    if (this.#file === undefined) return;
    mkdirSync(dirname(this.#file), { recursive: true });
    const buckets = Object.fromEntries(
      [...this.#buckets].map(([name, bucket]) => [name, [...bucket.values()].flatMap(inside => [...inside.values()])]),
    );
    writeFileSync(`${this.#file}.new`, JSON.stringify({ version: this.#version, buckets }));
    renameSync(`${this.#file}.new`, this.#file);
  }

  /** Versions of one custom resource share their objects. */
  #name(resource: Resource): string {
    return `${resource.group}/${resource.plural}`;
  }

  get(resource: Resource, namespace: string | undefined, name: string): KubeObject | undefined {
    const bucket = this.#buckets.get(this.#name(resource));
    return bucket?.get(resource.namespaced ? (namespace ?? '') : '')?.get(name);
  }

  require(resource: Resource, namespace: string | undefined, name: string): KubeObject {
    const found = this.get(resource, namespace, name);
    if (found === undefined) throw notFound(resource, name);
    return found;
  }

  list(resource: Resource, namespace?: string): readonly KubeObject[] {
    const bucket = this.#buckets.get(this.#name(resource));
    if (bucket === undefined) return [];
    if (namespace !== undefined) return [...(bucket.get(namespace)?.values() ?? [])];
    return [...bucket.values()].flatMap(inside => [...inside.values()]);
  }

  /** What names an object of this uid among its owners. */
  dependents(uid: string): readonly KubeObject[] {
    return [...(this.#owned.get(uid)?.values() ?? [])];
  }

  #publish(
    resource: Resource,
    type: StoreEvent['type'],
    object: KubeObject,
    before: KubeObject | undefined,
  ): KubeObject {
    this.#version += 1;
    const stamped: KubeObject = { ...object, metadata: { ...object.metadata, resourceVersion: String(this.#version) } };
    const name = this.#name(resource);
    if (type === 'DELETED') this.#drop(name, stamped);
    else this.#put(name, stamped);
    const event: StoreEvent = { type, object: stamped, before, version: this.#version };
    const history = this.#history.get(name) ?? [];
    history.push(event);
    // Trimmed by half, not one by one: moving 4,096 entries for every change would cost more than the change.
    if (history.length >= 2 * historySize) {
      this.#forgotten.set(name, history[historySize - 1]?.version ?? 0);
      history.splice(0, historySize);
    }
    this.#history.set(name, history);
    this.#save();
    this.#emitter.emit(name, event);
    this.#emitter.emit('any', resource, event);
    return stamped;
  }

  create(resource: Resource, object: KubeObject): KubeObject {
    const { metadata } = object;
    if (this.get(resource, metadata.namespace, metadata.name) !== undefined)
      throw alreadyExists(resource, metadata.name);
    const created: KubeObject = {
      ...object,
      metadata: {
        ...metadata,
        uid: randomUUID(),
        generation: 1,
        creationTimestamp: new Date().toISOString().replace(/\.\d+Z$/, 'Z'),
      },
    };
    return this.#publish(resource, 'ADDED', created, undefined);
  }

  /**
   * Replaces. An object that gives a resourceVersion must be the newest; one that changes nothing keeps its version. The generation
   * grows when the spec changes. The last finalizer's removal from an object being deleted ends it.
   */
  update(resource: Resource, object: KubeObject): KubeObject {
    const { namespace, name, resourceVersion } = object.metadata;
    const before = this.require(resource, namespace, name);
    if (
      resourceVersion !== undefined &&
      resourceVersion !== '' &&
      resourceVersion !== before.metadata.resourceVersion
    ) {
      throw conflict(
        resource,
        name,
        'the object has been modified; please apply your changes to the latest version and try again',
      );
    }
    const { uid = '', creationTimestamp = '', generation = 1, deletionTimestamp } = before.metadata;
    const grown = sameJson(before.spec, object.spec) ? generation : generation + 1;
    const after: KubeObject = {
      ...object,
      metadata: {
        ...object.metadata,
        uid,
        creationTimestamp,
        generation: grown,
        resourceVersion: before.metadata.resourceVersion ?? '',
        ...(deletionTimestamp === undefined ? {} : { deletionTimestamp }),
      },
    };
    if (sameJson(before, after)) return before;
    if (
      deletionTimestamp !== undefined &&
      (after.metadata.finalizers ?? []).length === 0 &&
      (before.metadata.finalizers ?? []).length > 0
    ) {
      return this.#publish(resource, 'DELETED', after, before);
    }
    return this.#publish(resource, 'MODIFIED', after, before);
  }

  /** Removes at once. */
  remove(resource: Resource, object: KubeObject): KubeObject {
    return this.#publish(resource, 'DELETED', object, object);
  }

  /** Marks as being deleted; finalizers, or the kubelet, end it. */
  markDeleted(resource: Resource, object: KubeObject, gracePeriodSeconds: number): KubeObject {
    const deletionTimestamp = new Date(Date.now() + gracePeriodSeconds * 1000).toISOString().replace(/\.\d+Z$/, 'Z');
    const metadata = { ...object.metadata, deletionTimestamp, deletionGracePeriodSeconds: gracePeriodSeconds };
    return this.#publish(resource, 'MODIFIED', { ...object, metadata }, object);
  }

  /** Every change after `version`, then those to come. Throws 410 when some of them are forgotten. */
  watch(resource: Resource, version: number, listener: (event: StoreEvent) => void): () => void {
    const history = this.#history.get(this.#name(resource)) ?? [];
    const oldest = Math.max(this.#floor, this.#forgotten.get(this.#name(resource)) ?? 0);
    if (version > 0 && (version < oldest || version > this.#version))
      throw gone(`too old resource version: ${version} (${this.#version})`);
    for (const event of history) if (event.version > version) listener(event);
    const name = this.#name(resource);
    this.#emitter.on(name, listener);
    return () => this.#emitter.off(name, listener);
  }

  /** Every change of anything; for controllers. */
  subscribe(listener: (resource: Resource, event: StoreEvent) => void): void {
    this.#emitter.on('any', listener);
  }
}
