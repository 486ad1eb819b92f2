/** Annotation `ciliate.io/audit`: "true", or for how long from when the object was made: "24h". */
import type { ParseProblem } from '../k8s/parsed.ts';
import type { Reader } from '../k8s/reader.ts';
import type { NamespaceRow } from '../rows.ts';
import type { AuditMode, PolicyRow } from './rows.ts';

export const auditAnnotation = 'ciliate.io/audit';

const units: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

export function readAudit(root: Reader, problems: ParseProblem[]): AuditMode {
  const text = root.at('metadata', 'annotations').labels()[auditAnnotation];
  if (text === undefined || text === 'false') return 'off';
  if (text === 'true') return 'on';
  const match = /^(\d+)([smhd])$/.exec(text);
  const begin = Date.parse(root.at('metadata', 'creationTimestamp').text(''));
  if (match !== null && !Number.isNaN(begin)) {
    return { until: begin + Number(match[1]) * (units[match[2] ?? ''] ?? 0) };
  }
  problems.push({
    field: `metadata.annotations.${auditAnnotation}`,
    message: `'${text}' is no audit mode; the policy is enforced`,
    remedy: 'use "true", "false" or a duration such as "24h"',
  });
  return 'off';
}

/** A policy in a namespace that is audited is audited too; of two times the later one. */
export function laterAudit(a: AuditMode, b: AuditMode): AuditMode {
  if (a === 'on' || b === 'on') return 'on';
  if (a === 'off') return b;
  return b === 'off' || b.until < a.until ? a : b;
}

/** The policy as its namespace has it audited. */
export function auditedBy(policy: PolicyRow, namespace: NamespaceRow | undefined): PolicyRow {
  const audit = laterAudit(policy.audit, namespace?.audit ?? 'off');
  return audit === policy.audit ? policy : { ...policy, audit };
}

export function isAudited(mode: AuditMode, now: number): boolean {
  return mode === 'on' || (typeof mode === 'object' && now < mode.until);
}
