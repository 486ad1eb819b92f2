/** Services from nothing to the kernel's maps, then single changes of an EndpointSlice; without API server, node and traffic. */
import {
  type EndpointSliceRow,
  endpointSliceFromK8s,
  type Parsed,
  type ServiceRow,
  serviceFromK8s,
} from '../../packages/model/src/index.ts';
import { quantile } from '../lib/statistics.ts';
import { type Memory, memoryNow } from './memory.ts';
import { ControlWorld } from './world.ts';

export interface ServiceResult {
  readonly services: number;
  readonly programMs: number;
  readonly changeP50: number;
  readonly changeP99: number;
  readonly memory: Memory;
}

export function rowOf<Row>(parsed: Parsed<Row>): Row {
  if ('error' in parsed) throw new Error(parsed.error.message);
  return parsed.row;
}

const address = (net: number, i: number): string => `${net}.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`;

const service = (i: number): ServiceRow =>
  rowOf(
    serviceFromK8s({
      metadata: { namespace: 'bench', name: `s${i}` },
      spec: { clusterIP: address(10, i + 1), ports: [{ name: 'http', port: 80 }] },
    }),
  );

function slice(i: number, shift = 0): EndpointSliceRow {
  const endpoints = [0, 1, 2, 3].map(k => ({ addresses: [address(100, i * 4 + ((k + shift) % 5) + 1)] }));
  return rowOf(
    endpointSliceFromK8s({
      metadata: { namespace: 'bench', name: `s${i}-a`, labels: { 'kubernetes.io/service-name': `s${i}` } },
      addressType: 'IPv4',
      ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
      endpoints,
    }),
  );
}

/** Milliseconds until the kernel has them all. */
async function program(world: ControlWorld, count: number): Promise<number> {
  const rows = Array.from({ length: count }, (_, i) => [service(i), slice(i)] as const);
  const began = performance.now();
  world.write(txn => {
    for (const [one, its] of rows) {
      world.tables.services.insert(txn, one);
      world.tables.endpointSlices.insert(txn, its);
    }
  });
  await world.settle();
  const took = performance.now() - began;
  const failing = world.tables.lbRows.all().filter(row => row.status.kind !== 'done').length;
  if (failing > 0) throw new Error(`${failing} frontends are not in the kernel`);
  return took;
}

export async function measureServices(count: number, changes: number): Promise<ServiceResult> {
  const world = new ControlWorld(Math.max(65_536, count * 7));
  world.start();
  await world.settle();
  const programMs = await program(world, count);
  const times: number[] = [];
  for (let n = 0; n < changes; n += 1) {
    const changed = slice((n * 7919) % count, 1 + (n % 4));
    const at = performance.now();
    world.write(txn => world.tables.endpointSlices.insert(txn, changed));
    await world.settle();
    times.push(performance.now() - at);
  }
  const memory = memoryNow();
  await world.stop();
  return { services: count, programMs, changeP50: quantile(times, 0.5), changeP99: quantile(times, 0.99), memory };
}
