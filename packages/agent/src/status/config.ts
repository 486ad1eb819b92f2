/** GET /v1/config. */
import { isIPv4 } from '@ciliate/model';
import type { DaemonConfiguration, NodeAddressingElement } from '@ciliate/protocol';
import type { AgentContext } from './context.ts';

export function buildConfig(context: AgentContext): DaemonConfiguration {
  const { options, datapath, ipam } = context;
  const all = Object.fromEntries(
    Object.entries(options).map(([key, value]) => [key, Array.isArray(value) ? value.join(',') : String(value)]),
  );
  const realized = {
    ...all,
    PolicyEnforcement: options['enable-policy'],
    PolicyAuditMode: options['policy-audit-mode'] ? 'Enabled' : 'Disabled',
    MonitorAggregationLevel: options['monitor-trace'] ? 'None' : 'Medium',
  };
  const addressing = (ipv4: boolean): NodeAddressingElement => {
    const range = ipam.podCIDRs.find(cidr => isIPv4(cidr) === ipv4);
    return {
      enabled: ipv4 ? options['enable-ipv4'] : options['enable-ipv6'],
      ip: context.routers().find(address => isIPv4(address) === ipv4) ?? '',
      ...(range === undefined ? {} : { 'alloc-range': range }),
    };
  };
  return {
    spec: { options: {}, 'policy-enforcement': options['enable-policy'] },
    status: {
      addressing: { ipv4: addressing(true), ipv6: addressing(false) },
      'datapath-mode': 'veth',
      deviceMTU: datapath.deviceMtu(),
      routeMTU: datapath.routeMtu(),
      ipamMode: options.ipam,
      masquerade: options['enable-bpf-masquerade'],
      realized: { options: realized },
      daemonConfigurationMap: all,
      k8sConfiguration: context.apiServer,
      kvstoreConfiguration: { type: '' },
      nodeMonitor: { cpus: 1, npages: 256, pagesize: 4096, lost: 0 },
    },
  };
}
