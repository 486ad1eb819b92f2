/**
 * Between the API server and the kubelet of a node, over the kubelet's unix socket:
 *   GET  /containerLogs/{namespace}/{pod}/{container}?follow&tailLines&timestamps   streams text
 *   POST /exec/{namespace}/{pod}/{container}?command=…&stdin&tty                    with `Upgrade: ciliate-exec`, then frames
 * A frame: one byte channel, four bytes length (big-endian), payload.
 */
export const execProtocol = 'ciliate-exec';

export const ExecChannel = {
  STDIN: 0,
  STDOUT: 1,
  STDERR: 2,
  /** JSON { exitCode: number, message?: string }; the last frame. */
  EXIT: 3,
  /** JSON { Width, Height } */
  RESIZE: 4,
  /** No payload: standard input has ended. */
  STDIN_END: 5,
} as const;

export interface ExecExit {
  readonly exitCode: number;
  readonly message?: string;
}

export function encodeFrame(channel: number, payload: Uint8Array): Buffer {
  const frame = Buffer.alloc(5 + payload.length);
  frame.writeUInt8(channel, 0);
  frame.writeUInt32BE(payload.length, 1);
  frame.set(payload, 5);
  return frame;
}

/** Calls `onFrame` for each whole frame of a byte stream that comes in pieces. */
export function frameDecoder(onFrame: (channel: number, payload: Buffer) => void): (chunk: Buffer) => void {
  let rest = Buffer.alloc(0);
  return chunk => {
    rest = Buffer.concat([rest, chunk]);
    while (rest.length >= 5) {
      const length = rest.readUInt32BE(1);
      if (rest.length < 5 + length) return;
      onFrame(rest.readUInt8(0), rest.subarray(5, 5 + length));
      rest = rest.subarray(5 + length);
    }
  };
}
