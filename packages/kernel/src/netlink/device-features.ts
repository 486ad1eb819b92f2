/** What drivers can do: XDP (netdev family, Linux 6.3) and offloads (ethtool family). Source: linux/netdev.h, linux/ethtool_netlink.h. */
import { GenericFamily, genericHeaderSize } from './generic.ts';
import { attribute, decodeAttributes, nested, text } from './message.ts';

/** enum netdev_xdp_act */
export const XdpFeature = {
  /** Runs programs, with XDP_ABORTED, DROP, PASS and TX. */
  BASIC: 1,
  REDIRECT: 2,
  /** Takes frames that a program redirects to it. For a veth, also those that it sends back itself. */
  NDO_XMIT: 4,
  /** Runs programs on packets in several buffers. */
  RX_SG: 32,
  NDO_XMIT_SG: 64,
} as const;

const NETDEV_CMD_DEV_GET = 1;
const NETDEV_A_DEV = { IFINDEX: 1, XDP_FEATURES: 3 } as const;

/** Device index → bits of XdpFeature. Undefined: the kernel does not tell (before Linux 6.3). */
export function listXdpFeatures(netns?: string): ReadonlyMap<number, number> | undefined {
  const family = GenericFamily.open('netdev', netns);
  if (family === undefined) return undefined;
  try {
    const messages = family.dump({ command: NETDEV_CMD_DEV_GET, attributes: [], what: 'list XDP features of devices' });
    return new Map(
      messages.map(message => {
        const found = decodeAttributes(message.body, genericHeaderSize);
        const features = found.get(NETDEV_A_DEV.XDP_FEATURES);
        return [
          found.get(NETDEV_A_DEV.IFINDEX)?.readUInt32LE(0) ?? 0,
          Number(features?.readBigUInt64LE(0) ?? 0n),
        ] as const;
      }),
    );
  } finally {
    family.close();
  }
}

/** Calls `changed` when a driver can do other things with XDP than before: the other end of a veth may be in a namespace that we do not see. */
export function watchXdpFeatures(changed: () => void): () => void {
  const family = GenericFamily.open('netdev');
  try {
    return family?.watch('mgmt', changed) ?? (() => undefined);
  } finally {
    family?.close();
  }
}

const ETHTOOL_MSG_FEATURES_SET = 12;
const ETHTOOL_A_FEATURES = { HEADER: 1, WANTED: 3 } as const;
const ETHTOOL_A_HEADER_DEV_NAME = 2;
const ETHTOOL_A_BITSET_BITS = 3;
const ETHTOOL_A_BITSET_BITS_BIT = 1;
const ETHTOOL_A_BITSET_BIT = { NAME: 2, VALUE: 3 } as const;

/** `ethtool --features DEVICE FEATURE on|off`; features by the kernel's names: 'rx-gro', 'tx-checksum-ip-generic'. Throws NETLINK. */
export function setDeviceFeature(device: string, feature: string, on: boolean, netns?: string): void {
  const family = GenericFamily.open('ethtool', netns);
  const value = on ? [attribute(ETHTOOL_A_BITSET_BIT.VALUE, new Uint8Array())] : [];
  const bit = nested(ETHTOOL_A_BITSET_BITS_BIT, attribute(ETHTOOL_A_BITSET_BIT.NAME, text(feature)), ...value);
  try {
    family?.execute({
      command: ETHTOOL_MSG_FEATURES_SET,
      attributes: [
        nested(ETHTOOL_A_FEATURES.HEADER, attribute(ETHTOOL_A_HEADER_DEV_NAME, text(device))),
        nested(ETHTOOL_A_FEATURES.WANTED, nested(ETHTOOL_A_BITSET_BITS, bit)),
      ],
      what: `set ${feature} of ${device} ${on ? 'on' : 'off'}`,
    });
  } finally {
    family?.close();
  }
}
