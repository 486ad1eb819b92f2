/** What xdp_netdev on a node of a sandbox has counted. */
import { MetricDirection, mapSpecs, VerdictSource } from '@ciliate/abi';
import { closeFd, KernelPerCpuMap, openPin } from '@ciliate/kernel';

const sum = (values: readonly { readonly packets: bigint }[]): number =>
  values.reduce((total, { packets }) => total + Number(packets), 0);

function withMap<T>(sandbox: string, node: string, map: string, read: (fd: number) => T): T {
  const fd = openPin(`/run/ciliate/${sandbox}/${node}/bpf/ciliate/maps/${map}`);
  try {
    return read(fd);
  } finally {
    closeFd(fd);
  }
}

/** Packets that it has sent on. */
export function sentByXdp(sandbox: string, node = 'node-1'): number {
  const index = VerdictSource.XDP_NETDEV * 4 + MetricDirection.METRIC_INGRESS;
  return withMap(sandbox, node, 'forwarded', fd =>
    sum(new KernelPerCpuMap(fd, mapSpecs.forwarded).lookup(index) ?? []),
  );
}

/** Packets that it has dropped for a reason (enum drop_reason). */
export function droppedByXdp(sandbox: string, reason: number, node = 'node-1'): number {
  return withMap(sandbox, node, 'metrics', fd =>
    [...new KernelPerCpuMap(fd, mapSpecs.metrics).entries()]
      .filter(([key]) => key.source === VerdictSource.XDP_NETDEV && key.reason === reason)
      .reduce((total, [, values]) => total + sum(values), 0),
  );
}
