/** What a pod's containers share: namespaces held by a sleeping process, a cgroup, files of /etc, a /run of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { removeCgroup } from '../host/cgroup.ts';
import { addNetns, removeNetns } from '../host/netns.ts';
import { netnsPath } from '../layout.ts';
import { readJson, writeJson } from '../state.ts';
import { isAlive, startTimeOf } from '../supervisor/report.ts';
import { placed } from '../supervisor/spawn.ts';
import type { Attachment, Cni } from './cni.ts';
import type { KubeletConfig } from './config.ts';
import type { Pod } from './pod.ts';
import { hostnameOf, hostsFile, resolvConf } from './pod-files.ts';

/** sandbox.json in the pod's directory; written before each step, so that a crash leaves nothing unknown. */
export interface PodSandbox {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  readonly id: string;
  /** Name under /run/netns; empty with hostNetwork. */
  readonly netns: string;
  readonly directory: string;
  readonly cgroup: string;
  /** 0 until it runs. */
  readonly pausePid: number;
  readonly pauseStartTime: string;
  readonly addresses: readonly string[];
  readonly cniResult?: Readonly<Record<string, unknown>>;
}

const setup = `set -e
mount --rbind "$1/run" /run
etc=$(readlink -m /etc/resolv.conf)
[ -e "$etc" ] || { mkdir -p "$(dirname "$etc")" && : > "$etc"; }
[ ! -e /run/pod/resolv.conf ] || mount --bind /run/pod/resolv.conf "$etc"
mount --bind /run/pod/hosts /etc/hosts
[ ! -e /etc/hostname ] || mount --bind /run/pod/hostname /etc/hostname
cat /run/pod/hostname > /proc/sys/kernel/hostname
cd /
echo ready
exec sleep infinity < /dev/null > /dev/null 2>&1
`;

export const sandboxFile = (directory: string): string => join(directory, 'sandbox.json');

/** The sandbox of an earlier kubelet when its sleeping process still lives. */
export function adoptSandbox(directory: string): PodSandbox | undefined {
  const found = readJson<PodSandbox>(sandboxFile(directory));
  if (found === undefined || found.pausePid === 0) return undefined;
  return isAlive({ pid: found.pausePid, startTime: found.pauseStartTime }) ? found : undefined;
}

/** @throws CniCallError, SandboxError; the caller then removes what was made */
export async function createSandbox(pod: Pod, config: KubeletConfig, cni: Cni): Promise<PodSandbox> {
  const hostNetwork = pod.spec.hostNetwork === true;
  const id = randomBytes(6).toString('hex');
  const directory = join(config.directory, 'pods', pod.metadata.uid);
  const planned: PodSandbox = {
    uid: pod.metadata.uid,
    namespace: pod.metadata.namespace,
    name: pod.metadata.name,
    id,
    netns: hostNetwork ? '' : `${config.podNetnsPrefix}${id}`,
    directory,
    cgroup: join(config.cgroup, 'pods', pod.metadata.uid),
    pausePid: 0,
    pauseStartTime: '',
    addresses: hostNetwork ? config.nodeAddresses : [],
  };
  mkdirSync(directory, { recursive: true });
  writeJson(sandboxFile(directory), planned);
  mkdirSync(join(planned.cgroup, 'sandbox'), { recursive: true });
  let connected = planned;
  if (!hostNetwork) {
    await addNetns(planned.netns);
    const result = await cni.add(attachmentOf(planned));
    connected = { ...planned, addresses: result.addresses, cniResult: result.raw };
    writeJson(sandboxFile(directory), connected);
  }
  writeFiles(pod, connected, config);
  const pausePid = await startPause(connected, hostNetwork ? config.netns : connected.netns);
  const running = { ...connected, pausePid, pauseStartTime: startTimeOf(pausePid) ?? '' };
  writeJson(sandboxFile(directory), running);
  return running;
}

/** Undoes whatever there is; throws only when CNI DEL fails, which the caller tries again. */
export async function removeSandbox(directory: string, cni: Cni): Promise<void> {
  const found = readJson<PodSandbox>(sandboxFile(directory));
  if (found !== undefined) {
    await removeCgroup(found.cgroup);
    if (found.netns !== '') {
      await cni.del(attachmentOf(found), found.cniResult);
      await removeNetns(found.netns);
    }
  }
  rmSync(directory, { recursive: true, force: true });
}

function attachmentOf(sandbox: PodSandbox): Attachment {
  const { id, netns, namespace, name, uid } = sandbox;
  return { containerId: id, netns: netnsPath(netns), namespace, name, uid };
}

function writeFiles(pod: Pod, sandbox: PodSandbox, config: KubeletConfig): void {
  const at = (path: string): string => join(sandbox.directory, 'run', path);
  const account = 'secrets/kubernetes.io/serviceaccount';
  for (const path of ['pod', account, 'lock']) mkdirSync(at(path), { recursive: true });
  const { spec, metadata } = pod;
  const hostname = spec.hostNetwork === true ? config.nodeName : hostnameOf(spec, metadata.name);
  const domain = spec.subdomain;
  const fqdn = domain === undefined ? undefined : `${hostname}.${domain}.${metadata.namespace}.svc.cluster.local`;
  writeFileSync(at('pod/hosts'), hostsFile(hostname, fqdn, sandbox.addresses));
  writeFileSync(at('pod/hostname'), `${hostname}\n`);
  const clusterDns =
    spec.hostNetwork === true ? spec.dnsPolicy === 'ClusterFirstWithHostNet' : spec.dnsPolicy !== 'Default';
  if (clusterDns) writeFileSync(at('pod/resolv.conf'), resolvConf(metadata.namespace, config.clusterDns));
  writeFileSync(at(`${account}/namespace`), metadata.namespace);
  if (config.token !== undefined) writeFileSync(at(`${account}/token`), config.token, { mode: 0o600 });
  if (config.ca !== undefined) writeFileSync(at(`${account}/ca.crt`), config.ca);
}

function startPause(sandbox: PodSandbox, netns: string): Promise<number> {
  const argv = [
    'unshare',
    '--mount',
    '--uts',
    '--ipc',
    '--propagation',
    'slave',
    'sh',
    '-c',
    setup,
    'pause',
    sandbox.directory,
  ];
  const [command = '', ...args] = placed(argv, { cgroup: join(sandbox.cgroup, 'sandbox'), netns });
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  return untilReady(child);
}

function untilReady(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    let said = '';
    child.stderr?.on('data', chunk => {
      said += String(chunk);
    });
    child.stdout?.on('data', chunk => {
      if (String(chunk).includes('ready') && child.pid !== undefined) resolve(child.pid);
    });
    child.on('error', reject);
    child.on('exit', code =>
      reject(new Error(`the pod's namespaces could not be made (exit ${code}): ${said.trim()}`)),
    );
    child.unref();
  });
}
