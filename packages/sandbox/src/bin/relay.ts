/**
 * Copies bytes between two network namespaces: listens here, connects there.
 *
 *   relay --listen tcp:172.30.0.1:6443 --listen unix:/x.sock --connect tcp:127.0.0.1:6443
 *
 * A unix socket does not belong to a network namespace, so two relays with one between them join two namespaces.
 */
import { rmSync } from 'node:fs';
import { connect, createServer, type ListenOptions, type NetConnectOpts, type Socket } from 'node:net';
import { parseArgs } from 'node:util';

function parseTarget(text: string): { readonly path: string } | { readonly host: string; readonly port: number } {
  const [, kind, rest = ''] = /^(tcp|unix):(.+)$/.exec(text) ?? [];
  if (kind === 'unix') return { path: rest };
  const split = rest.lastIndexOf(':');
  const port = Number(rest.slice(split + 1));
  if (kind !== 'tcp' || split < 1 || !Number.isInteger(port)) {
    process.stderr.write(`relay: '${text}' is not tcp:HOST:PORT or unix:PATH\n`);
    process.exit(2);
  }
  return { host: rest.slice(0, split), port };
}

function join(here: Socket, there: Socket): void {
  here.pipe(there);
  there.pipe(here);
  const end = (): void => {
    here.destroy();
    there.destroy();
  };
  for (const socket of [here, there]) {
    socket.on('error', end);
    socket.on('close', end);
  }
}

const { values } = parseArgs({
  options: { listen: { type: 'string', multiple: true }, connect: { type: 'string' } },
});
const target: NetConnectOpts = parseTarget(values.connect ?? '');
for (const listen of values.listen ?? []) {
  const where: ListenOptions = parseTarget(listen);
  if (where.path !== undefined) rmSync(where.path, { force: true });
  const server = createServer({ allowHalfOpen: true }, here => join(here, connect({ ...target, allowHalfOpen: true })));
  server.on('error', error => {
    process.stderr.write(`relay: cannot listen on ${listen}: ${error.message}\n`);
    process.exit(1);
  });
  server.listen(where);
}
