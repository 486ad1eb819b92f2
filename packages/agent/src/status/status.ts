/** GET /v1/healthz. */

import { existsSync } from 'node:fs';
import { release } from 'node:os';
import type { ControllerStatus, State, Status, StatusResponse } from '@ciliate/protocol';
import { reachable } from '../health/prober.ts';
import type { WorkHealth } from '../keyed-queue.ts';
import { serviceOnlyReason } from '../options/service-only.ts';
import type { AgentContext } from './context.ts';
import { kubeProxyReplacement } from './kube-proxy-replacement.ts';
import { nodeElement } from './node-element.ts';

const minIdentity = 256;
const maxIdentity = 65535;

export function buildStatus(context: AgentContext): StatusResponse {
  const { options, datapath, tables } = context;
  const tunnel = options['routing-mode'] === 'tunnel';
  const podCIDRs = context.ipam.podCIDRs;
  return {
    cilium: overall(context),
    'container-runtime': { state: 'Disabled' },
    kubernetes: kubernetes(context),
    kvstore: { state: 'Disabled' },
    'kube-proxy-replacement': kubeProxyReplacement(datapath, options),
    'host-routing': { mode: options['service-only'] ? 'Legacy' : 'BPF' },
    routing: {
      'intra-host-routing-mode': options['service-only'] ? 'Legacy' : 'BPF',
      'inter-host-routing-mode': tunnel ? 'Tunnel' : 'Native',
      ...(tunnel ? { 'tunnel-protocol': options['tunnel-protocol'] } : {}),
    },
    masquerading: {
      enabled: options['enable-bpf-masquerade'],
      mode: 'BPF',
      'enabled-protocols': {
        ipv4: options['enable-bpf-masquerade'] && options['enable-ipv4'],
        ipv6: options['enable-bpf-masquerade'] && options['enable-ipv6'],
      },
      'snat-exclusion-cidr-v4': podCIDRs.find(cidr => !cidr.includes(':')) ?? '',
      'snat-exclusion-cidr-v6': podCIDRs.find(cidr => cidr.includes(':')) ?? '',
    },
    'clock-source': { mode: 'ktime' },
    'bandwidth-manager': { enabled: false },
    'host-firewall': options['enable-host-firewall']
      ? { mode: 'Enabled', devices: datapath.devices().map(device => device.name) }
      : { mode: 'Disabled', devices: [] },
    encryption: { mode: 'Disabled' },
    'cni-chaining': { mode: 'none' },
    'cni-file': options['service-only'] ? { state: 'Disabled', msg: serviceOnlyReason } : cniFile(context.cniConfPath),
    attachMode: datapath.attachMode,
    datapathMode: 'veth',
    ipam: ipamStatus(context),
    cluster: {
      self: `${options['cluster-name']}/${context.nodeName}`,
      nodes: tables.nodes.all().map(row => nodeElement(row, options['cluster-name'])),
      ciliumHealth: healthState(context),
    },
    controllers: controllerStatuses(context),
    hubble: { state: 'Disabled' },
    proxy: { ip: context.routers()[0] ?? '', 'port-range': '10000-20000', 'total-redirects': 0 },
    'identity-range': { 'min-identity': minIdentity, 'max-identity': maxIdentity },
    'bpf-maps': { maps: datapath.maps() },
    ciliate: {
      version: context.version,
      node: context.nodeName,
      pid: process.pid,
      startedAt: context.startedAt.toISOString(),
      ...ready(context),
      degraded: context.degraded(),
      kernel: release(),
      endpoints: {
        total: tables.endpoints.size,
        ready: tables.endpoints.all().filter(row => row.state === 'ready').length,
      },
      waitingFor: waitingFor(context),
      rssBytes: process.memoryUsage.rss(),
      serviceOnly: options['service-only'],
    },
  };
}

function ready(context: AgentContext): { readonly ready: boolean; readonly readyAfterMs?: number } {
  const after = context.readyAfterMs();
  return after === undefined ? { ready: false } : { ready: true, readyAfterMs: after };
}

function overall(context: AgentContext): Status {
  if (context.readyAfterMs() === undefined) return { state: 'Failure', msg: 'the agent is starting' };
  const degraded = context.degraded();
  const state: State = degraded.length === 0 ? 'Ok' : 'Warning';
  return { state, ...(degraded.length === 0 ? {} : { msg: degraded.join('; ') }) };
}

function kubernetes(context: AgentContext): StatusResponse['kubernetes'] {
  const reflectors = context.reflectors();
  const broken = reflectors.find(reflector => !reflector.connected);
  const apis = [
    'core/v1::Namespace',
    'core/v1::Node',
    'core/v1::Pods',
    'core/v1::Service',
    'discovery/v1::EndpointSlice',
    'cilium/v2::CiliumNode',
    'cilium/v2::CiliumEndpoint',
    'cilium/v2::CiliumIdentity',
    'networking.k8s.io/v1::NetworkPolicy',
    'cilium/v2::CiliumNetworkPolicy',
    'cilium/v2::CiliumClusterwideNetworkPolicy',
    'cilium/v2::CiliumCIDRGroup',
  ];
  return broken === undefined
    ? { state: 'Ok', msg: context.apiServer, 'k8s-api-versions': apis }
    : {
        state: 'Failure',
        msg: broken.lastError ?? `${context.apiServer}: not connected yet`,
        'k8s-api-versions': apis,
      };
}

function healthState(context: AgentContext): Status {
  if (!context.options['enable-health-checking']) return { state: 'Disabled' };
  const { ok, total } = reachable(context.health());
  const isProbed = Date.parse(context.health().timestamp) > 0;
  return {
    state: ok === total || !isProbed ? 'Ok' : 'Warning',
    msg: isProbed ? `${ok}/${total} reachable` : 'not probed yet',
  };
}

function ipamStatus({ ipam, options }: AgentContext): StatusResponse['ipam'] {
  const status = ipam.status();
  return options['service-only'] ? { ...status, status: 'Disabled: pods belong to another CNI' } : status;
}

function cniFile(path: string): Status {
  if (path === '') return { state: 'Disabled' };
  return existsSync(path)
    ? { state: 'Ok', msg: `successfully wrote CNI configuration file to ${path}` }
    : { state: 'Warning', msg: `${path} is not written yet` };
}

export function waitingFor(context: AgentContext): Readonly<Record<string, readonly string[]>> {
  const tables = Object.entries(context.tables).filter(([, table]) => !table.initialized);
  return Object.fromEntries(tables.map(([name, table]) => [name, table.pendingInitializers]));
}

const time = (ms: number | undefined): string | undefined =>
  ms === undefined ? undefined : new Date(ms).toISOString();

function controllerStatuses(context: AgentContext): readonly ControllerStatus[] {
  const reflectors = context.reflectors().map(({ name, ...health }) => ({ ...health, name: `k8s-watch-${name}` }));
  return [...context.controllers(), ...reflectors].map(controllerStatus).sort((a, b) => a.name.localeCompare(b.name));
}

function controllerStatus(health: WorkHealth): ControllerStatus {
  const success = time(health.lastSuccess);
  const failure = time(health.lastFailure);
  return {
    name: health.name,
    status: {
      'success-count': health.successes,
      'failure-count': health.failures,
      'consecutive-failure-count': health.consecutiveFailures,
      ...(success === undefined ? {} : { 'last-success-timestamp': success }),
      ...(failure === undefined ? {} : { 'last-failure-timestamp': failure }),
      ...(health.lastError === undefined ? {} : { 'last-failure-msg': health.lastError }),
    },
  };
}
