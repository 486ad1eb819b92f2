/**
 * What stands for an image the machine has no program for: on each port of the container HTTP (TCP) or an echo (UDP),
 * IPv4 and IPv6. The HTTP answer says who answered, who asked, and with which headers.
 *
 *   echo [--ports 8080/TCP,9000/UDP]     without ports: 8080/TCP and 8080/UDP
 */
import { createSocket } from 'node:dgram';
import { createServer } from 'node:http';
import { parseArgs } from 'node:util';

const { values } = parseArgs({ options: { ports: { type: 'string', default: '' } } });
const pod = process.env.CILIATE_POD ?? process.env.HOSTNAME ?? '';
const node = process.env.CILIATE_NODE ?? '';

/** IPv4 as such, not as ::ffff:a.b.c.d of the dual-stack socket. */
const plain = (address: string | undefined): string => (address ?? '').replace(/^::ffff:(?=\d+\.)/, '');

function fail(what: string, error: Error): void {
  process.stderr.write(`echo: ${what}: ${error.message}\n`);
  process.exit(1);
}

function serveHttp(port: number): void {
  const server = createServer((request, response) => {
    const { socket } = request;
    let received = 0;
    request.on('data', (chunk: Buffer) => {
      received += chunk.length;
    });
    request.on('end', () => {
      const lines = [
        `pod: ${pod}`,
        `node: ${node}`,
        `client: ${plain(socket.remoteAddress)} ${socket.remotePort}`,
        `server: ${plain(socket.localAddress)} ${socket.localPort}`,
        `request: ${request.method} ${request.url} ${received} bytes`,
        ...Object.entries(request.headers).map(([name, value]) => `header: ${name}: ${String(value)}`),
      ];
      response.setHeader('content-type', 'text/plain');
      response.end(`${lines.join('\n')}\n`);
    });
  });
  server.on('error', error => fail(`port ${port}/TCP`, error));
  server.listen(port, '::');
}

function serveUdp(port: number): void {
  for (const type of ['udp4', 'udp6'] as const) {
    const socket = createSocket({ type, ipv6Only: type === 'udp6', recvBufferSize: 1 << 20, sendBufferSize: 1 << 20 });
    socket.on('message', (message, from) => {
      // An answer that cannot be sent is lost, as datagrams are.
      socket.send(message, from.port, from.address, () => undefined);
    });
    socket.on('error', error => fail(`port ${port}/UDP`, error));
    socket.bind(port);
  }
}

const ports = values.ports === '' ? ['8080/TCP', '8080/UDP'] : values.ports.split(',');
for (const entry of ports) {
  const [port = '0', protocol = 'TCP'] = entry.split('/');
  if (protocol === 'UDP') serveUdp(Number(port));
  else if (protocol === 'TCP') serveHttp(Number(port));
}
process.on('SIGTERM', () => process.exit(0));
process.stdout.write(`echo: ${pod} serves ${ports.join(', ')}\n`);
