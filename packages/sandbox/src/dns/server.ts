/** DNS over UDP and TCP (RFC 1035, RFC 7766), IPv4 and IPv6. */
import { createSocket, type RemoteInfo, type Socket as UdpSocket } from 'node:dgram';
import { createServer, type Socket } from 'node:net';
import { AUTHORITATIVE_ANSWER, decode, encode, type Packet, RECURSION_DESIRED, TRUNCATED_RESPONSE } from 'dns-packet';
import { answer, Rcode } from './answer.ts';
import type { DnsStore } from './store.ts';

const largestWithoutEdns = 512;

/** The encoded reply; undefined for what is no query. `limit` = bytes that fit. */
export function respond(message: Uint8Array, store: DnsStore, limit: number): Buffer | undefined {
  let query: Packet;
  try {
    query = decode(Buffer.from(message));
  } catch {
    return undefined;
  }
  const [question] = query.questions ?? [];
  if (query.type !== 'query' || question === undefined) return undefined;
  const { rcode, answers, additionals, authorities } = answer({ name: question.name, type: question.type }, store);
  const edns = query.additionals?.find(record => record.type === 'OPT');
  const room = Math.max(largestWithoutEdns, edns?.type === 'OPT' ? edns.udpPayloadSize : 0);
  const authoritative = rcode === Rcode.refused ? 0 : AUTHORITATIVE_ANSWER;
  const base: Packet = {
    type: 'response',
    id: query.id ?? 0,
    flags: authoritative | ((query.flags ?? 0) & RECURSION_DESIRED) | rcode,
    questions: [question],
  };
  const whole = encode({
    ...base,
    answers: [...answers],
    authorities: [...authorities],
    additionals: [...additionals],
  });
  if (whole.length <= Math.min(limit, limit === 65535 ? limit : room)) return whole;
  return encode({ ...base, flags: (base.flags ?? 0) | TRUNCATED_RESPONSE });
}

/** Resolves when all four sockets listen. */
export async function serveDns(port: number, store: DnsStore): Promise<void> {
  await Promise.all([udp('udp4', port, store), udp('udp6', port, store), tcp(port, store)]);
}

function udp(type: 'udp4' | 'udp6', port: number, store: DnsStore): Promise<void> {
  const socket: UdpSocket = createSocket({ type, ipv6Only: type === 'udp6' });
  socket.on('message', (message: Buffer, from: RemoteInfo) => {
    const reply = respond(message, store, 4096);
    if (reply !== undefined) socket.send(reply, from.port, from.address);
  });
  return new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.bind(port, () => {
      socket.off('error', reject);
      socket.on('error', error => process.stderr.write(`dns: ${type}: ${error.message}\n`));
      resolve();
    });
  });
}

function tcp(port: number, store: DnsStore): Promise<void> {
  const server = createServer(socket => converse(socket, store));
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '::', () => resolve());
  });
}

/** Messages with two bytes of length before each. */
function converse(socket: Socket, store: DnsStore): void {
  let pending = Buffer.alloc(0);
  socket.setTimeout(10_000, () => socket.destroy());
  socket.on('error', () => socket.destroy());
  socket.on('data', chunk => {
    pending = Buffer.concat([pending, chunk]);
    while (pending.length >= 2 && pending.length >= 2 + pending.readUInt16BE(0)) {
      const length = pending.readUInt16BE(0);
      const reply = respond(pending.subarray(2, 2 + length), store, 65535);
      pending = pending.subarray(2 + length);
      if (reply === undefined) {
        socket.destroy();
        return;
      }
      const head = Buffer.alloc(2);
      head.writeUInt16BE(reply.length);
      socket.write(Buffer.concat([head, reply]));
    }
  });
}
