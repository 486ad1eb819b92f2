/**
 * Agent ↔ CNI plugin: one POST of a CniRequest, answered by 200 CniReply or by another status with a CniError.
 * The plugin parses environment and configuration and shapes results per version; the agent knows no CNI versions.
 */

export type CniCommand = 'ADD' | 'DEL' | 'CHECK' | 'GC' | 'STATUS';

export interface CniRequest {
  readonly command: CniCommand;
  /** CNI network name. */
  readonly network: string;
  readonly containerId: string;
  readonly netns: string;
  readonly ifname: string;
  /** CNI_ARGS, parsed: K8S_POD_NAMESPACE, K8S_POD_NAME, K8S_POD_UID … */
  readonly args: Readonly<Record<string, string>>;
  /** GC: attachments that are still valid. */
  readonly validAttachments?: readonly { readonly containerID: string; readonly ifname: string }[];
  /** CHECK: what ADD had answered. */
  readonly prevResult?: unknown;
  /** Options of this network from the configuration file. */
  readonly options?: Readonly<Record<string, unknown>>;
}

export interface CniInterface {
  readonly name: string;
  readonly mac: string;
  readonly mtu?: number;
  /** '' = the node's namespace. */
  readonly sandbox: string;
}

export interface CniIp {
  /** With prefix length: '10.244.1.5/32'. */
  readonly address: string;
  readonly gateway?: string;
  /** Index into interfaces. */
  readonly interface: number;
}

export interface CniRoute {
  readonly dst: string;
  readonly gw?: string;
  readonly mtu?: number;
}

/** Version-neutral result, in the shape of 1.1.0. Empty lists for DEL, CHECK, GC, STATUS. */
export interface CniReply {
  readonly interfaces: readonly CniInterface[];
  readonly ips: readonly CniIp[];
  readonly routes: readonly CniRoute[];
  /** Microseconds that the agent spent on it. */
  readonly agentMicroseconds: number;
}

/** CNI error object. Codes below 100 are the spec's, the others ours (CniErrorCode). */
export interface CniError {
  readonly cniVersion?: string;
  readonly code: number;
  readonly msg: string;
  readonly details?: string;
}

export const CniErrorCode = {
  incompatibleVersion: 1,
  unsupportedField: 2,
  unknownContainer: 3,
  invalidEnvironment: 4,
  io: 5,
  decode: 6,
  invalidConfig: 7,
  tryAgainLater: 11,
  notAvailable: 50,
  limitedConnectivity: 51,
  /** Ours, from here: */
  internal: 100,
  alreadyExists: 101,
  poolExhausted: 102,
  checkFailed: 103,
} as const;

export type CniErrorCode = (typeof CniErrorCode)[keyof typeof CniErrorCode];
