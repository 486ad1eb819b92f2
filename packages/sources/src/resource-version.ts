/**
 * True when `version` is surely older than `seen`. Versions are decimal numbers on every server we know; anything else
 * is never taken for older.
 */
export function isOlderVersion(version: string, seen: string): boolean {
  if (!/^\d+$/.test(version) || !/^\d+$/.test(seen)) return false;
  return version.length === seen.length ? version < seen : version.length < seen.length;
}
