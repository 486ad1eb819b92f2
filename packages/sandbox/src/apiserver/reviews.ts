/** `kubectl auth can-i|whoami`, TokenReview: whoever has a token of the sandbox may do everything. */
import { textAt } from './object.ts';

const user = { username: 'kubernetes-admin', groups: ['system:masters', 'system:authenticated'] };

/** Kinds that take requests but store nothing, as discovery lists them: [group version, plural, kind]. */
export const reviewKinds: readonly (readonly [groupVersion: string, plural: string, kind: string])[] = [
  ['authorization.k8s.io/v1', 'selfsubjectaccessreviews', 'SelfSubjectAccessReview'],
  ['authorization.k8s.io/v1', 'selfsubjectrulesreviews', 'SelfSubjectRulesReview'],
  ['authorization.k8s.io/v1', 'subjectaccessreviews', 'SubjectAccessReview'],
  ['authentication.k8s.io/v1', 'selfsubjectreviews', 'SelfSubjectReview'],
  ['authentication.k8s.io/v1', 'tokenreviews', 'TokenReview'],
];

function tokenOf(body: Buffer): string {
  try {
    return textAt(JSON.parse(body.toString('utf8')), 'spec', 'token');
  } catch {
    return '';
  }
}

function statusOf(kind: string, body: Buffer, tokens: readonly string[]): object {
  if (kind === 'SelfSubjectReview') return { userInfo: user };
  if (kind === 'TokenReview')
    return tokens.includes(tokenOf(body)) ? { authenticated: true, user } : { authenticated: false };
  if (kind === 'SelfSubjectRulesReview')
    return {
      resourceRules: [{ verbs: ['*'], apiGroups: ['*'], resources: ['*'] }],
      nonResourceRules: [{ verbs: ['*'], nonResourceURLs: ['*'] }],
      incomplete: false,
    };
  return { allowed: true };
}

/** The answer to a review, undefined when the path is none. Typed clients may send protobuf, of which nothing is needed. */
export function review(path: string, body: Buffer, tokens: readonly string[]): object | undefined {
  const found = reviewKinds.find(([groupVersion, plural]) => path === `/apis/${groupVersion}/${plural}`);
  if (found === undefined) return undefined;
  const [apiVersion, , kind] = found;
  return { apiVersion, kind, metadata: {}, spec: {}, status: statusOf(kind, body, tokens) };
}
