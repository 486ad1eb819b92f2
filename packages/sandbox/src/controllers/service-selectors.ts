/** Which services select a pod, found by the pod's labels: a change of a pod must not look at every service. */
import { type KubeObject, objectAt } from '../apiserver/object.ts';

const termsOf = (service: KubeObject): readonly (readonly [string, unknown])[] =>
  Object.entries(objectAt(service, 'spec', 'selector'));

/** A service is filed under one term of its selector; a pod that it selects has this label. */
function termKey(service: KubeObject): string | undefined {
  const [first] = termsOf(service).toSorted(([a], [b]) => a.localeCompare(b));
  return first === undefined ? undefined : `${service.metadata.namespace ?? ''}/${first[0]}=${String(first[1])}`;
}

export class ServiceSelectors {
  readonly #byTerm = new Map<string, Map<string, KubeObject>>();

  add(service: KubeObject): void {
    const key = termKey(service);
    if (key === undefined) return;
    const filed = this.#byTerm.get(key) ?? new Map<string, KubeObject>();
    this.#byTerm.set(key, filed.set(service.metadata.name, service));
  }

  remove(service: KubeObject): void {
    const key = termKey(service) ?? '';
    const filed = this.#byTerm.get(key);
    filed?.delete(service.metadata.name);
    if (filed?.size === 0) this.#byTerm.delete(key);
  }

  selecting(pod: KubeObject): readonly KubeObject[] {
    const labels = pod.metadata.labels ?? {};
    return Object.entries(labels).flatMap(([key, value]) =>
      [...(this.#byTerm.get(`${pod.metadata.namespace ?? ''}/${key}=${value}`)?.values() ?? [])].filter(service =>
        termsOf(service).every(([name, wanted]) => labels[name] === wanted),
      ),
    );
  }
}
