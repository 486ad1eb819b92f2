import type { KubeProxyReplacement } from '@ciliate/protocol';
import type { DatapathView } from './context.ts';

/** What of kube-proxy's work is done here. */
export function kubeProxyReplacement(datapath: DatapathView): KubeProxyReplacement {
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
        algorithm: 'Random',
        acceleration: 'Disabled',
        portMin: 30000,
        portMax: 32767,
      },
      hostPort: { enabled: false },
      externalIPs: { enabled: true },
      sessionAffinity: { enabled: false },
      gracefulTermination: { enabled: true },
      nat46X64: { enabled: false },
    },
  };
}
