import type { CniError } from '@ciliate/protocol';

/** A failure in the words of the CNI spec; the plugin prints it on standard output and exits 1. */
export class CniFailure extends Error {
  override readonly name = 'CniFailure';
  readonly code: number;
  readonly details: string;

  constructor(code: number, message: string, details = '', options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.details = details;
  }

  toObject(): CniError {
    return { code: this.code, msg: this.message, ...(this.details === '' ? {} : { details: this.details }) };
  }
}
