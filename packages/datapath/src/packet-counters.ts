import { ForwardedIndex, type MetricsEntry, type MetricsKey } from '@ciliate/abi';
import type { PerCpuMap } from '@ciliate/kernel';

type Counters<K> = Pick<PerCpuMap<K, MetricsEntry>, 'entries'>;

/** Packets by reason, direction and program, for each CPU: those of `forwarded` have the reason 0. */
export function* packetCounters(maps: {
  readonly metrics: Counters<MetricsKey>;
  readonly forwarded: Counters<number>;
}): IterableIterator<readonly [MetricsKey, readonly MetricsEntry[]]> {
  yield* maps.metrics.entries();
  const { FORWARDED_DIRECTIONS: directions } = ForwardedIndex;
  for (const [index, values] of maps.forwarded.entries()) {
    if (values.every(value => value.packets === 0n)) continue;
    yield [{ reason: 0, direction: index % directions, source: Math.floor(index / directions) }, values];
  }
}
