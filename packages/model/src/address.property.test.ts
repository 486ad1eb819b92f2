import assert from 'node:assert/strict';
import { isIPv4 as nodeIsIPv4, isIPv6 as nodeIsIPv6 } from 'node:net';
import { test } from 'node:test';
import * as fc from 'fast-check';
import {
  addressBytes,
  addressFromBytes,
  addressOffset,
  compareAddresses,
  hostPort,
  isIPv4,
  makePrefix,
  nthAddress,
  parseAddress,
  parsePrefix,
  prefixAddress,
  prefixBits,
  prefixContains,
  prefixesOverlap,
  prefixLength,
  tryParseAddress,
  tryParsePrefix,
} from './address.ts';

const canonical: readonly (readonly [string, string])[] = [
  ['10.0.0.1', '10.0.0.1'],
  ['::', '::'],
  ['::1', '::1'],
  ['0:0:0:0:0:0:0:1', '::1'],
  ['FE80::A', 'fe80::a'],
  ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
  ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
  ['2001:0db8::0001', '2001:db8::1'],
  ['fd00:0:0:1::', 'fd00:0:0:1::'],
  ['1:0:0:2:0:0:0:3', '1:0:0:2::3'],
  ['::ffff:1.2.3.4', '1.2.3.4'],
  ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
];
for (const [text, expected] of canonical) {
  test(`address ${text} is ${expected}`, () => assert.equal(parseAddress(text), expected));
}

const none = [
  '',
  '1.2.3',
  '1.2.3.4.5',
  '256.0.0.1',
  '01.2.3.4',
  '1.2.3.4/24',
  'fe80::1%eth0',
  ':::',
  '1::2::3',
  'g::',
  '1:2:3:4:5:6:7:8:9',
  '1:2:3:4:5:6:7',
  '1.2.3.4::',
  '::1.2.3',
  '12345::',
  ' ::1',
];
for (const text of none) {
  test(`'${text}' is no address`, () => {
    assert.equal(tryParseAddress(text), undefined);
    assert.throws(() => parseAddress(text), { code: 'BAD_ADDRESS' });
  });
}

const prefixes: readonly (readonly [string, string | undefined])[] = [
  ['10.244.1.7/24', '10.244.1.0/24'],
  ['10.244.1.7', '10.244.1.7/32'],
  ['255.255.255.255/9', '255.128.0.0/9'],
  ['fd00::1/64', 'fd00::/64'],
  ['fd00:ffff:ffff::/17', 'fd00:8000::/17'],
  ['::/0', '::/0'],
  ['0.0.0.0/0', '0.0.0.0/0'],
  ['10.0.0.0/33', undefined],
  ['fd00::/129', undefined],
  ['10.0.0.0/', undefined],
  ['10.0.0.0/-1', undefined],
  ['10.0.0.0/8/8', undefined],
];
for (const [text, expected] of prefixes) {
  test(`prefix ${text} is ${expected}`, () => assert.equal(tryParsePrefix(text), expected));
}

test('hosts and ports are written with brackets where they must', () => {
  assert.equal(hostPort(parseAddress('10.0.0.1'), 80), '10.0.0.1:80');
  assert.equal(hostPort(parseAddress('fd00::1'), 80), '[fd00::1]:80');
});

const bytes = fc.uint8Array({ minLength: 16, maxLength: 16 });
const sparse = fc
  .array(fc.constantFrom(0, 0, 0, 1, 255), { minLength: 16, maxLength: 16 })
  .map(it => Uint8Array.from(it));
const mapped = fc
  .uint8Array({ minLength: 4, maxLength: 4 })
  .map(it => Uint8Array.from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, ...it]));
const anyBytes = fc.oneof(bytes, sparse, mapped);
const number = (from: Uint8Array) => from.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);

test('bytes → text → bytes is the same, and the text is what others take for canonical', () => {
  fc.assert(
    fc.property(anyBytes, from => {
      const text = addressFromBytes(from);
      assert.deepEqual(addressBytes(text), from);
      assert.equal(parseAddress(text), text);
      assert.ok(isIPv4(text) ? nodeIsIPv4(text) : nodeIsIPv6(text));
      if (!isIPv4(text)) assert.equal(new URL(`http://[${text}]/`).hostname, `[${text}]`);
    }),
  );
});

test('the order is that of the numbers, IPv4 first', () => {
  fc.assert(
    fc.property(anyBytes, anyBytes, (a, b) => {
      const [textA, textB] = [addressFromBytes(a), addressFromBytes(b)];
      const sign = Math.sign(compareAddresses(textA, textB));
      if (isIPv4(textA) !== isIPv4(textB)) assert.equal(sign, isIPv4(textA) ? -1 : 1);
      else assert.equal(sign, number(a) === number(b) ? 0 : number(a) < number(b) ? -1 : 1);
    }),
  );
});

test('prefixes contain, overlap and count as numbers say', () => {
  fc.assert(
    fc.property(sparse, sparse, fc.nat(128), fc.nat(128), (a, b, lengthA, lengthB) => {
      const [textA, textB] = [addressFromBytes(a), addressFromBytes(b)];
      if (isIPv4(textA) || isIPv4(textB)) return;
      const prefix = makePrefix(textA, lengthA);
      const other = makePrefix(textB, lengthB);
      assert.equal(parsePrefix(`${textA}/${lengthA}`), prefix);
      assert.equal(prefixLength(prefix), lengthA);
      const head = (from: Uint8Array, bits: number) => number(from) >> BigInt(128 - bits);
      assert.equal(prefixContains(prefix, textB), head(a, lengthA) === head(b, lengthA));
      const shorter = Math.min(lengthA, lengthB);
      assert.equal(prefixesOverlap(prefix, other), head(a, shorter) === head(b, shorter));
      const offset = addressOffset(prefix, textA);
      assert.equal(nthAddress(prefix, offset), textA);
      assert.equal(offset, number(a) - number(addressBytes(prefixAddress(prefix))));
    }),
  );
});

test('an IPv4 prefix counts its bits after ::ffff:', () => {
  assert.equal(prefixBits(parsePrefix('10.0.0.0/24')), 120);
  assert.equal(prefixBits(parsePrefix('fd00::/24')), 24);
  assert.equal(nthAddress(parsePrefix('10.0.0.0/24'), 255), '10.0.0.255');
  assert.throws(() => nthAddress(parsePrefix('10.0.0.0/24'), 256), { code: 'BAD_PREFIX' });
  assert.equal(prefixContains(parsePrefix('::/0'), parseAddress('10.0.0.1')), false);
});
