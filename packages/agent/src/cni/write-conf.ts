/** The configuration that makes runtimes call our plugin. */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { supportedVersions } from './config.ts';

export function cniConfiguration(options: { readonly socketPath: string; readonly stateDir: string }): string {
  const conflist = {
    // What every runtime reads; those that know cniVersions take the newest that they can.
    cniVersion: '1.0.0',
    cniVersions: supportedVersions,
    name: 'ciliate',
    plugins: [{ type: 'ciliate-cni', ...options }],
  };
  return `${JSON.stringify(conflist, undefined, 2)}\n`;
}

/** Written beside and renamed: runtimes watch the directory. An equal file is left alone. */
export function writeCniConfiguration(path: string, text: string): void {
  try {
    if (readFileSync(path, 'utf8') === text) return;
  } catch {
    // Not there yet.
  }
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(`${path}.tmp`, text, { mode: 0o644 });
  renameSync(`${path}.tmp`, path);
}
