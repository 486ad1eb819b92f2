import type { KubeProxyReplacement } from '@ciliate/protocol';
import type { AgentOptions } from '../options/agent-options.ts';
import type { DatapathView } from './context.ts';

const names = { disabled: 'Disabled', native: 'Native', 'best-effort': 'Best-Effort' } as const;

/** What of kube-proxy's work is done here. */
export function kubeProxyReplacement(
  datapath: DatapathView,
  options: Pick<AgentOptions, 'bpf-lb-algorithm' | 'bpf-lb-acceleration' | 'node-port-range'>,
): KubeProxyReplacement {
  const devices = datapath.devices();
  return {
    mode: 'True',
    devices: devices.map(device => device.name),
    deviceList: devices.map(device => ({ name: device.name, ip: device.addresses })),
    directRoutingDevice: datapath.directDevice(),
    features: {
      socketLB: { enabled: datapath.socketLb },
      nodePort: {
        enabled: true,
        mode: 'SNAT',
        algorithm: options['bpf-lb-algorithm'] === 'maglev' ? 'Maglev' : 'Random',
        acceleration: names[options['bpf-lb-acceleration']],
        accelerated: options['bpf-lb-acceleration'] === 'disabled' ? [] : datapath.acceleration(),
        portMin: options['node-port-range'].min,
        portMax: options['node-port-range'].max,
      },
      hostPort: { enabled: true },
      externalIPs: { enabled: true },
      sessionAffinity: { enabled: true },
      gracefulTermination: { enabled: true },
      nat46X64: { enabled: false },
    },
  };
}
