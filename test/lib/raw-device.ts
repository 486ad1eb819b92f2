/** Frames as they are, out of and into a device of a network namespace (packet(7)). */
import { execFileSync } from 'node:child_process';
import { inNetworkNamespace } from '@ciliate/kernel';
import { c } from '../../packages/kernel/src/ffi.ts';

const [AF_PACKET, SOCK_RAW] = [17, 3];
const nonBlocking = 0o4000 | 0o2000000;
/** ETH_P_ALL in network byte order. */
const everything = 0x0300;

export class RawDevice {
  readonly #fd: number;
  readonly #name: Uint8Array;
  readonly #netns: string;

  constructor(netns: string, device = 'eth0') {
    const argv = [`--net=${netns}`, 'ip', '-json', 'link', 'show', 'dev', device];
    const [link] = JSON.parse(execFileSync('nsenter', argv, { encoding: 'utf8' })) as readonly { ifindex: number }[];
    if (link === undefined) throw new Error(`${netns} has no ${device}`);
    this.#netns = netns;
    this.#fd = inNetworkNamespace(netns, () => c.socket(AF_PACKET, SOCK_RAW | nonBlocking, everything));
    if (this.#fd < 0) throw new Error(`no packet socket in ${netns}`);
    // struct sockaddr_ll
    this.#name = new Uint8Array(20);
    const name = Buffer.from(this.#name.buffer);
    name.writeUInt16LE(AF_PACKET, 0);
    name.writeUInt16LE(everything, 2);
    name.writeInt32LE(link.ifindex, 4);
    if (c.bind(this.#fd, this.#name, this.#name.length) !== 0) throw new Error(`${device} of ${netns} cannot be bound`);
  }

  send(frame: Buffer): void {
    const sent = inNetworkNamespace(this.#netns, () =>
      c.sendto(this.#fd, frame, frame.length, 0, this.#name, this.#name.length),
    );
    if (Number(sent) !== frame.length) throw new Error(`a frame of ${frame.length} bytes is not sent`);
  }

  /** All that have come, or gone out, since it was last asked. */
  frames(): readonly Buffer[] {
    const found: Buffer[] = [];
    const buffer = Buffer.alloc(65_536);
    for (;;) {
      const length = Number(c.recv(this.#fd, buffer, buffer.length, 0));
      if (length <= 0) return found;
      found.push(Buffer.from(buffer.subarray(0, length)));
    }
  }

  close(): void {
    c.close(this.#fd);
  }
}
