/** Making what the processes of a sandbox stand on: directories, certificates, cgroups, namespaces, mounts. */
import { randomBytes } from 'node:crypto';
import { chmodSync, chownSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type KubeConfig, loadKubeConfig } from '@ciliate/sources';
import { makeCertificates } from './host/certificates.ts';
import { cgroup2Root } from './host/cgroup.ts';
import { buildLan } from './host/lan.ts';
import { program, quote } from './host/programs.ts';
import { run } from './host/run.ts';
import { hostAndPort, kubeConfigText, throughRelay } from './kubeconfig.ts';
import { apiPort, type Layout, lanAddresses, nodeLayout } from './layout.ts';
import type { UpOptions } from './options.ts';
import { freePort, requireFreeNames } from './preflight.ts';
import { type SandboxState, writeState } from './state.ts';

export interface Built {
  readonly state: SandboxState;
  /** As seen from the machine. */
  readonly config: KubeConfig;
}

const kubeconfigPath = (layout: Layout): string => join(layout.directory, 'kubeconfig');

/** The state is on disk before the first thing is made. */
export async function planState(layout: Layout, options: UpOptions): Promise<SandboxState> {
  const indexes = Array.from({ length: options.nodes }, (_, index) => index + 1);
  const namespaces = [layout.lan, layout.outside, ...indexes.map(index => `${layout.prefix}node-${index}`)];
  requireFreeNames(namespaces);
  const api =
    options.kubeconfig === undefined
      ? { host: '127.0.0.1', port: await freePort(apiPort) }
      : hostAndPort((await loadKubeConfig(options.kubeconfig)).server);
  mkdirSync(join(layout.directory, 'logs'), { recursive: true, mode: 0o755 });
  const base = {
    version: 1 as const,
    name: layout.name,
    nodes: options.nodes,
    routing: options.routing,
    ipam: options.ipam,
    external: options.kubeconfig !== undefined,
    agents: options.noAgent !== true,
    agentOptions: options.agentOptions ?? [],
    api,
    namespaces,
    started: Date.now(),
  };
  writeState(layout, { ...base, cgroupRoot: '' });
  const state = { ...base, cgroupRoot: await cgroup2Root(join(layout.directory, 'cgroup2')) };
  writeState(layout, state);
  return state;
}

export async function buildNetwork(layout: Layout, state: SandboxState): Promise<void> {
  const nodes = nodesOf(layout, state);
  const takesXdp = state.agentOptions.some(option => /^bpf-lb-acceleration=(native|best-effort)$/.test(option));
  await buildLan({ lan: layout.lan, outside: layout.outside, takesXdp, nodes });
}

/** Cgroups, per node a bpffs of its own, and the place where the CNI plugin and its configuration go. */
export async function buildNodes(layout: Layout, state: SandboxState): Promise<void> {
  mkdirSync(join(state.cgroupRoot, layout.cgroupName, 'control'), { recursive: true });
  for (const node of nodesOf(layout, state)) {
    for (const name of ['system', 'pods']) mkdirSync(join(node.cgroup, name), { recursive: true });
    for (const name of ['bpf', 'state', 'pods', 'cni/net.d', 'cni/bin']) {
      mkdirSync(join(node.directory, name), { recursive: true });
    }
    await run('mount', ['-t', 'bpf', 'bpf', join(node.directory, 'bpf')]);
    const plugin = join(node.directory, 'cni/bin/ciliate-cni');
    writeFileSync(plugin, `#!/bin/sh\nexec ${program('cni').map(quote).join(' ')}\n`);
    chmodSync(plugin, 0o755);
  }
}

/** Kubeconfigs for kubectl and for the nodes; with an API server of our own also its certificates and token. */
export async function buildAccess(layout: Layout, state: SandboxState, foreign: string | undefined): Promise<Built> {
  const config = foreign === undefined ? await ownConfig(layout, state) : await loadKubeConfig(foreign);
  writeSecret(kubeconfigPath(layout), kubeConfigText(config, `ciliate-${layout.name}`));
  const user = Number(process.env.SUDO_UID);
  if (process.env.SUDO_UID !== undefined && Number.isInteger(user)) chownSync(kubeconfigPath(layout), user, -1);
  const relay = `${lanAddresses[0]}:${apiPort}`;
  // Our own certificate names the relay's address too.
  const remote = foreign === undefined ? { ...config, server: `https://${relay}` } : throughRelay(config, relay);
  for (const node of nodesOf(layout, state)) {
    writeSecret(join(node.directory, 'kubeconfig'), kubeConfigText(remote, node.name));
  }
  return { state, config };
}

async function ownConfig(layout: Layout, state: SandboxState): Promise<KubeConfig> {
  const directory = join(layout.directory, 'pki');
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const files = await makeCertificates(directory);
  const token = randomBytes(24).toString('base64url');
  writeSecret(join(directory, 'token'), `${token}\n`);
  return {
    server: `https://${state.api.host}:${state.api.port}`,
    ca: readFileSync(files.ca, 'utf8'),
    token,
    insecure: false,
  };
}

function nodesOf(layout: Layout, state: SandboxState): readonly ReturnType<typeof nodeLayout>[] {
  return Array.from({ length: state.nodes }, (_, index) => nodeLayout(layout, state.cgroupRoot, index + 1));
}

function writeSecret(path: string, text: string): void {
  writeFileSync(path, text, { mode: 0o600 });
}
