/** Errors of the kernel edge: a stable code, data, and a message that says what to do. */
import { constants } from 'node:os';

export type KernelErrorCode =
  | 'MAP_FULL'
  | 'MAP_EXISTS'
  | 'MAP_NOT_FOUND'
  | 'MAP_ABI_MISMATCH'
  | 'MAP_SIZE_KEPT'
  | 'OBJECT_MISSING'
  | 'OBJECT_INVALID'
  | 'OBJECT_ABI_MISMATCH'
  | 'VERIFIER_REJECTED'
  | 'PROGRAM_NOT_FOUND'
  | 'FEATURE_MISSING'
  | 'NETLINK'
  | 'SYSCALL';

export interface KernelErrorData {
  readonly code: KernelErrorCode;
  /** 'ENOENT', when a system call said so. */
  readonly errno?: string;
  readonly map?: string;
  readonly maxEntries?: number;
  readonly program?: string;
  readonly path?: string;
  /** The verifier's whole log. */
  readonly log?: string;
}

export class KernelError extends Error {
  readonly code: KernelErrorCode;
  readonly data: KernelErrorData;

  constructor(data: KernelErrorData, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'KernelError';
    this.code = data.code;
    this.data = data;
  }

  /** 'ENOENT' and the like, '' when no system call failed. */
  get errno(): string {
    return this.data.errno ?? '';
  }
}

const names = new Map<number, string>(Object.entries(constants.errno).map(([name, number]) => [number, name]));

/** 'ENOENT' for 2. */
export function errnoName(errno: number): string {
  return names.get(Math.abs(errno)) ?? `errno ${Math.abs(errno)}`;
}

export function syscallError(what: string, errno: number, data: Partial<KernelErrorData> = {}): KernelError {
  const name = errnoName(errno);
  const hint = name === 'EPERM' || name === 'EACCES' ? ': run as root (CAP_BPF, CAP_NET_ADMIN, CAP_SYS_ADMIN)' : '';
  return new KernelError({ code: 'SYSCALL', errno: name, ...data }, `${what}: ${name}${hint}`);
}
