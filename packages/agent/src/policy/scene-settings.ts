import type { TableScene } from '@ciliate/control';
import type { AgentOptions } from '../options/agent-options.ts';

/** Options that decide about policy, as compilers take them. */
export function sceneSettings(options: AgentOptions): TableScene {
  return {
    nodeName: options['node-name'],
    mode: options['enable-policy'],
    allowLocalHost: options['allow-localhost'] !== 'policy',
    dualStack: options['enable-ipv4'] && options['enable-ipv6'],
    now: Date.now(),
  };
}
