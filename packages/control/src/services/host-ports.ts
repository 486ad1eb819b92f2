/** Ports of this node's pods that its own addresses serve (containers[].ports[].hostPort), without a portmap plugin. */
import { type Address, type FrontendRow, type HostPort, isIPv4, isLoopback, type PodRow } from '@ciliate/model';
import { type FrontendContext, isSurrogate, surrogates } from './compile-frontends.ts';

/** Frontends of one pod: on each address of the node, or on the one that the pod names. */
export function hostPortFrontends(pod: PodRow, context: FrontendContext): readonly FrontendRow[] {
  const isHere = pod.nodeName === context.nodeName && !pod.hostNetwork;
  if (!isHere || pod.phase === 'Succeeded' || pod.phase === 'Failed') return [];
  return pod.hostPorts.flatMap(port =>
    (port.hostIP === undefined ? [...context.nodePortAddresses, ...surrogates] : [port.hostIP])
      .filter(address => (isIPv4(address) ? context.ipv4 : context.ipv6))
      .flatMap(address => frontend(pod, port, address, context)),
  );
}

function frontend(pod: PodRow, port: HostPort, address: Address, context: FrontendContext): readonly FrontendRow[] {
  const backends = [...new Set(pod.podIPs)].filter(ip => isIPv4(ip) === isIPv4(address));
  if (backends.length === 0) return [];
  return [
    {
      address,
      port: port.hostPort,
      protocol: port.protocol,
      type: 'HostPort',
      service: `${pod.namespace}/${pod.name}:host-port:${port.hostPort}:${pod.uid}`,
      portName: '',
      externalTrafficPolicy: 'Cluster',
      internalTrafficPolicy: 'Cluster',
      affinityTimeout: 0,
      backends: backends.map(ip => ({
        address: ip,
        port: port.containerPort,
        protocol: port.protocol,
        state: 'active',
        nodeName: context.nodeName,
        ...{ zone: '', zoneHints: undefined, nodeHints: undefined },
      })),
      internalBackends: undefined,
      routable: !isSurrogate(address) && !isLoopback(address),
      ownsAddress: false,
      sourceRanges: [],
      sourceRangesDeny: false,
      maglev: false,
      dsr: false,
      delegatesToProxy: false,
      redirectTo: '',
    },
  ];
}
