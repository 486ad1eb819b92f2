import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress } from '@ciliate/model';
import { probeFrame } from './probe-frame.ts';

const base = { sourcePort: 65_535, port: 80, sourceMac: '02:00:00:00:00:01', destinationMac: '02:00:00:00:00:02' };
const four = { ...base, source: parseAddress('192.168.0.1'), destination: parseAddress('192.168.0.199') };
const six = { ...base, source: parseAddress('fd00::1'), destination: parseAddress('fd00::2') };
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

test('a TCP SYN over IPv4, to the byte', () => {
  assert.equal(
    hex(probeFrame({ ...four, protocol: 6 })),
    '020000000002' +
      '020000000001' +
      '0800' +
      '4500002800000000' +
      '4006' +
      'f8b7' +
      'c0a80001' +
      'c0a800c7' +
      'ffff' +
      '0050' +
      '0000000000000000' +
      '5002' +
      '000000000000',
  );
});

test('an echo request over IPv6, to the byte', () => {
  assert.equal(
    hex(probeFrame({ ...six, protocol: 58, port: 128 })),
    '020000000002' +
      '020000000001' +
      '86dd' +
      '6000000000083a40' +
      `fd00${'0'.repeat(27)}1` +
      `fd00${'0'.repeat(27)}2` +
      '80000000' +
      'ffff0000',
  );
});

test('a UDP header has its length', () => {
  assert.equal(hex(probeFrame({ ...four, protocol: 17 })).slice(-16), 'ffff0050' + '0008' + '0000');
});
