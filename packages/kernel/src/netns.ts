/** Network namespaces. setns(2) changes one thread, so every visit is a short synchronous section of the main thread. */
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, rmSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { syscallError } from './errors.ts';
import { c, errno } from './ffi.ts';

const CLONE_NEWNET = 0x40000000;
const O_RDONLY_CLOEXEC = 0o2000000;
const MS_BIND = 4096;
const MNT_DETACH = 2;

/** The calling thread's own namespace; /proc/self would be the main thread's. */
const ownPath = '/proc/thread-self/ns/net';

function openNamespace(path: string): number {
  const fd = c.open(path, O_RDONLY_CLOEXEC);
  if (fd < 0) throw syscallError(`network namespace ${path}`, errno(), { path });
  return fd;
}

function back(own: number): void {
  const failed = c.setns(own, CLONE_NEWNET) !== 0;
  c.close(own);
  if (!failed) return;
  // Going on would do everything that follows in a stranger's namespace.
  process.stderr.write('cannot return to the own network namespace: aborting\n');
  process.abort();
}

/** Runs `visit` inside the namespace at `path`. It must not await. Throws SYSCALL when there is none. */
export function inNetworkNamespace<T>(path: string, visit: () => T extends PromiseLike<unknown> ? never : T): T {
  const target = openNamespace(path);
  const own = openNamespace(ownPath);
  if (c.setns(target, CLONE_NEWNET) !== 0) {
    const code = errno();
    c.close(target);
    c.close(own);
    throw syscallError(`enter ${path}`, code, { path });
  }
  c.close(target);
  try {
    return visit();
  } finally {
    back(own);
  }
}

/** Makes a namespace and binds it to `path` (as `ip netns add` does). Throws EEXIST when the path is in use. */
export function createNetworkNamespace(path: string): void {
  mkdirSync(dirname(path), { recursive: true });
  if (existsSync(path) && namespaceInode(path) !== undefined) throw syscallError(`make ${path}`, 17, { path });
  closeSync(openSync(path, 'w', 0o444));
  const own = openNamespace(ownPath);
  try {
    if (c.unshare(CLONE_NEWNET) !== 0) throw syscallError('unshare', errno());
    if (c.mount(ownPath, path, 'none', MS_BIND, null) !== 0) throw syscallError(`bind ${path}`, errno(), { path });
  } finally {
    back(own);
  }
}

/** Unbinds and removes the path; nothing there is fine. The namespace ends with its last process. */
export function removeNetworkNamespace(path: string): void {
  c.umount2(path, MNT_DETACH);
  rmSync(path, { force: true });
}

/** Inode of the namespace at `path`, which names it; undefined when the path is no namespace. */
export function namespaceInode(path: string): number | undefined {
  const own = statSync('/proc/self/ns/net');
  const found = existsSync(path) ? statSync(path) : undefined;
  return found !== undefined && found.dev === own.dev ? found.ino : undefined;
}

/** A path to each network namespace that some process of ours to see is in, the own one left out. It holds as long as that process does. */
export function processNamespaces(): readonly string[] {
  const own = namespaceInode('/proc/self/ns/net');
  const found = new Map<number, string>();
  for (const pid of readdirSync('/proc')) {
    const path = `/proc/${pid}/ns/net`;
    const inode = /^\d+$/.test(pid) ? inodeOf(path) : undefined;
    if (inode !== undefined && inode !== own && !found.has(inode)) found.set(inode, path);
  }
  return [...found.values()];
}

function inodeOf(path: string): number | undefined {
  try {
    return statSync(path).ino;
  } catch {
    return undefined; // the process has ended
  }
}

/** SO_NETNS_COOKIE of this thread's namespace (Linux 5.14), what bpf_get_netns_cookie gives; 0 when unknown. */
export function networkNamespaceCookie(): bigint {
  const fd = c.socket(2, 2 | 0o2000000, 0);
  if (fd < 0) return 0n;
  const value = new Uint8Array(8);
  const length = new Uint8Array([8, 0, 0, 0]);
  const failed = c.getsockopt(fd, 1, 71, value, length) !== 0;
  c.close(fd);
  return failed ? 0n : new DataView(value.buffer).getBigUint64(0, true);
}

/**
 * A listening TCP socket inside the namespace at `path`: its descriptor, for `server.listen({ fd })`. IPv6 sockets take IPv6
 * only. Throws SYSCALL (EADDRINUSE, EADDRNOTAVAIL).
 */
export function listenInNamespace(path: string | undefined, address: Uint8Array, port: number): number {
  const make = (): number => {
    const isV6 = address.length === 16;
    const fd = c.socket(isV6 ? 10 : 2, 1 | 0o2000000, 0);
    if (fd < 0) throw syscallError('socket', errno());
    const one = new Uint8Array([1, 0, 0, 0]);
    c.setsockopt(fd, 1, 2, one, 4);
    if (isV6) c.setsockopt(fd, 41, 26, one, 4);
    const name = new Uint8Array(isV6 ? 28 : 16);
    name[0] = isV6 ? 10 : 2;
    name[2] = port >>> 8;
    name[3] = port;
    name.set(address, isV6 ? 8 : 4);
    if (c.bind(fd, name, name.length) !== 0 || c.listen(fd, 128) !== 0) {
      const code = errno();
      c.close(fd);
      throw syscallError(`listen on port ${port}`, code);
    }
    return fd;
  };
  return path === undefined ? make() : inNetworkNamespace(path, make);
}
