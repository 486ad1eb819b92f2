/**
 * Who answers, and whom it takes for its client, by TCP and UDP: a server that says so, and a client that asks several times, each time from
 * another socket.
 *
 *   node who-answers.ts serve NAME PORT…
 *   node who-answers.ts ask tcp|udp HOST PORT TIMES     prints a line `NAME CLIENT`, or what went wrong, for each time
 */
import { createSocket } from 'node:dgram';
import { connect, createServer, isIPv6 } from 'node:net';

const patience = 700;
const plain = (address = ''): string => address.replace(/^::ffff:(?=\d+\.)/, '');

function serve(name: string, port: number): void {
  createServer(socket => {
    socket.on('error', () => undefined);
    socket.end(`${name} ${plain(socket.remoteAddress)}`);
  }).listen(port, '::');
  for (const type of ['udp4', 'udp6'] as const) {
    const socket = createSocket({ type, ipv6Only: type === 'udp6' });
    socket.on('message', (_message, from) => socket.send(`${name} ${from.address}`, from.port, from.address));
    socket.bind(port);
  }
}

function askTcp(host: string, port: number): Promise<string> {
  return new Promise(resolve => {
    let text = '';
    const socket = connect({ host, port });
    const end = (answer: string): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(patience, () => end('silence'));
    socket.on('data', chunk => {
      text += String(chunk);
    });
    socket.on('end', () => end(text));
    socket.on('error', (error: NodeJS.ErrnoException) => end(error.code ?? error.message));
  });
}

function askUdp(host: string, port: number): Promise<string> {
  return new Promise(resolve => {
    const socket = createSocket(isIPv6(host) ? 'udp6' : 'udp4');
    const end = (answer: string): void => {
      clearTimeout(timer);
      socket.close();
      resolve(answer);
    };
    const timer = setTimeout(() => end('silence'), patience);
    socket.on('message', message => end(String(message)));
    const fail = (error: NodeJS.ErrnoException) => end(error.code ?? error.message);
    socket.on('error', fail);
    // A refusal is told to connected sockets alone.
    socket.connect(port, host, ((error?: Error) => {
      if (error === undefined || error === null) socket.send('?');
      else fail(error);
    }) as () => void);
  });
}

const [what, ...rest] = process.argv.slice(2);
if (what === 'serve') {
  const [name = '', ...ports] = rest;
  for (const port of ports) serve(name, Number(port));
  process.stdout.write('serves\n');
} else {
  const [kind, host = '', port, times] = rest;
  for (let i = 0; i < Number(times); i += 1) {
    process.stdout.write(`${await (kind === 'udp' ? askUdp : askTcp)(host, Number(port))}\n`);
  }
}
