/** Who wants an address that another one has: nothing else of either is touched, and both are named. */
import { type FrontendRow, portKey, type ServiceConflictRow, type Tables } from '@ciliate/model';
import { upsert, type WriteTxn } from '@ciliate/tables';
import type { Claims } from '../claims.ts';
import { isSurrogate } from './compile-frontends.ts';

/** Brings the conflicts of all dirty keys up to date; call it before the claims are settled. */
export function writeConflicts(
  claims: Claims<FrontendRow>,
  conflicts: Tables['serviceConflicts'],
  txn: WriteTxn,
): void {
  for (const key of claims.dirty) {
    const holder = claims.winner(key);
    const rows = holder === undefined ? [] : claims.losers(key).flatMap(loser => conflictOf(loser, holder));
    const still = new Set(rows.map(row => conflicts.spec.key(row)));
    for (const old of conflicts.by('frontend', key)) {
      if (!still.has(conflicts.spec.key(old))) conflicts.delete(txn, conflicts.spec.key(old));
    }
    for (const row of rows) upsert(conflicts, txn, row);
  }
}

/** NodePorts of two services meet on every address of the node: that is told once a family, for the surrogate. */
function conflictOf(loser: FrontendRow, holder: FrontendRow): readonly ServiceConflictRow[] {
  const onNode = loser.type === 'NodePort' && holder.type === 'NodePort';
  if (onNode ? !isSurrogate(loser.address) : isSurrogate(loser.address)) return [];
  const frontend = portKey(loser);
  if (loser.type === 'LocalRedirect' && holder.redirectTo !== '') return [redirectConflict(loser, holder, frontend)];
  const what = onNode ? `node port ${loser.port}/${loser.protocol}` : frontend;
  return [
    {
      service: loser.service,
      holder: holder.service,
      frontend,
      type: loser.type,
      message:
        `${loser.service} does not get ${what} (${loser.type}): ${holder.service} has it (${holder.type}); ` +
        'give one of them another port or address',
    },
  ];
}

/** The same words for all ports of the service: they are told once. */
function redirectConflict(loser: FrontendRow, holder: FrontendRow, frontend: string): ServiceConflictRow {
  const { service, type } = loser;
  const message =
    `${service} does not redirect ${holder.service}: ${holder.redirectTo} does; ` +
    'delete one of them, or give them different ports';
  return { service, holder: holder.redirectTo, frontend, type, message };
}
