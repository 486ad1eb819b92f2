import pino from 'pino';
import { LogStream } from './log-stream.ts';

export type LogData = Readonly<Record<string, unknown>>;

/** Message first, then data: `log.warn('map update failed', { map, key, error })`. */
export interface Log {
  debug(message: string, data?: LogData): void;
  info(message: string, data?: LogData): void;
  warn(message: string, data?: LogData): void;
  error(message: string, data?: LogData): void;
  child(data: LogData): Log;
}

/**
 * JSON lines on standard output, level as text. A reader that has stopped does not stop the agent: what does not fit the backlog is lost,
 * and its number is told when the reader goes on.
 */
export function createLog(level: string, base: LogData): Log {
  const destination = new LogStream(1, {
    caughtUp: lines => log.warn('log lines are lost: nobody has read standard output', { lines }),
  });
  const log = wrap(
    pino(
      { level, base, timestamp: pino.stdTimeFunctions.isoTime, formatters: { level: label => ({ level: label }) } },
      destination,
    ),
  );
  return log;
}

function wrap(logger: pino.Logger): Log {
  return {
    debug: (message, data = {}) => logger.debug(data, message),
    info: (message, data = {}) => logger.info(data, message),
    warn: (message, data = {}) => logger.warn(data, message),
    error: (message, data = {}) => logger.error(data, message),
    child: data => wrap(logger.child(data)),
  };
}

/** What an error says, with its causes. */
export function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause === undefined ? error.message : `${error.message} (${describe(error.cause)})`;
}
