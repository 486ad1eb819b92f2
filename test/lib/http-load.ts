/** HTTP requests from a place of a sandbox until told to stop: each URL by new connections one after the other, and by some that are held. */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Cluster } from './cluster.ts';

export interface LoadReport {
  /** Requests that have been answered. */
  readonly done: number;
  readonly failed: readonly string[];
  /** Sockets that the held connections have used: one each, if none broke. */
  readonly sockets: number;
}

const heldEach = 3;

/** argv: stop file, held connections of each URL, URLs. */
const script = `
const { Agent, get } = require('node:http'), { existsSync } = require('node:fs');
const [, stop, held, ...urls] = process.argv;
let done = 0; const failed = [], sockets = new Set();
const ask = (url, agent) => new Promise(resolve => {
  const end = error => { if (error) failed.push(url + ' ' + error.message); resolve(); };
  const request = get(url, { agent, timeout: 10000 }, answer => {
    answer.resume(); answer.on('end', () => { done += 1; end(); }); answer.on('error', end);
  });
  if (agent) request.on('socket', socket => sockets.add(socket));
  request.on('timeout', () => request.destroy(new Error('no answer within 10 s')));
  request.on('error', end);
});
const loop = async (url, agent, wait) => {
  while (!existsSync(stop)) { await ask(url, agent); await new Promise(go => setTimeout(go, wait)); }
  if (agent) agent.destroy();
};
const kept = url => Array.from({ length: Number(held) }, () => loop(url, new Agent({ keepAlive: true, maxSockets: 1 }), 30));
Promise.all(urls.flatMap(url => [loop(url, false, 10), ...kept(url)]))
  .then(() => console.log(JSON.stringify({ done, failed, sockets: sockets.size })));
`;

export class HttpLoad {
  readonly #folder = mkdtempSync(join(tmpdir(), 'ciliate-load-'));
  readonly #file: string;
  readonly #running: ReturnType<Cluster['execLong']>;
  readonly held: number;

  /** `from`: as of Cluster.exec. */
  constructor(cluster: Cluster, from: string, urls: readonly string[]) {
    this.#file = join(this.#folder, randomBytes(4).toString('hex'));
    this.held = heldEach * urls.length;
    const args = [process.execPath, '-e', script, this.#file, String(heldEach), ...urls];
    this.#running = cluster.execLong(from, 180_000, ...args);
  }

  async stop(): Promise<LoadReport> {
    writeFileSync(this.#file, '');
    const { code, stdout, stderr } = await this.#running;
    rmSync(this.#folder, { recursive: true, force: true });
    if (code !== 0) throw new Error(`the load ended with ${code}: ${stderr}`);
    return JSON.parse(stdout) as LoadReport;
  }
}
