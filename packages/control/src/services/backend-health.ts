/** Services whose backends are probed: who is not known to answer gets nothing. */
import { type FrontendBackend, objectKey, portKey, type ServiceRow, type Tables } from '@ciliate/model';

export type BackendHealth = Pick<Tables['backendHealth'], 'get'>;

/**
 * Of a service that asks for it: backends that answer stay as they are, those that do not are quarantined (they get flows when all others are
 * gone), those of which nothing is known yet are left out.
 */
export function afterHealthChecks(
  service: ServiceRow,
  backends: readonly FrontendBackend[],
  health: BackendHealth | undefined,
): readonly FrontendBackend[] {
  if (service.healthCheck === undefined || health === undefined) return backends;
  return backends.flatMap(backend => {
    const known = health.get(`${objectKey(service)} ${portKey(backend)}`);
    if (known === undefined) return [];
    return [known.healthy || backend.state !== 'active' ? backend : ({ ...backend, state: 'quarantined' } as const)];
  });
}
