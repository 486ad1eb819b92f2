import pino from 'pino';

export type LogData = Readonly<Record<string, unknown>>;

/** Message first, then data: `log.warn('map update failed', { map, key, error })`. */
export interface Log {
  debug(message: string, data?: LogData): void;
  info(message: string, data?: LogData): void;
  warn(message: string, data?: LogData): void;
  error(message: string, data?: LogData): void;
  child(data: LogData): Log;
}

/** JSON lines on standard output, level as text. */
export function createLog(level: string, base: LogData): Log {
  return wrap(
    pino(
      { level, base, timestamp: pino.stdTimeFunctions.isoTime, formatters: { level: label => ({ level: label }) } },
      pino.destination({ fd: 1, sync: true }),
    ),
  );
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
