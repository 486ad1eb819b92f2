/** What must be true before anything is made. */
import { existsSync, readdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { delimiter, join } from 'node:path';
import { SandboxError } from './errors.ts';
import { netnsPath } from './layout.ts';

const tools = ['ip', 'nsenter', 'unshare', 'mount', 'umount', 'openssl', 'sh'];

/** @throws SandboxError NOT_ROOT */
export function requireRoot(what: string): void {
  if (process.getuid?.() === 0) return;
  throw new SandboxError(
    { code: 'NOT_ROOT' },
    `${what} needs root (it makes network namespaces, cgroups and loads eBPF): run it with sudo`,
  );
}

export function findTool(name: string): string | undefined {
  const directories = `${process.env.PATH ?? ''}${delimiter}/usr/sbin${delimiter}/usr/bin${delimiter}/sbin${delimiter}/bin`;
  return directories
    .split(delimiter)
    .map(directory => join(directory, name))
    .find(path => existsSync(path));
}

/** @throws SandboxError MISSING_TOOL */
export function requireTools(): void {
  const missing = tools.filter(tool => findTool(tool) === undefined);
  if (missing.length === 0) return;
  throw new SandboxError(
    { code: 'MISSING_TOOL', tools: missing.join(' ') },
    `not found on this machine: ${missing.join(', ')}: run 'sudo make setup' (packages iproute2, util-linux, openssl)`,
  );
}

/** @throws SandboxError NAME_TAKEN when a namespace of that name exists that no state of ours explains */
export function requireFreeNames(names: readonly string[]): void {
  const existing = existsSync('/run/netns') ? readdirSync('/run/netns') : [];
  const clash = names.find(name => existing.includes(name));
  if (clash === undefined) return;
  throw new SandboxError(
    { code: 'NAME_TAKEN', namespace: clash },
    `the network namespace ${clash} exists and was not made by this sandbox: remove it (ip netns delete ${clash}; it is ${netnsPath(clash)}) or choose another --name`,
  );
}

/** `wanted` on 127.0.0.1 when it is free, else any port. */
export async function freePort(wanted: number): Promise<number> {
  return (await tryPort(wanted)) ?? (await tryPort(0)) ?? wanted;
}

function tryPort(port: number): Promise<number | undefined> {
  return new Promise(resolve => {
    const server = createServer();
    server.on('error', () => resolve(undefined));
    server.listen(port, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : undefined));
    });
  });
}
