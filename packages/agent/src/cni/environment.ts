/** CNI environment variables (spec 1.1.0, section 2), checked before anything else happens. */
import { CniErrorCode } from '@ciliate/protocol';
import { CniFailure } from './error.ts';

export type PluginCommand = 'ADD' | 'DEL' | 'CHECK' | 'GC' | 'STATUS' | 'VERSION';

export interface CniEnvironment {
  readonly command: PluginCommand;
  readonly containerId: string;
  readonly netns: string;
  readonly ifname: string;
  readonly args: Readonly<Record<string, string>>;
}

type Env = Readonly<Record<string, string | undefined>>;

const commands: readonly PluginCommand[] = ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION'];

/** What a command cannot do without. DEL may lack CNI_NETNS: the namespace may be gone. */
const required: Readonly<Record<PluginCommand, readonly string[]>> = {
  ADD: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME'],
  CHECK: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME'],
  DEL: ['CNI_CONTAINERID', 'CNI_IFNAME'],
  GC: [],
  STATUS: [],
  VERSION: [],
};

function invalid(variable: string, what: string): CniFailure {
  return new CniFailure(
    CniErrorCode.invalidEnvironment,
    `${variable} ${what}`,
    `set ${variable} as CNI spec 1.1.0 §2 says`,
  );
}

/** @throws CniFailure code 4 that names the variable. */
export function parseEnvironment(env: Env): CniEnvironment {
  const command = commands.find(name => name === env.CNI_COMMAND);
  if (command === undefined) {
    throw invalid('CNI_COMMAND', env.CNI_COMMAND === undefined ? 'is missing' : `'${env.CNI_COMMAND}' is unknown`);
  }
  for (const variable of required[command]) {
    if ((env[variable] ?? '') === '') throw invalid(variable, `is required for ${command}`);
  }
  const containerId = env.CNI_CONTAINERID ?? '';
  const ifname = env.CNI_IFNAME ?? '';
  if (required[command].length > 0) {
    checkContainerId(containerId);
    checkInterfaceName(ifname);
  }
  return { command, containerId, netns: env.CNI_NETNS ?? '', ifname, args: parseArgs(env.CNI_ARGS ?? '') };
}

function checkContainerId(id: string): void {
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(id)) {
    throw invalid(
      'CNI_CONTAINERID',
      `'${id}' must start with a letter or digit and hold only letters, digits, '_', '.', '-'`,
    );
  }
}

/** What the kernel takes for a device name (dev_valid_name): at most 15 bytes, no '/', ':' or space, not '.' or '..'. */
function checkInterfaceName(name: string): void {
  if (Buffer.byteLength(name) > 15 || name === '.' || name === '..' || /[/:\s]/.test(name)) {
    throw invalid('CNI_IFNAME', `'${name}' is no valid device name (1 to 15 bytes without '/', ':' or space)`);
  }
}

/** 'K=V;K2=V2'. @throws CniFailure code 4 for a part without '='. */
function parseArgs(text: string): Readonly<Record<string, string>> {
  const args: Record<string, string> = {};
  for (const part of text.split(';')) {
    if (part === '') continue;
    const equals = part.indexOf('=');
    if (equals < 1) throw invalid('CNI_ARGS', `has the part '${part}', which is not KEY=VALUE`);
    args[part.slice(0, equals)] = part.slice(equals + 1);
  }
  return args;
}
