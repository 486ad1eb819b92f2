/**
 * Between the API server and a kubelet, over the kubelet's unix socket (HTTP/1.1).
 *
 *   GET /logs?namespace=&pod=&container=&follow=&tailLines=&sinceSeconds=&timestamps=&previous=&limitBytes=
 *       200 with the text, chunked, until the end (follow: until the container ends); 4xx with a sentence
 *   GET /exec?namespace=&pod=&container=&command=&command=&stdin=&tty=      Upgrade: ciliate-exec
 *       101, then frames both ways until the status frame; 4xx with a sentence
 *
 * A frame is: 1 byte channel, 4 bytes length (big endian), payload.
 */
export const Channel = {
  /** To the process; a frame without payload closes its input. */
  stdin: 0,
  stdout: 1,
  stderr: 2,
  /** JSON ExecStatus, once, last. */
  status: 3,
  /** JSON TerminalSize, to the process; only with tty. */
  resize: 4,
} as const;

export interface ExecStatus {
  readonly exitCode: number;
  /** Why it could not be started. */
  readonly message?: string;
}

export interface TerminalSize {
  readonly width: number;
  readonly height: number;
}

export interface Frame {
  readonly channel: number;
  readonly payload: Buffer;
}

export const execUpgrade = 'ciliate-exec';

export function encodeFrame(channel: number, payload: Uint8Array | string): Buffer {
  const body = typeof payload === 'string' ? Buffer.from(payload) : payload;
  const head = Buffer.alloc(5);
  head.writeUInt8(channel, 0);
  head.writeUInt32BE(body.length, 1);
  return Buffer.concat([head, body]);
}

/** Collects bytes, gives whole frames. */
export class FrameReader {
  #pending: Buffer = Buffer.alloc(0);

  push(chunk: Uint8Array): readonly Frame[] {
    this.#pending = Buffer.concat([this.#pending, chunk]);
    const frames: Frame[] = [];
    while (this.#pending.length >= 5) {
      const length = this.#pending.readUInt32BE(1);
      if (this.#pending.length < 5 + length) break;
      frames.push({ channel: this.#pending.readUInt8(0), payload: this.#pending.subarray(5, 5 + length) });
      this.#pending = this.#pending.subarray(5 + length);
    }
    return frames;
  }
}
