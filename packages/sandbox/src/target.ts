/** The command line that runs something in a part of the sandbox. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { SandboxError } from './errors.ts';
import type { PodSandbox } from './kubelet/pod-sandbox.ts';
import { type Layout, netnsPath, nodeLayout } from './layout.ts';
import { readJson, type SandboxState } from './state.ts';
import { placed } from './supervisor/spawn.ts';

/** @throws SandboxError NO_TARGET */
export function commandFor(
  layout: Layout,
  state: SandboxState,
  target: string,
  argv: readonly string[],
): readonly string[] {
  if (target === 'outside') return ['nsenter', `--net=${netnsPath(layout.outside)}`, ...argv];
  const index = Number(/^node-(\d+)$/.exec(target)?.[1] ?? 0);
  if (index >= 1 && index <= state.nodes) {
    const node = nodeLayout(layout, state.cgroupRoot, index);
    return placed(argv, { cgroup: join(node.cgroup, 'system'), netns: node.netns });
  }
  const [, namespace, name] = /^pod\/([^/]+)\/([^/]+)$/.exec(target) ?? [];
  if (namespace === undefined || name === undefined) {
    throw new SandboxError(
      { code: 'NO_TARGET', target },
      `'${target}' is no target: use outside, node-1 … node-${state.nodes}, or pod/NAMESPACE/NAME`,
    );
  }
  return enterPod(findPod(layout, namespace, name), argv);
}

/** In the pod's namespaces and its cgroup, so that socket load balancing and cluster DNS work as for its containers. */
export function enterPod(pod: PodSandbox, argv: readonly string[]): readonly string[] {
  const enter = ['nsenter', `--target=${pod.pausePid}`, '--net', '--mount', '--uts', '--ipc'];
  return placed([...enter, 'sh', '-c', 'cd / && exec "$@"', 'sh', ...argv], { cgroup: join(pod.cgroup, 'sandbox') });
}

function findPod(layout: Layout, namespace: string, name: string): PodSandbox {
  const pods = readdirSync(layout.directory)
    .filter(entry => /^node-\d+$/.test(entry))
    .map(entry => join(layout.directory, entry, 'pods'))
    .filter(directory => existsSync(directory))
    .flatMap(directory => readdirSync(directory).map(uid => join(directory, uid, 'sandbox.json')))
    .map(path => readJson<PodSandbox>(path))
    .filter(pod => pod !== undefined);
  const found = pods.find(pod => pod.namespace === namespace && pod.name === name && pod.pausePid > 0);
  if (found !== undefined) return found;
  const names = pods.map(pod => `pod/${pod.namespace}/${pod.name}`).join(', ');
  throw new SandboxError(
    { code: 'NO_TARGET', target: `pod/${namespace}/${name}` },
    `no pod ${namespace}/${name} runs here: there are ${names === '' ? 'none' : names}`,
  );
}
