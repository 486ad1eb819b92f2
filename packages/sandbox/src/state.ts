/** What `up` is about to make, written before it is made, so that whoever comes after a crash knows what to remove. */
import { existsSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Layout } from './layout.ts';

export interface SandboxState {
  readonly version: 1;
  readonly name: string;
  readonly nodes: number;
  readonly routing: 'vxlan' | 'native';
  readonly ipam: 'kubernetes' | 'cluster-pool';
  /** A real API server is used instead of ours. */
  readonly external: boolean;
  readonly agents: boolean;
  /** 'name=value' */
  readonly agentOptions: readonly string[];
  /** host and port on the machine's side. */
  readonly api: { readonly host: string; readonly port: number };
  readonly cgroupRoot: string;
  /** Names under /run/netns that are ours. */
  readonly namespaces: readonly string[];
  /** Milliseconds since 1970. */
  readonly started: number;
}

export const statePath = (layout: Layout): string => join(layout.directory, 'state.json');

export function readState(layout: Layout): SandboxState | undefined {
  return readJson<SandboxState>(statePath(layout));
}

export function writeState(layout: Layout, state: SandboxState): void {
  writeJson(statePath(layout), state);
}

/** Undefined when the file is missing or broken off in the middle. */
export function readJson<T>(path: string): T | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as T;
  } catch {
    return undefined;
  }
}

/** Written beside and renamed: a reader never sees half of it. */
export function writeJson(path: string, value: unknown): void {
  writeFileSync(`${path}.new`, `${JSON.stringify(value, null, 2)}\n`, { mode: 0o644 });
  renameSync(`${path}.new`, path);
}

/** Namespaces of pods, as the kubelets recorded them before making them. */
export function podNamespaces(layout: Layout): readonly string[] {
  if (!existsSync(layout.directory)) return [];
  return readdirSync(layout.directory)
    .filter(entry => /^node-\d+$/.test(entry))
    .map(entry => join(layout.directory, entry, 'pods'))
    .filter(directory => existsSync(directory))
    .flatMap(directory => readdirSync(directory).map(uid => join(directory, uid, 'sandbox.json')))
    .flatMap(file => {
      const netns = readJson<{ readonly netns?: string }>(file)?.netns;
      return netns === undefined || netns === '' ? [] : [netns];
    });
}
