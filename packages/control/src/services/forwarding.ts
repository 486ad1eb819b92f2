/** How packets of a service reach a backend on another node: with the node's address (SNAT), or the client's (DSR). */
import type { ServicePortRow, ServiceRow } from '@ciliate/model';

export interface Forwarding {
  /** hybrid: DSR for TCP alone. */
  readonly mode: 'snat' | 'dsr' | 'hybrid';
  /** A service may say otherwise by its annotation. */
  readonly byAnnotation: boolean;
}

type Annotated = Pick<ServiceRow, 'forwardingMode' | 'exposedNodes'>;

/**
 * A service that some nodes alone have (service.cilium.io/node) is always translated: the others, where its backends may be, do not know
 * its frontends and could not answer in their name.
 */
export function usesDsr(service: Annotated, port: Pick<ServicePortRow, 'protocol'>, forwarding: Forwarding): boolean {
  if (service.exposedNodes !== undefined) return false;
  const mode = forwarding.byAnnotation && service.forwardingMode !== '' ? service.forwardingMode : forwarding.mode;
  return mode === 'dsr' || (mode === 'hybrid' && port.protocol === 'TCP');
}

/** Why the service is not forwarded as its annotation says, and the remedy. */
export function forwardingProblem(service: Annotated, forwarding: Forwarding): string | undefined {
  const { forwardingMode, exposedNodes } = service;
  const annotation = `service.cilium.io/forwarding-mode: ${forwardingMode}`;
  if (forwardingMode === '') return undefined;
  if (!forwarding.byAnnotation && forwardingMode !== forwarding.mode) {
    return `${annotation} is left out, and ${forwarding.mode} used as for all: start the agents with --bpf-lb-mode-annotation`;
  }
  if (forwardingMode === 'dsr' && exposedNodes !== undefined) {
    return `${annotation} is left out: a service of some nodes alone (service.cilium.io/node, node-selector) is forwarded by snat`;
  }
  return undefined;
}
