/** ciliate-agent: one per node. */
import { runAgent } from '../main.ts';
import { agentOptions } from '../options/agent-options.ts';
import { runBin } from './run.ts';

await runBin('ciliate-agent', agentOptions, runAgent);
