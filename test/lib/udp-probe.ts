/**
 * Sends one UDP datagram of SIZE bytes to HOST PORT and prints the answer's first line, or exits 1 after three tries.
 * The datagram begins with a random token that the answer must carry back, so that a late answer is not taken for ours.
 *
 *   node udp-probe.ts HOST PORT [SIZE]
 */
import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { isIPv6 } from 'node:net';

const [host = '', port = '0', size = '32'] = process.argv.slice(2);
const payload = Buffer.alloc(Number(size), 'x');
const token = randomBytes(8).toString('hex');
payload.write(token, 0, 'latin1');

const socket = createSocket(isIPv6(host) ? 'udp6' : 'udp4');
let tries = 0;

function send(): void {
  tries += 1;
  if (tries > 3) {
    process.stderr.write(`no answer from ${host} port ${port} after 3 tries\n`);
    process.exit(1);
  }
  socket.send(payload, Number(port), host, error => {
    if (error !== null) process.stderr.write(`${error.message}\n`);
  });
  setTimeout(send, 1500);
}

socket.on('message', (message, from) => {
  if (!message.includes(token) || message.length < payload.length) return;
  process.stdout.write(`${from.address} ${from.port} ${message.length}\n`);
  process.exit(0);
});
socket.on('error', error => {
  process.stderr.write(`${error.message}\n`);
  process.exit(1);
});
send();
