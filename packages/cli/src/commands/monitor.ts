/** `ciliate monitor`: the datapath's events as they come, until Ctrl-C. */
import { type MonitorEvent, restPaths } from '@ciliate/protocol';
import type { Context } from '../context.ts';
import { CliError } from '../errors.ts';

export interface MonitorOptions {
  readonly type?: readonly string[];
  readonly relatedTo?: string;
  readonly hex?: boolean;
}

const types = ['drop', 'trace', 'policy-verdict', 'debug', 'trace-sock'];

function pathOf(options: MonitorOptions): string {
  const wrong = (options.type ?? []).find(type => !types.includes(type));
  if (wrong !== undefined) {
    throw new CliError(
      { code: 'USAGE', exitCode: 2 },
      `--type: '${wrong}' is not an event type: one of ${types.join(', ')}`,
    );
  }
  const query = new URLSearchParams();
  if (options.type !== undefined && options.type.length > 0) query.set('type', options.type.join(','));
  if (options.relatedTo !== undefined) query.set('related-to', options.relatedTo);
  if (options.hex === true) query.set('hex', 'true');
  return query.size === 0 ? restPaths.monitor : `${restPaths.monitor}?${query}`;
}

export async function monitor({ agent, output }: Context, options: MonitorOptions): Promise<void> {
  const stop = new AbortController();
  process.once('SIGINT', () => stop.abort());
  if (!output.json) process.stderr.write('Listening for events; Ctrl-C ends.\n');
  try {
    for await (const line of agent.lines(pathOf(options), stop.signal)) {
      if (output.json) {
        output.line(line);
        continue;
      }
      const event: MonitorEvent = JSON.parse(line);
      const isRefused = event.type === 'drop' || event.verdict?.action === 'deny';
      output.line(isRefused ? output.paint.bad(event.summary) : event.summary);
    }
  } catch (error) {
    if (!stop.signal.aborted) throw error;
  }
}
