/**
 * Sends datagrams to HOST PORT one after the other, a few hundred a second, until the file STOP is there; then prints how many were sent and
 * how many came back. All by one socket: one flow.
 *
 *   node udp-stream.ts HOST PORT STOP
 */
import { createSocket } from 'node:dgram';
import { existsSync } from 'node:fs';
import { isIPv6 } from 'node:net';

const [host = '', port = '0', stop = ''] = process.argv.slice(2);
/** An answer that is later than this is lost. Milliseconds. */
const latest = 10_000;
const socket = createSocket({ type: isIPv6(host) ? 'udp6' : 'udp4', recvBufferSize: 1 << 20 });
const answered = new Set<string>();
let sent = 0;
let isLast = false;

function end(): void {
  process.stdout.write(`${JSON.stringify({ sent, answered: answered.size })}\n`);
  process.exit(0);
}

socket.on('message', message => {
  answered.add(message.toString('latin1'));
  if (isLast && answered.size === sent) end();
});

const timer = setInterval(() => {
  if (!existsSync(stop)) {
    sent += 1;
    socket.send(String(sent), Number(port), host);
    return;
  }
  isLast = true;
  clearInterval(timer);
  setTimeout(end, answered.size === sent ? 0 : latest);
}, 3);
