/** What controllers use of the store: they run in the API server's process and see every change as it is made. */
import type { KubeObject } from '../apiserver/object.ts';
import type { Registry, Resource } from '../apiserver/registry.ts';
import type { Resources } from '../apiserver/resources.ts';
import { ApiError } from '../apiserver/status.ts';
import type { Store } from '../apiserver/store.ts';

export interface ControllerModules {
  readonly store: Store;
  readonly registry: Registry;
  readonly resources: Resources;
}

export class Client {
  readonly #modules: ControllerModules;

  constructor(modules: ControllerModules) {
    this.#modules = modules;
  }

  #resource(kind: string): Resource {
    const found = this.#modules.registry.ofKind(kind);
    if (found === undefined) throw new Error(`no resource of kind ${kind}`);
    return found;
  }

  list(kind: string, namespace?: string): readonly KubeObject[] {
    return this.#modules.store.list(this.#resource(kind), namespace);
  }

  get(kind: string, namespace: string | undefined, name: string): KubeObject | undefined {
    return this.#modules.store.get(this.#resource(kind), namespace, name);
  }

  create(object: KubeObject): KubeObject {
    return this.#modules.resources.create(this.#resource(object.kind), object, false);
  }

  /** Creates unless one of the name is there. */
  ensure(object: KubeObject): void {
    if (this.get(object.kind, object.metadata.namespace, object.metadata.name) === undefined) this.create(object);
  }

  /** Replaces without asking for the version: controllers always start from what is stored. */
  replace(object: KubeObject): void {
    const { resourceVersion: _version, ...metadata } = object.metadata;
    this.#modules.store.update(this.#resource(object.kind), { ...object, metadata });
  }

  delete(object: KubeObject): void {
    try {
      this.#modules.resources.delete(this.#resource(object.kind), object, {});
    } catch (error) {
      if (!(error instanceof ApiError) || error.httpCode !== 404) throw error;
    }
  }

  /** Removes at once, grace or not. */
  remove(object: KubeObject): void {
    if (this.get(object.kind, object.metadata.namespace, object.metadata.name) === undefined) return;
    this.#modules.store.remove(this.#resource(object.kind), object);
  }

  /** What names an object of this uid among its owners. */
  dependents(uid: string): readonly KubeObject[] {
    return this.#modules.store.dependents(uid);
  }

  namespacedKinds(): readonly string[] {
    return [
      ...new Set(
        this.#modules.registry
          .all()
          .filter(resource => resource.namespaced)
          .map(resource => resource.kind),
      ),
    ];
  }
}

export function isOwnedBy(object: KubeObject, owner: KubeObject): boolean {
  return (object.metadata.ownerReferences ?? []).some(
    reference => reference.uid === owner.metadata.uid && reference.controller === true,
  );
}

export function ownerReference(owner: KubeObject): {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  readonly controller: true;
  readonly blockOwnerDeletion: true;
} {
  return {
    apiVersion: owner.apiVersion,
    kind: owner.kind,
    name: owner.metadata.name,
    uid: owner.metadata.uid ?? '',
    controller: true,
    blockOwnerDeletion: true,
  };
}
