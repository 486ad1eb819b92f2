/** Errors in the API's own shape, so that kubectl prints them as it does a real server's. */
export class ApiError extends Error {
  readonly httpCode: number;
  readonly reason: string;
  readonly details: object;

  constructor(httpCode: number, reason: string, message: string, details: object = {}) {
    super(message);
    this.httpCode = httpCode;
    this.reason = reason;
    this.details = details;
  }
}

export interface Named {
  readonly plural: string;
  readonly group: string;
}

const qualified = (resource: Named): string =>
  resource.group === '' ? resource.plural : `${resource.plural}.${resource.group}`;
const details = (resource: Named, name: string): object => ({ name, group: resource.group, kind: resource.plural });

export const notFound = (resource: Named, name: string): ApiError =>
  new ApiError(404, 'NotFound', `${qualified(resource)} "${name}" not found`, details(resource, name));
export const alreadyExists = (resource: Named, name: string): ApiError =>
  new ApiError(409, 'AlreadyExists', `${qualified(resource)} "${name}" already exists`, details(resource, name));
export const conflict = (resource: Named, name: string, why: string): ApiError =>
  new ApiError(
    409,
    'Conflict',
    `Operation cannot be fulfilled on ${qualified(resource)} "${name}": ${why}`,
    details(resource, name),
  );
export const badRequest = (message: string): ApiError => new ApiError(400, 'BadRequest', message);
export const gone = (message: string): ApiError => new ApiError(410, 'Expired', message);

export interface FieldError {
  readonly field: string;
  readonly message: string;
}

/** One message that names every wrong field. */
export function invalid(kind: string, name: string, errors: readonly FieldError[]): ApiError {
  const causes = errors.map(error => ({ reason: 'FieldValueInvalid', message: error.message, field: error.field }));
  const text = errors.map(error => `${error.field}: ${error.message}`).join(', ');
  return new ApiError(422, 'Invalid', `${kind} "${name}" is invalid: ${text}`, { name, kind, causes });
}

export function statusBody(error: ApiError): object {
  return {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    message: error.message,
    reason: error.reason,
    details: error.details,
    code: error.httpCode,
  };
}

export const success = (extra: object = {}): object => ({
  kind: 'Status',
  apiVersion: 'v1',
  metadata: {},
  status: 'Success',
  ...extra,
});
