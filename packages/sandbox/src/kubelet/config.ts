/** What one kubelet is told at start. */
export interface KubeletConfig {
  readonly nodeName: string;
  /** State of this node: pods/, cni/, kubelet.sock. */
  readonly directory: string;
  /** Name under /run/netns of the node's namespace, for pods with hostNetwork. */
  readonly netns: string;
  readonly podNetnsPrefix: string;
  /** Holds system/ and pods/. */
  readonly cgroup: string;
  readonly nodeAddresses: readonly string[];
  /** Written into Node.spec at registration; empty = somebody else's job. */
  readonly podCidrs: readonly string[];
  readonly clusterDns: string;
  /** 'host:port' given to pods as KUBERNETES_SERVICE_*; undefined until it is known. */
  readonly apiService: { readonly host: string; readonly port: string };
  readonly token: string | undefined;
  readonly ca: string | undefined;
}
