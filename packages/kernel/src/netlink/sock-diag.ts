/**
 * Sockets of a network namespace by NETLINK_SOCK_DIAG: struct inet_diag_req_v2 and struct inet_diag_msg of linux/inet_diag.h, sock_diag(7).
 * Closing them takes CONFIG_INET_DIAG_DESTROY.
 */
import { KernelError } from '../errors.ts';
import { NetlinkSocket } from './socket.ts';

const NETLINK_SOCK_DIAG = 4;
const SOCK_DIAG_BY_FAMILY = 20;
const SOCK_DESTROY = 21;
const AF_INET = 2;
const AF_INET6 = 10;
const IPPROTO_UDP = 17;
/** A UDP socket after connect(2). */
const TCP_ESTABLISHED = 1;
/** struct inet_diag_sockid. */
const idSize = 48;
const allStates = 0xffff_ffff;

export interface DiagSocket {
  readonly family: 4 | 6;
  /** bpf_get_socket_cookie of the same socket. */
  readonly cookie: bigint;
  /** 16 bytes, IPv4 mapped: where it is connected to. */
  readonly destination: Uint8Array;
  readonly port: number;
  /** struct inet_diag_sockid as the kernel gave it. */
  readonly id: Uint8Array;
}

function request(family: number, states: number, id: Uint8Array): Buffer {
  const body = Buffer.alloc(8 + idSize);
  body.writeUInt8(family, 0);
  body.writeUInt8(IPPROTO_UDP, 1);
  body.writeUInt32LE(states, 4);
  body.set(id, 8);
  return body;
}

/** Undefined for a message that is too short. */
function decode(body: Buffer): DiagSocket | undefined {
  if (body.length < 4 + idSize) return undefined;
  const isV4 = body.readUInt8(0) === AF_INET;
  const id = new Uint8Array(body.subarray(4, 4 + idSize));
  const destination = new Uint8Array(16);
  if (isV4) {
    destination.set([0xff, 0xff], 10);
    destination.set(id.subarray(20, 24), 12);
  } else {
    destination.set(id.subarray(20, 36));
  }
  const cookie = body.readBigUInt64LE(4 + idSize - 8);
  return { family: isV4 ? 4 : 6, cookie, destination, port: body.readUInt16BE(6), id };
}

export class UdpSockets {
  readonly #socket: NetlinkSocket;

  /** Of the namespace at `netns`, or of the thread's own. Throws SYSCALL when there is none. */
  constructor(netns?: string) {
    this.#socket = new NetlinkSocket(netns, NETLINK_SOCK_DIAG);
  }

  connected(): readonly DiagSocket[] {
    return [AF_INET, AF_INET6].flatMap(family => {
      const body = request(family, 1 << TCP_ESTABLISHED, new Uint8Array(idSize));
      const messages = this.#socket.dump({ type: SOCK_DIAG_BY_FAMILY, body, what: 'list UDP sockets' });
      return messages.map(message => decode(message.body)).filter(socket => socket !== undefined);
    });
  }

  /** Its owner gets ECONNABORTED. False: it is gone already. Throws NETLINK EOPNOTSUPP where the kernel cannot. */
  destroy({ family, id }: DiagSocket): boolean {
    const body = request(family === 4 ? AF_INET : AF_INET6, allStates, id);
    try {
      this.#socket.execute({ type: SOCK_DESTROY, flags: 0, body, what: 'close a UDP socket' });
      return true;
    } catch (error) {
      if (error instanceof KernelError && error.errno === 'ENOENT') return false;
      throw error;
    }
  }

  close(): void {
    this.#socket.close();
  }
}
