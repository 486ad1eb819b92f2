/** bin: ciliate */
import { CliError } from './errors.ts';
import { createProgram } from './program.ts';

try {
  await createProgram('0.1.0').parseAsync();
} catch (error) {
  if (!(error instanceof Error)) throw error;
  const exitCode = error instanceof CliError ? error.exitCode : 1;
  process.stderr.write(`ciliate: ${error.message}\n`);
  if (process.env.CILIATE_DEBUG !== undefined) process.stderr.write(`${error.stack ?? ''}\n`);
  process.exitCode = exitCode;
}
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
});
