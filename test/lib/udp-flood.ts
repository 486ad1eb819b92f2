/**
 * Sends COUNT empty UDP datagrams from the address FROM to TO as fast as it can, and ends when the last one has left.
 *
 *   node udp-flood.ts FROM TO COUNT
 */
import { createSocket } from 'node:dgram';

const [from = '', to = '', count = '1'] = process.argv.slice(2);
const socket = createSocket(from.includes(':') ? 'udp6' : 'udp4');
let left = Number(count);

function send(): void {
  if (left === 0) {
    socket.close();
    return;
  }
  left -= 1;
  // One at a time: a full socket buffer would swallow the rest.
  socket.send('', 9, to, send);
}

socket.bind({ address: from, port: 0 }, send);
