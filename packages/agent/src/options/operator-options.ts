/** Options of ciliate-operator, in the field's spelling. */
import { choice, flag, integer, list, type OptionValues, text } from './option.ts';

export const operatorOptions = {
  'k8s-kubeconfig-path': { ...text('', 'Kubeconfig file; without it the service account of the pod'), default: '' },
  'cluster-pool-ipv4-cidr': list(
    [],
    'IPv4 ranges that node pod CIDRs are cut from; none: pod CIDRs are not handed out',
  ),
  'cluster-pool-ipv4-mask-size': integer(24, [8, 30], 'Prefix length of a node’s IPv4 pod CIDR'),
  'cluster-pool-ipv6-cidr': list([], 'IPv6 ranges that node pod CIDRs are cut from'),
  'cluster-pool-ipv6-mask-size': integer(64, [16, 124], 'Prefix length of a node’s IPv6 pod CIDR'),
  'service-cidr': list([], 'Service CIDRs, only to refuse pools that overlap them'),
  'leader-election': flag(true, 'Only one operator acts at a time'),
  'leader-election-namespace': text('kube-system', 'Namespace of the Lease'),
  'lease-duration': integer(15, [3, 300], 'Seconds after which another operator takes over'),
  'identity-gc-interval': integer(900, [10, 86_400], 'Seconds that an identity may be unused before it is deleted'),
  'endpoint-gc-interval': integer(300, [5, 86_400], 'Seconds between looks for CiliumEndpoints without pod'),
  'service-only': flag(false, 'Agents serve services alone: policies are not enforced, and their status says so'),
  'log-level': choice(
    'info',
    ['fatal', 'error', 'warn', 'info', 'debug', 'trace'],
    'Least severe level that is logged',
  ),
} as const;

export type OperatorOptions = OptionValues<typeof operatorOptions>;
