export interface SandboxErrorData {
  readonly code:
    | 'BAD_NAME'
    | 'NOT_ROOT'
    | 'NOT_UP'
    | 'ALREADY_UP'
    | 'MISSING_TOOL'
    | 'NAME_TAKEN'
    | 'COMMAND_FAILED'
    | 'NOT_READY'
    | 'NO_TARGET'
    | 'NO_CGROUP2';
  readonly [field: string]: string | number;
}

/** What the sandbox could not do; the message says what to do about it. */
export class SandboxError extends Error {
  override readonly name = 'SandboxError';
  readonly data: SandboxErrorData;

  constructor(data: SandboxErrorData, message: string, options?: ErrorOptions) {
    super(message, options);
    this.data = data;
  }
}
