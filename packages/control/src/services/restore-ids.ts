import type { LbBackend, LbKey, LbService } from '@ciliate/abi';
import { addressFromBytes, portKey, protocolOf } from '@ciliate/model';
import { intern } from '@ciliate/tables';
import type { LbRestore } from './lb-state.ts';
import type { PortAt } from './port-map.ts';

/** Ids out of the kernel's maps, so that a restarted agent gives every frontend and backend the number it had. */
export function restoreLbIds(
  services: Iterable<readonly [LbKey, LbService]>,
  backends: Iterable<readonly [number, LbBackend]>,
): LbRestore {
  const frontendIds: (readonly [string, number])[] = [];
  for (const [key, value] of services) {
    if (key.backendSlot !== 0) continue;
    const at = portOf({ address: key.address, port: key.dport, proto: key.proto });
    if (at !== undefined && value.revNatId > 0) frontendIds.push([portKey(at), value.revNatId]);
  }
  const backendIds: (readonly [PortAt, number])[] = [];
  for (const [id, value] of backends) {
    const at = portOf(value);
    if (at !== undefined && id > 0) backendIds.push([at, id]);
  }
  return { services: frontendIds, backends: backendIds };
}

function portOf(at: {
  readonly address: Uint8Array;
  readonly port: number;
  readonly proto: number;
}): PortAt | undefined {
  const protocol = protocolOf(at.proto);
  return protocol && { address: intern(addressFromBytes(at.address)), port: at.port, protocol };
}
