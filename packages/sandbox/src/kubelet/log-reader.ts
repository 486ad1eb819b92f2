/** The log of a container's run, as `kubectl logs` asks for it. */
import { existsSync, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';

export interface LogOptions {
  readonly follow: boolean;
  readonly tailLines: number | undefined;
  readonly limitBytes: number | undefined;
}

export interface LogChunk {
  /** Of its first byte in the log. */
  readonly offset: number;
  readonly bytes: Buffer;
}

/**
 * Chunks of the file until its end; with `follow` until `ended` says that nothing more will be written and all is read.
 */
export async function* readLog(path: string, options: LogOptions, ended: () => boolean): AsyncIterable<LogChunk> {
  while (!existsSync(path)) {
    if (!options.follow || ended()) return;
    await delay(200);
  }
  let position = options.tailLines === undefined ? 0 : await tailStart(path, options.tailLines);
  let left = options.limitBytes ?? Number.POSITIVE_INFINITY;
  for (;;) {
    const last = ended();
    const chunk = await readFrom(path, position, Math.min(left, 1 << 16));
    position += chunk.length;
    left -= chunk.length;
    if (chunk.length > 0) yield { offset: position - chunk.length, bytes: chunk };
    else if (!options.follow || last) return;
    else await delay(200);
    if (left <= 0) return;
  }
}

async function readFrom(path: string, position: number, length: number): Promise<Buffer> {
  const file = await open(path, 'r');
  try {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(length), 0, length, position);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

/** Offset of the first of the last `lines` lines. */
async function tailStart(path: string, lines: number): Promise<number> {
  const { size } = statSync(path);
  const from = Math.max(0, size - (1 << 20));
  const text = await readFrom(path, from, size - from);
  let at = text.length;
  if (lines === 0) return size;
  for (let found = 0; found <= lines && at > 0; found += 1) {
    const newline = text.lastIndexOf(10, at - 1 - (found === 0 && at === text.length ? 1 : 0));
    if (newline < 0) return from;
    if (found === lines - 1) return from + newline + 1;
    at = newline;
  }
  return from;
}
