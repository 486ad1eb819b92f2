/** What a command gets: where it prints, and the agent it talks to. */
import { join } from 'node:path';
import { type AgentClient, createAgentClient } from './agent-client.ts';
import { createOutput, type Output } from './output.ts';

export interface GlobalOptions {
  readonly node?: string;
  readonly socketPath?: string;
  readonly output?: string;
}

export interface Context {
  readonly output: Output;
  readonly agent: AgentClient;
}

export const defaultSocketPath = '/var/run/ciliate/ciliate.sock';

/** `--socket-path`, else the sandbox node that `--node` names, else the agent of this machine. */
export function socketPathOf(options: GlobalOptions): string {
  if (options.socketPath !== undefined) return options.socketPath;
  if (options.node === undefined) return process.env.CILIATE_SOCKET ?? defaultSocketPath;
  return join('/run/ciliate', process.env.CILIATE_SANDBOX ?? 'sandbox', options.node, 'ciliate.sock');
}

export function createContext(options: GlobalOptions): Context {
  const json = options.output === 'json';
  return {
    output: createOutput({ json, stream: process.stdout }),
    agent: createAgentClient(socketPathOf(options)),
  };
}
