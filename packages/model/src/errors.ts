export type ModelErrorCode = 'BAD_ADDRESS' | 'BAD_PREFIX' | 'BAD_SELECTOR';

/** A text that is not what it should be. `details.text` is the text. */
export class ModelError extends Error {
  readonly code: ModelErrorCode;
  readonly details: { readonly text: string };

  constructor(code: ModelErrorCode, text: string, message: string) {
    super(message);
    this.name = 'ModelError';
    this.code = code;
    this.details = { text };
  }
}
