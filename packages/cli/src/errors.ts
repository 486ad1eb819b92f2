/** A failure that the user can act on: printed as its message alone, without a stack. */
export class CliError extends Error {
  readonly code: string;
  /** Exit code of the process: 1 failed, 2 wrong usage. */
  readonly exitCode: number;

  constructor(data: { readonly code: string; readonly exitCode?: number }, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'CliError';
    this.code = data.code;
    this.exitCode = data.exitCode ?? 1;
  }
}
