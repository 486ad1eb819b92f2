/** GET /v1/policy, /v1/policy/selectors (shapes of the field's agent API), and our dump of policy maps. */

export interface PolicyTree {
  /** JSON text: a list of PolicyObject. */
  readonly policy: string;
  /** Of the newest policy map of this node; grows with each change. */
  readonly revision: number;
}

/** A policy as the agent has read it. */
export interface PolicyObject {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly generation: number;
  readonly labels: Readonly<Record<string, string>>;
  /** 'off', 'on', or until when (RFC 3339). */
  readonly audit: string;
  /** Not empty: it is not enforced, and this is why. */
  readonly refused: readonly string[];
  /** specs, each with its subject, directions it isolates, and rules in order. */
  readonly rules: readonly unknown[];
}

/** Whom a selector of a policy stands for now. */
export interface PolicySelector {
  /** 'app=web, io.kubernetes.pod.namespace=shop', 'cidr:10.0.0.0/8' … */
  readonly selector: string;
  /** Numbers of identities, sorted. */
  readonly identities: readonly number[];
  /** Rules that use it. */
  readonly users: number;
  /** Of the policies that use it: derived-from, namespace and name. */
  readonly labels: readonly { readonly source: string; readonly key: string; readonly value: string }[];
}

/** The policy map of a group of endpoints, as the kernel holds it. */
export interface PolicyMapDump {
  readonly group: number;
  /** What the endpoints map says of who is judged by it. */
  readonly identity: number;
  readonly labels: readonly string[];
  /** Endpoint ids; 0: the node itself. Empty: nobody names it any more. */
  readonly endpoints: readonly number[];
  readonly revision: number;
  readonly entries: readonly PolicyMapEntryDump[];
}

export interface PolicyMapEntryDump {
  readonly policy: 'Allow' | 'Deny' | 'Audit';
  readonly direction: 'Ingress' | 'Egress';
  /** 0: everybody. */
  readonly identity: number;
  readonly labels: readonly string[];
  /** 'ANY', 'TCP' … */
  readonly protocol: string;
  /** 'ANY', '80', '8080-8087', 'type 8'. */
  readonly port: string;
  /** Bits of the port that count. */
  readonly prefix: number;
  readonly ruleId: number;
  /** 'NetworkPolicy shop/web, spec.ingress[0]'; '' when the agent does not know the number. */
  readonly rule: string;
  /** No rule: what the direction does with the rest. */
  readonly default: boolean;
  readonly log: boolean;
  /** First packets of flows that it decided. */
  readonly packets: number;
  readonly bytes: number;
}

/** What judged a flow (MonitorEvent of type policy-verdict). */
export interface PolicyVerdictEvent {
  readonly action: 'allow' | 'deny' | 'audit';
  readonly direction: 'ingress' | 'egress';
  readonly peerIdentity: number;
  readonly protocol: string;
  /** ICMP: the type. */
  readonly port: number;
  /** What the entry stands for: the peer's identity, the address block it is in, everybody, or no entry. */
  /** 'unknown': the peer's identity is not known to this node yet. */
  readonly match: 'peer' | 'block' | 'everybody' | 'unknown' | 'none';
  readonly ruleId: number;
  /** '' when the rule has gone since. */
  readonly rule: string;
  /** The rule asks for a record of each flow. */
  readonly log: boolean;
  /** What its policy's `log` has such a record say. */
  readonly logText?: string;
}

/** GET /v1/ciliate/policy/verify: the kernel's policy maps against the compiler, now. */
export interface PolicyVerification {
  readonly maps: number;
  readonly endpoints: number;
  readonly differences: readonly {
    readonly where: string;
    readonly what: 'missing' | 'extra' | 'different';
    readonly key: string;
    readonly wanted: string;
    readonly found: string;
  }[];
  /** Of the continuous walk. */
  readonly checked: number;
  /** RFC 3339; '': not once through yet. */
  readonly lastRound: string;
}

/** What the kernel of a node says about one side of a flow, beside what its policies say. */
export interface KernelVerdict {
  readonly direction: 'ingress' | 'egress';
  /** By the maps that are loaded. */
  readonly allowed: boolean;
  /** The rule of the entry that decides, in words. */
  readonly rule: string;
}

/** GET /v1/ciliate/policy/explain. */
export interface LivePolicyExplanation<Explanation = unknown> {
  /** FlowExplanation of @ciliate/control. */
  readonly explanation: Explanation;
  /** Sides that this node judges. */
  readonly kernel: readonly KernelVerdict[];
  /** The flow's first packet through the loaded program; absent when the sender is no pod of this node. */
  readonly run?: { readonly program: string; readonly passed: boolean; readonly reason: string };
  /** In which the two do not agree; empty: they do. */
  readonly disagreements: readonly string[];
}
