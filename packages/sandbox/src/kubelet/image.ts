/** Which program stands for an image. There are no images here: a container is a process of the machine. */
import type { ContainerSpec } from './pod.ts';

export type ImageProgram =
  | { readonly kind: 'command'; readonly argv: readonly string[] }
  | { readonly kind: 'nginx' }
  | { readonly kind: 'builtin'; readonly program: 'dns' | 'echo' };

/** Images that are boxes of tools: without a command they wait for `exec`. */
const toolboxes = new Set([
  'busybox',
  'alpine',
  'curl',
  'netshoot',
  'pause',
  'debian',
  'ubuntu',
  'iperf3-client',
  'nettools',
]);
const shells = new Set(['sleep', 'sh', 'bash']);

/** 'docker.io/library/nginx:1.27@sha256:…' → 'nginx'. */
export function baseName(image: string): string {
  const path = image.split('@')[0] ?? '';
  const last = path.slice(path.lastIndexOf('/') + 1);
  return last.split(':')[0] ?? '';
}

/** `find` gives the path of a program of the machine. Kubernetes: command replaces the entry point, args its arguments. */
export function programOf(container: ContainerSpec, find: (name: string) => string | undefined): ImageProgram {
  const { command = [], args = [], image } = container;
  if (command.length > 0) return { kind: 'command', argv: [...command, ...args] };
  const name = baseName(image);
  if (name === 'dns' && /(^|\/)ciliate\/dns/.test(image)) return { kind: 'builtin', program: 'dns' };
  if (toolboxes.has(name)) return { kind: 'command', argv: args.length > 0 ? args : ['sleep', 'infinity'] };
  if (name === 'nginx' && find('nginx') !== undefined && args.length === 0) return { kind: 'nginx' };
  const own = name === 'echo' || shells.has(name) ? undefined : find(name);
  if (own !== undefined) return { kind: 'command', argv: [own, ...args] };
  return { kind: 'builtin', program: 'echo' };
}
