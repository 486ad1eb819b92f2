/** Constants that switch everything on, for programs that are loaded by tests. */
import { join } from 'node:path';
import { type DatapathConfig, encodeDatapathConfig } from '../../packages/abi/src/index.ts';
import { addressBytes, parseAddress } from '../../packages/model/src/index.ts';

export const address = (text: string): Uint8Array => addressBytes(parseAddress(text));

export const objectPath = (file: string): string => join(import.meta.dirname, '../../build/bpf', file);

export function fullConfig(other: Partial<DatapathConfig> = {}): Uint8Array {
  return encodeDatapathConfig({
    abiVersion: 1,
    flags: 1 | 2 | 4 | 8 | 16 | 32,
    routingMode: 1,
    hostIfindex: 1000,
    overlayIfindex: 1,
    directIfindex: 1,
    nodeIpv4: address('172.30.0.11'),
    nodeIpv6: address('fd00:172:30::11'),
    routerIpv4: address('10.244.1.1'),
    routerIpv6: address('fd00:10:244:1::1'),
    hairpinIpv4: address('169.254.42.1'),
    hairpinIpv6: address('fe80::a9fe:2a01'),
    hostMac: new Uint8Array(6),
    mtu: 1450,
    nodePortMin: 30_000,
    nodePortMax: 32_767,
    snatPortMin: 1024,
    snatPortMax: 29_999,
    ctTcpEstablished: 21_600,
    ctTcpSyn: 60,
    ctTcpClosing: 10,
    ctUdp: 60,
    ctOther: 60,
    maglevSize: 16381,
    maglevSeed: 0,
    tunnelPort: 8472,
    hostNetnsCookie: 0n,
    ...other,
  });
}
