export type TableErrorCode =
  | 'DUPLICATE_TABLE'
  | 'NESTED_WRITE'
  | 'ASYNC_WRITE'
  | 'TRANSACTION_CLOSED'
  | 'INITIALIZER_REPORTED'
  | 'CURSOR_CLOSED'
  | 'BAD_PREFIX';

/** A misuse of the table engine. `details` names the table, initializer or key it is about. */
export class TableError extends Error {
  readonly code: TableErrorCode;
  readonly details: Readonly<Record<string, string | number>>;

  constructor(code: TableErrorCode, details: Readonly<Record<string, string | number>>, message: string) {
    super(message);
    this.name = 'TableError';
    this.code = code;
    this.details = details;
  }
}
