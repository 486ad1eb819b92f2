import type { TableScene } from '@ciliate/control';
import { LabelFilter } from '@ciliate/model';
import type { AgentOptions } from '../options/agent-options.ts';

/** Options that decide about policy, as compilers take them. */
export function sceneSettings(options: AgentOptions): TableScene {
  return {
    nodeName: options['node-name'],
    mode: options['enable-policy'],
    allowLocalHost: options['allow-localhost'] !== 'policy',
    dualStack: options['enable-ipv4'] && options['enable-ipv6'],
    clusterName: options['cluster-name'],
    cidrMatchesNodes: options['policy-cidr-match-mode'] === 'nodes',
    nodeLabels: nodeLabelFilter(options),
    now: Date.now(),
  };
}

/** Labels that policies may select nodes by. */
export const nodeLabelFilter = (options: AgentOptions): LabelFilter => new LabelFilter(options['node-labels'], []);
