/** The first line of a script: options of the other program, as fields of ours. Those that mean nothing to us are left. */
import type { NodeConfig } from '@ciliate/model';

export interface ScriptFlags {
  readonly config: Partial<NodeConfig>;
  /** Addresses that a local redirect may name; empty: all. */
  readonly redirectCidrs: readonly string[];
  /** Of the script; '' = none. */
  readonly stateFile: string;
}

const testTableSize = 1021;

export function scriptFlags(script: string): ScriptFlags {
  const line = script.split('\n').find(text => text.startsWith('#!')) ?? '';
  const flags = new Map(
    [...line.matchAll(/--([a-z0-9-]+)(?:=(\S+))?/g)].map(([, name = '', value = 'true']) => [name, value]),
  );
  const isMaglev = [flags.get('bpf-lb-algorithm'), flags.get('node-port-algorithm')].includes('maglev');
  const mode = flags.get('bpf-lb-mode') ?? flags.get('node-port-mode');
  const max = Number(flags.get('bpf-lb-map-max') ?? 65_536);
  return {
    config: {
      nodeName: 'testnode',
      lbAlgorithm: isMaglev ? 'maglev' : 'random',
      lbMode: mode === 'dsr' || mode === 'hybrid' ? mode : 'snat',
      lbModeAnnotation: flags.get('bpf-lb-mode-annotation') === 'true',
      externalClusterIP: flags.get('bpf-lb-external-clusterip') === 'true',
      sourceRangesForAll: flags.get('bpf-lb-source-range-all-types') === 'true',
      unservedDropped: flags.get('bpf-lb-enable-wildcard-entries') !== 'false',
      maglevSize: testTableSize,
      lbServicesMax: max,
      lbBackendsMax: max,
      lbRevnatMax: max,
      lbSourceRangesMax: max,
    },
    stateFile: (flags.get('lb-state-file') ?? '').replace(/^\$(WORK|\{WORK\})\//, ''),
    redirectCidrs: (flags.get('lrp-address-matcher-cidrs') ?? '').split(',').filter(text => text !== ''),
  };
}
