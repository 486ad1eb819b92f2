export interface SourceErrorData {
  readonly code:
    | 'NO_KUBECONFIG'
    | 'BAD_KUBECONFIG'
    | 'API_STATUS'
    | 'API_UNREACHABLE'
    | 'API_PROTOCOL'
    | 'BAD_OBJECT'
    | 'BAD_MANIFEST';
  /** File, URL or namespace/name that it is about. */
  readonly object: string;
  /** HTTP status or code of a Status object; only with API_STATUS. */
  readonly status?: number;
  /** `reason` of a Status object: 'NotFound', 'AlreadyExists', 'Conflict', 'Expired' … */
  readonly reason?: string;
}

/** What a source could not read or write. */
export class SourceError extends Error {
  override readonly name = 'SourceError';
  readonly data: SourceErrorData;

  constructor(data: SourceErrorData, message: string, options?: ErrorOptions) {
    super(message, options);
    this.data = data;
  }
}

/** HTTP status of an API error, undefined for every other failure. */
export function apiStatus(error: unknown): number | undefined {
  return error instanceof SourceError && error.data.code === 'API_STATUS' ? error.data.status : undefined;
}
