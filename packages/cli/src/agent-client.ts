/** The agent's REST API over its unix socket. */
import { type IncomingMessage, request } from 'node:http';
import { CliError } from './errors.ts';

export interface AgentClient {
  /** GET of a JSON answer. Throws CliError AGENT_UNREACHABLE or AGENT_ERROR. */
  get<T>(path: string): Promise<T>;
  /** Lines of a stream that goes on until the agent or `signal` ends it. */
  lines(path: string, signal: AbortSignal): AsyncIterable<string>;
}

function unreachable(socketPath: string, cause: NodeJS.ErrnoException): CliError {
  const reason =
    cause.code === 'EACCES'
      ? 'permission denied: run as root'
      : cause.code === 'ENOENT' || cause.code === 'ECONNREFUSED'
        ? 'no agent listens there: is it running? (`ciliate sandbox status`, or name it with --node or --socket-path)'
        : cause.message;
  return new CliError({ code: 'AGENT_UNREACHABLE' }, `cannot reach the agent at ${socketPath}: ${reason}`, { cause });
}

function open(socketPath: string, path: string, signal?: AbortSignal): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const options = { socketPath, path, method: 'GET', headers: { accept: 'application/json', host: 'localhost' } };
    const call = request(signal === undefined ? options : { ...options, signal }, resolve);
    call.on('error', (cause: NodeJS.ErrnoException) => reject(unreachable(socketPath, cause)));
    call.end();
  });
}

async function bodyOf(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks).toString('utf8');
}

function messageOf(body: string): string {
  try {
    const parsed: unknown = JSON.parse(body);
    if (typeof parsed === 'string') return parsed;
    if (typeof parsed === 'object' && parsed !== null && 'message' in parsed) {
      const remedy = 'remedy' in parsed && parsed.remedy !== '' ? `: ${String(parsed.remedy)}` : '';
      return `${String(parsed.message)}${remedy}`;
    }
  } catch {
    // Not JSON: shown as it is.
  }
  return body.trim();
}

async function failure(path: string, response: IncomingMessage): Promise<CliError> {
  const message = messageOf(await bodyOf(response));
  return new CliError({ code: 'AGENT_ERROR' }, `agent: GET ${path}: ${response.statusCode ?? 0} ${message}`);
}

export function createAgentClient(socketPath: string): AgentClient {
  return {
    async get<T>(path: string): Promise<T> {
      const response = await open(socketPath, path);
      if (response.statusCode !== 200) throw await failure(path, response);
      return JSON.parse(await bodyOf(response));
    },
    async *lines(path, signal) {
      const response = await open(socketPath, path, signal);
      if (response.statusCode !== 200) throw await failure(path, response);
      let rest = '';
      for await (const chunk of response) {
        const parts = (rest + String(chunk)).split('\n');
        rest = parts.pop() ?? '';
        yield* parts.filter(line => line !== '');
      }
    },
  };
}
