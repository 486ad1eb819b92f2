/** ciliate-cni: run by the container runtime for every pod, so nothing heavy is imported here. */
import { readFileSync, writeSync } from 'node:fs';
import { runPlugin } from '../cni/plugin.ts';

const output = await runPlugin(process.env, () => readFileSync(0, 'utf8'));
if (output.stdout !== '') writeSync(1, `${output.stdout}\n`);
process.exitCode = output.exitCode;
