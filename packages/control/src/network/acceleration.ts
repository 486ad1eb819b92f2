/** Where XDP handles services before tc does. */
import type { Acceleration, DeviceRow, NodeConfig } from '@ciliate/model';

const none = (why: string): Acceleration => ({ mode: 'none', why });

/** By what the driver says of itself; attaching may still fail. */
export function accelerationOf(device: DeviceRow, wanted: NodeConfig['lbAcceleration']): Acceleration {
  const { name, kind, xdp } = device;
  if (wanted === 'disabled') return none('');
  if (!/[1-9a-f]/.test(device.mac)) return none(`${name} has no Ethernet header`);
  if (xdp?.runs === false) return none(`the driver of ${name}${kind === '' ? '' : ` (${kind})`} runs no XDP programs`);
  if (kind === 'veth' && xdp?.transmits !== true) {
    const known = xdp === undefined ? 'is not known to take' : 'does not take';
    return none(
      `the other end of the veth ${name} ${known} frames that XDP sends: switch GRO on there ('ethtool -K PEER gro on', and Linux 6.3 to see it)`,
    );
  }
  return { mode: 'native', why: '' };
}
