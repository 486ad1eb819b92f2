/** XDP as the agent starts with it, and as it is. */
import { accelerationOf } from '@ciliate/control';
import { type Datapath, readDevices, type TcDevice } from '@ciliate/datapath';
import { KernelError, NetlinkSocket } from '@ciliate/kernel';
import type { Acceleration, Tables } from '@ciliate/model';
import type { AgentOptions } from './options/agent-options.ts';
import type { DatapathView } from './status/context.ts';

/** Native devices, all of which XDP must run on. Throws FEATURE_MISSING that names those whose driver cannot; none unless 'native' is asked for. */
export function acceleratedDevices(options: AgentOptions): readonly TcDevice[] {
  if (options['bpf-lb-acceleration'] !== 'native') return [];
  const socket = new NetlinkSocket();
  try {
    const devices = readDevices(socket, { patterns: options.devices, xdp: true }).filter(row => row.native && row.up);
    const refused = devices.map(row => accelerationOf(row, 'native')).filter(({ mode }) => mode === 'none');
    if (refused.length === 0) return devices.map(({ name, ifindex }) => ({ device: name, ifindex }));
    throw new KernelError(
      { code: 'FEATURE_MISSING' },
      `--bpf-lb-acceleration native: ${refused.map(({ why }) => why).join('; ')}; or use best-effort, or leave the device out of --devices`,
    );
  } finally {
    socket.close();
  }
}

/** Of native devices: whether the program runs there, and why not where it belongs. */
export function accelerations(
  { xdp }: Datapath,
  tables: Tables,
): readonly ({ readonly device: string } & Acceleration)[] {
  return tables.netdevRows.all().map(({ device, acceleration }) => {
    if (acceleration.mode === 'none') return { device, ...acceleration };
    return xdp.runsOn(device)
      ? { device, mode: 'native', why: '' }
      : { device, mode: 'none', why: xdp.failure(device) ?? 'not attached yet' };
  });
}

/** Devices without XDP, where each has to have it. */
export function accelerationProblems(options: AgentOptions, view: DatapathView): readonly string[] {
  if (options['bpf-lb-acceleration'] !== 'native') return [];
  return view.acceleration().flatMap(({ why }) => (why === '' ? [] : [`services are not accelerated: ${why}`]));
}
