import type { KubeProxyReplacement } from '@ciliate/protocol';
import type { AgentOptions } from '../options/agent-options.ts';
import { mayUseDsr } from '../options/forwarding.ts';
import type { DatapathView } from './context.ts';

type ReplacementOptions = Pick<
  AgentOptions,
  | 'bpf-lb-algorithm'
  | 'bpf-lb-mode'
  | 'bpf-lb-mode-annotation'
  | 'bpf-lb-dsr-dispatch'
  | 'bpf-lb-acceleration'
  | 'node-port-range'
>;

const accelerations = { disabled: 'Disabled', native: 'Native', 'best-effort': 'Best-Effort' } as const;
const modes = { snat: 'SNAT', dsr: 'DSR', hybrid: 'Hybrid' } as const;
const dispatches = { opt: 'IP Option/Extension', ipip: 'IPIP' } as const;

/** What of kube-proxy's work is done here. */
export function kubeProxyReplacement(datapath: DatapathView, options: ReplacementOptions): KubeProxyReplacement {
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
        mode: modes[options['bpf-lb-mode']],
        ...(mayUseDsr(options) ? { dsrMode: dispatches[options['bpf-lb-dsr-dispatch']] } : {}),
        algorithm: options['bpf-lb-algorithm'] === 'maglev' ? 'Maglev' : 'Random',
        acceleration: accelerations[options['bpf-lb-acceleration']],
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
