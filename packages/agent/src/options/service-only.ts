/** --service-only: what else follows from it, whatever the other options say. */
import type { AgentOptions } from './agent-options.ts';

/** Why what needs pods of ours is not done. */
export const serviceOnlyReason = 'this agent serves services alone (--service-only): pods belong to another CNI';

/** Of what concerns pods nothing is on: no tunnel, no masquerade, no policy, no CNI configuration; their nodes cannot answer in a service's name. */
export function withServiceOnly(options: AgentOptions): AgentOptions {
  if (!options['service-only']) return options;
  return {
    ...options,
    'routing-mode': 'native',
    'auto-direct-node-routes': false,
    'enable-bpf-masquerade': false,
    'enable-policy': 'never',
    'enable-host-firewall': false,
    'bpf-lb-mode': 'snat',
    'bpf-lb-mode-annotation': false,
    'write-cni-conf-when-ready': '',
    'cni-conf-dir': '',
  };
}

/** Names of options that are given another value than they get by --service-only. */
export function overruledOptions(options: AgentOptions): readonly string[] {
  const wanted: Readonly<Record<string, unknown>> = withServiceOnly(options);
  const given: Readonly<Record<string, unknown>> = options;
  const harmless = ['routing-mode', 'enable-bpf-masquerade', 'enable-policy'];
  return Object.keys(wanted).filter(name => given[name] !== wanted[name] && !harmless.includes(name));
}
