import type { LbBackend, LbKey, LbService } from '@ciliate/abi';
import { addressFromBytes, portKey, protocolOf } from '@ciliate/model';
import type { LbRestore } from './lb-state.ts';

/** Ids out of the kernel's maps, so that a restarted agent gives every frontend and backend the number it had. */
export function restoreLbIds(
  services: Iterable<readonly [LbKey, LbService]>,
  backends: Iterable<readonly [number, LbBackend]>,
): LbRestore {
  const frontendIds: (readonly [string, number])[] = [];
  for (const [key, value] of services) {
    if (key.backendSlot !== 0) continue;
    const name = keyOf({ address: key.address, port: key.dport, proto: key.proto });
    if (name !== undefined && value.revNatId > 0) frontendIds.push([name, value.revNatId]);
  }
  const backendIds: (readonly [string, number])[] = [];
  for (const [id, value] of backends) {
    const name = keyOf(value);
    if (name !== undefined && id > 0) backendIds.push([name, id]);
  }
  return { services: frontendIds, backends: backendIds };
}

function keyOf(at: {
  readonly address: Uint8Array;
  readonly port: number;
  readonly proto: number;
}): string | undefined {
  const protocol = protocolOf(at.proto);
  return protocol && portKey({ address: addressFromBytes(at.address), port: at.port, protocol });
}
