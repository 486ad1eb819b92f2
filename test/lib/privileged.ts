/** Whether tests that need root and kernel features can run here (STYLE §3). */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

export type Need = 'root' | 'bpf' | 'sandbox';

/** What is missing; undefined when nothing is. */
function missing(need: Need): string | undefined {
  if (process.getuid?.() !== 0) return 'root';
  if (need === 'root') return undefined;
  if (!existsSync('/sys/kernel/btf/vmlinux')) return 'a kernel with BTF';
  if (need === 'sandbox') {
    const absent = ['ip', 'nsenter', 'kubectl', 'curl'].find(
      tool => spawnSync('sh', ['-c', `command -v ${tool}`]).status !== 0,
    );
    if (absent !== undefined) return `the program ${absent}`;
  }
  return undefined;
}

/**
 * Options of a test or suite: skipped with the reason when something is missing.
 * @throws Error instead of skipping, with REQUIRE_PRIVILEGED=1
 */
export function privileged(need: Need = 'root'): { readonly skip: string | false } {
  const what = missing(need);
  if (what === undefined) return { skip: false };
  if (process.env.REQUIRE_PRIVILEGED === '1') throw new Error(`REQUIRE_PRIVILEGED is set, but this needs ${what}`);
  return { skip: `needs ${what}` };
}
