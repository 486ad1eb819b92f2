/** What the commands take. */
export interface SandboxName {
  readonly name: string;
}

export interface UpOptions extends SandboxName {
  readonly nodes: number;
  readonly routing: 'vxlan' | 'native';
  readonly ipam: 'kubernetes' | 'cluster-pool';
  /** Join the nodes to this API server instead of one of our own. */
  readonly kubeconfig?: string;
  readonly detach?: boolean;
  /** More options of every agent, 'name=value' without the dashes; they win over our own. */
  readonly agentOptions?: readonly string[];
  /** Nodes without Ciliate, for tests of the sandbox itself. */
  readonly noAgent?: boolean;
}

export type Print = (line: string) => void;
