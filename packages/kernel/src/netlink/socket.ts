/** A netlink socket, of the route family unless told otherwise. It belongs to the namespace it was opened in, whichever thread uses it later. */
import { errnoName, KernelError, syscallError } from '../errors.ts';
import { c, errno, pollReadable } from '../ffi.ts';
import { inNetworkNamespace } from '../netns.ts';
import {
  decodeAttributes,
  decodeMessages,
  encodeMessage,
  type Message,
  NLM_F_ACK,
  NLM_F_DUMP,
  type Request,
  u32,
} from './message.ts';

const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const MSG_DONTWAIT = 0x40;
const receiveSize = 1 << 17;

function openSocket(groups: number, protocol = 0): number {
  const fd = c.socket(AF_NETLINK, SOCK_RAW_CLOEXEC, protocol);
  if (fd < 0) throw syscallError('netlink socket', errno());
  const address = Buffer.alloc(12);
  address.writeUInt16LE(AF_NETLINK, 0);
  address.writeUInt32LE(groups, 8);
  if (c.bind(fd, address, 12) !== 0) throw syscallError('netlink bind', errno());
  const one = new Uint8Array([1, 0, 0, 0]);
  c.setsockopt(fd, 270, 11, one, 4); // NETLINK_EXT_ACK: errors come with a text
  c.setsockopt(fd, 270, 12, one, 4); // NETLINK_GET_STRICT_CHK: dumps may be filtered
  return fd;
}

/** struct nlmsgerr: error, the request's header, then attributes with the kernel's own words. */
function errorOf(request: Request, message: Message): KernelError | undefined {
  const code = -message.body.readInt32LE(0);
  if (code === 0) return undefined;
  const capped = (message.flags & 0x100) !== 0;
  const words =
    (message.flags & 0x200) !== 0 && capped
      ? decodeAttributes(message.body, 20).get(1)?.toString('latin1').replace(/\0.*$/s, '')
      : undefined;
  const name = errnoName(code);
  const hint = name === 'EPERM' ? ' (run as root)' : '';
  return new KernelError(
    { code: 'NETLINK', errno: name },
    `${request.what}: ${name}${words === undefined ? '' : `: ${words}`}${hint}`,
  );
}

export class NetlinkSocket {
  readonly #fd: number;
  readonly #buffer = Buffer.alloc(receiveSize);
  #sequence = 1;

  /** Opens in the namespace at `netns`, or in the thread's own. `protocol`: NETLINK_*, 0 = NETLINK_ROUTE. */
  constructor(netns?: string, protocol = 0) {
    const open = () => openSocket(0, protocol);
    this.#fd = netns === undefined ? open() : inNetworkNamespace(netns, open);
    const capped = new Uint8Array([1, 0, 0, 0]);
    c.setsockopt(this.#fd, 270, 10, capped, 4); // NETLINK_CAP_ACK
  }

  /** Sends requests as one batch and waits for each acknowledgement. Throws the first error; later ones still ran. */
  execute(...requests: readonly Request[]): void {
    if (requests.length === 0) return;
    const first = this.#sequence;
    this.#sequence += requests.length;
    const bytes = Buffer.concat(
      requests.map((request, index) => encodeMessage({ ...request, flags: request.flags | NLM_F_ACK }, first + index)),
    );
    if (c.send(this.#fd, bytes, bytes.length, 0) < 0) throw syscallError('netlink send', errno());
    const errors = new Map<number, KernelError>();
    let waiting = requests.length;
    while (waiting > 0) {
      for (const message of this.#receive()) {
        const request = requests[message.sequence - first];
        if (message.type !== NLMSG_ERROR || request === undefined) continue;
        waiting -= 1;
        const error = errorOf(request, message);
        if (error !== undefined) errors.set(message.sequence, error);
      }
    }
    const [failed] = [...errors].toSorted(([a], [b]) => a - b);
    if (failed !== undefined) throw failed[1];
  }

  /** All messages of a dump. */
  dump(request: Omit<Request, 'flags'>): readonly Message[] {
    const sequence = this.#sequence++;
    const bytes = encodeMessage({ ...request, flags: NLM_F_DUMP }, sequence);
    if (c.send(this.#fd, bytes, bytes.length, 0) < 0) throw syscallError('netlink send', errno());
    const found: Message[] = [];
    for (;;) {
      for (const message of this.#receive()) {
        if (message.sequence !== sequence) continue;
        if (message.type === NLMSG_DONE) return found;
        if (message.type === NLMSG_ERROR) {
          const error = errorOf({ ...request, flags: 0 }, message);
          if (error !== undefined) throw error;
          return found;
        }
        found.push({ ...message, body: Buffer.from(message.body) });
      }
    }
  }

  #receive(): readonly Message[] {
    const length = c.recv(this.#fd, this.#buffer, receiveSize, 0);
    if (length < 0) throw syscallError('netlink receive', errno());
    return [...decodeMessages(this.#buffer.subarray(0, length))];
  }

  close(): void {
    c.close(this.#fd);
  }
}

export const NetlinkGroup = {
  LINK: 1,
  NEIGH: 4,
  IPV4_IFADDR: 0x10,
  IPV4_ROUTE: 0x40,
  IPV6_IFADDR: 0x100,
  IPV6_ROUTE: 0x400,
} as const;

/** Calls `changed` when the kernel tells of a change in one of `groups`: no content, read what is there. */
export function watchNetlink(groups: number, changed: () => void): () => void {
  return watch(openSocket(groups), changed);
}

/** The same for one group of another family, by its number: those of generic netlink do not fit a mask. */
export function watchNetlinkGroup(protocol: number, group: number, changed: () => void): () => void {
  const fd = openSocket(0, protocol);
  const NETLINK_ADD_MEMBERSHIP = 1;
  if (c.setsockopt(fd, 270, NETLINK_ADD_MEMBERSHIP, u32(group), 4) !== 0) {
    const code = errno();
    c.close(fd);
    throw syscallError(`netlink group ${group}`, code);
  }
  return watch(fd, changed);
}

function watch(fd: number, changed: () => void): () => void {
  const buffer = Buffer.alloc(receiveSize);
  const stop = pollReadable(fd, () => {
    while (c.recv(fd, buffer, receiveSize, MSG_DONTWAIT) > 0);
    changed();
  });
  return () => {
    stop();
    c.close(fd);
  };
}
