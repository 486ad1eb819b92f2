import type { IdentityRow } from '@ciliate/model';

/** The label key with most values among identities: the one that makes so many of them. */
export function splittingLabel(identities: readonly IdentityRow[]): string {
  const values = new Map<string, Set<string>>();
  for (const { labels, reserved } of identities) {
    if (reserved) continue;
    for (const [key, value] of Object.entries(labels)) {
      const known = values.get(key) ?? new Set<string>();
      values.set(key, known.add(value));
    }
  }
  const [best] = [...values].toSorted(([, a], [, b]) => b.size - a.size);
  return best === undefined ? 'labels that differ between replicas' : `label ${best[0]} (${best[1].size} values)`;
}
