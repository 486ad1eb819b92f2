/** The bytes of a named section of an ELF64 little-endian file (elf(5)). */

/** Undefined when the file has no such section, or is no whole ELF file. */
export function elfSection(file: Uint8Array, name: string): Uint8Array | undefined {
  try {
    return findSection(file, name);
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

/** Throws RangeError where the file ends too early. */
function findSection(file: Uint8Array, name: string): Uint8Array | undefined {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const table = Number(view.getBigUint64(40, true));
  const [entrySize, entries, names] = [58, 60, 62].map(offset => view.getUint16(offset, true));
  const header = (index = 0) => {
    const at = table + index * (entrySize ?? 0);
    const offset = Number(view.getBigUint64(at + 24, true));
    return { name: view.getUint32(at, true), offset, end: offset + Number(view.getBigUint64(at + 32, true)) };
  };
  const texts = header(names);
  for (let index = 0; index < (entries ?? 0); index++) {
    const section = header(index);
    if (textAt(file, texts.offset + section.name, texts.end) !== name) continue;
    if (section.end > file.length) return undefined;
    return file.subarray(section.offset, section.end);
  }
  return undefined;
}

function textAt(file: Uint8Array, offset: number, limit: number): string {
  const end = file.indexOf(0, offset);
  return Buffer.from(file.subarray(offset, end < 0 ? limit : Math.min(end, limit))).toString('latin1');
}
