/** What a rule id stands for: the answer to "which policy did this?". */
import type { PolicyDirectionName, PolicyKind, PolicyRow, PolicyRule, TrafficRule } from './rows.ts';

export type RuleReference =
  | {
      readonly kind: 'rule';
      readonly policy: PolicyReference;
      readonly direction: PolicyDirectionName;
      /** Position of the spec. */
      readonly rule: number;
      /** 'spec.ingress[0]' */
      readonly path: string;
      readonly deny: boolean;
      /** Text of the policy's `log`. */
      readonly log?: string;
    }
  /** No rule lets it through, and these policies isolate the endpoint. None: enforcement mode, or an endpoint without identity. */
  | {
      readonly kind: 'default-deny';
      readonly direction: PolicyDirectionName;
      readonly policies: readonly PolicyReference[];
    }
  /** The direction is not isolated. */
  | { readonly kind: 'default-allow'; readonly direction: PolicyDirectionName }
  | { readonly kind: 'local-host'; readonly direction: PolicyDirectionName };

export interface PolicyReference {
  readonly kind: PolicyKind;
  readonly namespace: string;
  readonly name: string;
}

export function policyReference({ kind, namespace, name }: PolicyRow): PolicyReference {
  return { kind, namespace, name };
}

export function ruleReference(
  policy: PolicyRow,
  rule: PolicyRule,
  traffic: TrafficRule,
  direction: PolicyDirectionName,
): RuleReference {
  return {
    kind: 'rule',
    policy: policyReference(policy),
    direction,
    rule: rule.index,
    path: traffic.path,
    deny: traffic.deny,
    ...(traffic.log === undefined || traffic.log === '' ? {} : { log: traffic.log }),
  };
}

/** Equal for the same rule: its id stays as long as the rule is there. */
export function ruleReferenceKey(reference: RuleReference): string {
  const name = ({ kind, namespace, name }: PolicyReference) => `${kind}/${namespace}/${name}`;
  switch (reference.kind) {
    case 'rule':
      return `${name(reference.policy)}#${reference.path}${reference.log === undefined ? '' : ` ${reference.log}`}`;
    case 'default-deny':
      return `deny ${reference.direction} ${reference.policies.map(name).sort().join(' ')}`;
    case 'default-allow':
      return `allow ${reference.direction}`;
    case 'local-host':
      return `local-host ${reference.direction}`;
  }
}

/** For people: 'NetworkPolicy shop/web, spec.ingress[0]'. */
export function ruleReferenceText(reference: RuleReference): string {
  const name = ({ kind, namespace, name }: PolicyReference) =>
    `${kind} ${namespace === '' ? '' : `${namespace}/`}${name}`;
  switch (reference.kind) {
    case 'rule':
      return `${name(reference.policy)}, ${reference.path}`;
    case 'default-deny':
      return reference.policies.length === 0
        ? `default deny (${reference.direction})`
        : `default deny (${reference.direction}) by ${reference.policies.map(name).join(', ')}`;
    case 'default-allow':
      return `no policy isolates ${reference.direction}`;
    case 'local-host':
      return 'the node itself reaches its pods';
  }
}
