/** One agent per node: a lock that the kernel releases when the process ends, however it ends. */
import { closeSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import { tryLock } from '@ciliate/kernel';

export class DatapathError extends Error {
  readonly code: 'LOCKED';

  constructor(code: 'LOCKED', message: string) {
    super(message);
    this.name = 'DatapathError';
    this.code = code;
  }
}

/** Throws DatapathError LOCKED, naming the process that has it. */
export function acquireLock(path: string): () => void {
  const fd = openSync(path, 'a+');
  if (!tryLock(fd)) {
    closeSync(fd);
    const pid = readFileSync(path, 'utf8').trim() || 'unknown';
    throw new DatapathError(
      'LOCKED',
      `another agent runs on this node (pid ${pid}, lock ${path}): stop it first, or give this one another --state-dir and --bpf-root`,
    );
  }
  ftruncateSync(fd, 0);
  writeSync(fd, `${process.pid}\n`);
  return () => closeSync(fd);
}
