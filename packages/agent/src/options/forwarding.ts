import type { Forwarding } from '@ciliate/control';
import type { AgentOptions } from './agent-options.ts';

type ForwardingOptions = Pick<AgentOptions, 'bpf-lb-mode' | 'bpf-lb-mode-annotation'>;

export function forwardingOf(options: ForwardingOptions): Forwarding {
  return { mode: options['bpf-lb-mode'], byAnnotation: options['bpf-lb-mode-annotation'] };
}

/** Whether any service may be forwarded by DSR, here or by another node that has the same options. */
export function mayUseDsr(options: ForwardingOptions): boolean {
  return options['bpf-lb-mode'] !== 'snat' || options['bpf-lb-mode-annotation'];
}
