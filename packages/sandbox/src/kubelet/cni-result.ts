/** What a CNI plugin prints (CNI spec 1.1.0, section 5). Pure. */
export interface CniOutcome {
  /** Addresses of the pod without prefix length, in the plugin's order. */
  readonly addresses: readonly string[];
  readonly raw: Readonly<Record<string, unknown>>;
}

export class CniCallError extends Error {
  override readonly name = 'CniCallError';
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

type Fields = Readonly<Record<string, unknown>>;
const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** @throws CniCallError 999 when the text is no result */
export function parseResult(text: string): CniOutcome {
  const raw = parse(text);
  if (raw === undefined) throw new CniCallError(999, `the CNI plugin printed no result: ${text.slice(0, 120)}`);
  const ips = Array.isArray(raw.ips) ? (raw.ips as readonly unknown[]) : [];
  const addresses = ips.flatMap(ip => {
    const address = isFields(ip) ? ip.address : undefined;
    return typeof address === 'string' ? [address.split('/')[0] ?? ''] : [];
  });
  return { addresses, raw };
}

/** The error object of a failed call, or what there is of it. */
export function parseError(stdout: string, stderr: string, exitCode: number): CniCallError {
  const object = parse(stdout);
  const code = typeof object?.code === 'number' ? object.code : 999;
  const message =
    typeof object?.msg === 'string' ? object.msg : stderr.trim() || stdout.trim() || `exit code ${exitCode}`;
  const details = typeof object?.details === 'string' && object.details !== '' ? `: ${object.details}` : '';
  return new CniCallError(code, `${message}${details}`);
}

export interface PluginChain {
  readonly cniVersion: string;
  readonly name: string;
  readonly plugins: readonly (Fields & { readonly type: string })[];
}

/** A .conflist, or a single .conf as a chain of one. Undefined when it is neither. */
export function parseChain(text: string): PluginChain | undefined {
  const config = parse(text);
  if (config === undefined || typeof config.name !== 'string') return undefined;
  const list = Array.isArray(config.plugins) ? (config.plugins as readonly unknown[]) : [config];
  const plugins = list.filter(
    (entry): entry is Fields & { readonly type: string } => isFields(entry) && typeof entry.type === 'string',
  );
  if (plugins.length === 0 || plugins.length !== list.length) return undefined;
  return {
    cniVersion: typeof config.cniVersion === 'string' ? config.cniVersion : '0.3.1',
    name: config.name,
    plugins,
  };
}

function parse(text: string): Fields | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isFields(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
