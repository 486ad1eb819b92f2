/** The process of ciliate-agent: options, signals, exit code. */
import { hostname } from 'node:os';
import { join } from 'node:path';
import { findCgroupRoot, probeFeatures, requireFeatures } from '@ciliate/kernel';
import { Agent } from './agent.ts';
import type { OpenDatapath } from './agent-datapath.ts';
import { boundHeap } from './heap.ts';
import { createLog, describe } from './log.ts';
import { openDatapath } from './open-datapath.ts';
import type { AgentOptions } from './options/agent-options.ts';
import { overruledOptions, serviceOnlyReason, withServiceOnly } from './options/service-only.ts';

/** Runs until SIGTERM or SIGINT; pods keep their connections. Resolves to the exit code. */
export async function runAgent(given: AgentOptions, open: OpenDatapath = openDatapath): Promise<number> {
  boundHeap();
  const options = withServiceOnly(withDefaults(given));
  // Before anything is written or waited for: a node that lacks something is told so at once.
  const cgroupRoot = options['cgroup-root'] === '' ? findCgroupRoot() : options['cgroup-root'];
  requireFeatures(probeFeatures({ bpfRoot: options['bpf-root'], cgroupRoot }));
  const log = createLog(options['log-level'], { subsys: 'agent', node: options['node-name'] });
  const overruled = overruledOptions(given);
  if (overruled.length > 0) log.warn('options are without effect', { options: overruled, reason: serviceOnlyReason });
  const stop = new AbortController();
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => stop.abort());
  const agent = new Agent(options, { log, open });
  try {
    await agent.start(stop.signal);
  } catch (error) {
    if (!stop.signal.aborted) {
      log.error('the agent cannot start', { error: describe(error) });
      await agent.stop();
      throw error;
    }
  }
  if (!stop.signal.aborted) {
    await new Promise<void>(resolve => stop.signal.addEventListener('abort', () => resolve(), { once: true }));
  }
  log.info('stopping; programs and maps stay in place');
  await agent.stop();
  return 0;
}

function withDefaults(options: AgentOptions): AgentOptions {
  const stateDir = options['state-dir'];
  return {
    ...options,
    'node-name': options['node-name'] === '' ? hostname() : options['node-name'],
    'socket-path': options['socket-path'] === '' ? join(stateDir, 'ciliate.sock') : options['socket-path'],
  };
}
