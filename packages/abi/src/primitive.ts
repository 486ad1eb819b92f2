import { getU16, getU32, setU16, setU32 } from './bytes.ts';
import type { Codec } from './codec.ts';

/** Map keys that are plain integers, in host order. */
export const u16Codec: Codec<number> = {
  name: '__u16',
  size: 2,
  write: (value, target, offset) => setU16(target, offset, value),
  read: getU16,
};
export const u32Codec: Codec<number> = {
  name: '__u32',
  size: 4,
  write: (value, target, offset) => setU32(target, offset, value),
  read: getU32,
};
