import { createHash } from 'node:crypto';

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

/** Chains are named by the first characters of a base32 hash. */
export function digest(text: string, length = 16): string {
  const bytes = createHash('sha256').update(text).digest().subarray(0, length);
  return [...bytes].map(byte => alphabet[byte & 31]).join('');
}
