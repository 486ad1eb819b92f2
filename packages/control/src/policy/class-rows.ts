/** addressBlocks → policyClassRows. */
import { addressBytes, type PolicyClassRow, prefixAddress, prefixBits, type Tables } from '@ciliate/model';
import { type ControllerModules, pending } from '@ciliate/tables';
import { claimController } from '../claim-controller.ts';

export function policyClassController(
  tables: Pick<Tables, 'addressBlocks' | 'policyClassRows'>,
  modules: ControllerModules,
) {
  return claimController(
    {
      name: 'policy-class-rows',
      sources: {
        addressBlocks: {
          table: tables.addressBlocks,
          claim: ({ kind, prefix, id }) => {
            if (kind !== 'class') return [];
            const key = { prefixlen: prefixBits(prefix), address: addressBytes(prefixAddress(prefix)) };
            const row: PolicyClassRow = { prefix, key, value: { identity: id }, status: pending(modules.clock.now()) };
            return [{ key: prefix, rank: 0, row }];
          },
        },
      },
      output: tables.policyClassRows,
    },
    modules,
  );
}
