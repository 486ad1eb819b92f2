/** What a NetworkPolicy controller gives the kernel. */
export interface ControllerRules {
  /** Input of `ipset restore`, which comes first. */
  readonly sets: string;
  /** Input of `iptables-restore`. */
  readonly tables: string;
}

export const comment = (text: string): string => `-m comment --comment "${text}"`;

export const stateful = '-m conntrack --ctstate RELATED,ESTABLISHED';
export const invalid = '-m conntrack --ctstate INVALID';
