import assert from 'node:assert/strict';
import { test } from 'node:test';
import { elfSection } from './elf.ts';

const names = '\0.text\0ciliate_abi\0.shstrtab\0';
const data = 'abcdef\0';

/** Header, names, data, then three section headers; `size` of the data as the header says. */
function file(size = data.length): Buffer {
  const table = 64 + names.length + data.length;
  const bytes = Buffer.alloc(table + 3 * 64);
  bytes.write('\x7fELF', 'latin1');
  bytes.writeBigUInt64LE(BigInt(table), 40);
  bytes.writeUInt16LE(64, 58);
  bytes.writeUInt16LE(3, 60);
  bytes.writeUInt16LE(2, 62);
  bytes.write(names + data, 64, 'latin1');
  const section = (index: number, name: string, offset: number, length: number): void => {
    bytes.writeUInt32LE(name === '' ? 0 : names.indexOf(name), table + index * 64);
    bytes.writeBigUInt64LE(BigInt(offset), table + index * 64 + 24);
    bytes.writeBigUInt64LE(BigInt(length), table + index * 64 + 32);
  };
  section(1, 'ciliate_abi', 64 + names.length, size);
  section(2, '.shstrtab', 64, names.length);
  return bytes;
}

test('a section by its name, and none by others', () => {
  assert.equal(Buffer.from(elfSection(file(), 'ciliate_abi') ?? []).toString(), data);
  assert.equal(elfSection(file(), 'ciliate'), undefined);
  assert.equal(elfSection(file(), '.text'), undefined);
});

test('a file cut off anywhere, or a section longer than it, has none', () => {
  const whole = file();
  for (let length = 0; length < whole.length - 64; length++)
    assert.equal(elfSection(whole.subarray(0, length), 'ciliate_abi'), undefined, String(length));
  assert.equal(elfSection(file(100_000), 'ciliate_abi'), undefined);
});

test('bytes that are anything do no harm', () => {
  for (let seed = 0; seed < 200; seed++) {
    const bytes = file();
    for (let index = 40; index < bytes.length; index += 1 + (seed % 7)) bytes[index] = (index * 31 + seed * 17) & 0xff;
    const found = elfSection(bytes, 'ciliate_abi');
    assert.ok(found === undefined || found.length <= bytes.length);
  }
});
