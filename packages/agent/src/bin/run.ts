/** What the bins have in common: options, --help, exit codes. */
import type { OptionSet, OptionValues } from '../options/option.ts';
import { OptionError, parseOptions, usage } from '../options/parse.ts';

/** Exit codes: 0 ended well, 1 failed, 2 wrong command line. */
export async function runBin<Set extends OptionSet>(
  program: string,
  set: Set,
  main: (options: OptionValues<Set>) => Promise<number>,
): Promise<void> {
  const argv = process.argv.slice(2);
  if (argv.includes('--help') || argv.includes('-h')) {
    process.stdout.write(usage(program, set));
    return;
  }
  try {
    process.exitCode = await main(parseOptions(set, argv));
  } catch (error) {
    const wrongOption = error instanceof OptionError;
    process.stderr.write(`${program}: ${error instanceof Error ? error.message : String(error)}\n`);
    if (wrongOption) process.stderr.write(`${program} --help lists the options\n`);
    process.exitCode = wrongOption ? 2 : 1;
  }
  // Sockets and watches that are still ending must not keep a failed or finished process alive.
  process.exit();
}
