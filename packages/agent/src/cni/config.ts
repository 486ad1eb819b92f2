/** The network configuration on standard input (CNI spec 1.1.0, section 1 and 3). */
import { CniErrorCode } from '@ciliate/protocol';
import type { PluginCommand } from './environment.ts';
import { CniFailure } from './error.ts';

export const supportedVersions = ['0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;
export type CniVersion = (typeof supportedVersions)[number];
export const newestVersion: CniVersion = '1.1.0';

export interface NetworkConfig {
  readonly cniVersion: CniVersion;
  readonly name: string;
  /** The agent's socket. */
  readonly socketPath: string;
  /** Where the agent keeps endpoints; the plugin looks there only when the agent is away. */
  readonly stateDir: string;
  readonly prevResult: Readonly<Record<string, unknown>> | undefined;
  readonly validAttachments: readonly { readonly containerID: string; readonly ifname: string }[] | undefined;
}

/** Oldest version of the spec that knows a command. */
const since: Readonly<Partial<Record<PluginCommand, CniVersion>>> = { CHECK: '0.4.0', GC: '1.1.0', STATUS: '1.1.0' };

export const defaultSocketPath = '/var/run/ciliate/ciliate.sock';
export const defaultStateDir = '/var/run/ciliate';

/** @throws CniFailure code 6 with the position when it is no JSON, 1 for the version, 7 for a field. */
export function parseConfig(text: string, command: PluginCommand): NetworkConfig {
  const object = decode(text);
  const cniVersion = checkVersion(object.cniVersion, command);
  const name = object.name;
  if (typeof name !== 'string' || !/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(name)) {
    throw invalidField(
      'name',
      'must be a text of letters, digits, "_", "." and "-" that starts with a letter or digit',
    );
  }
  const prevResult = object.prevResult;
  if (prevResult !== undefined && !isObject(prevResult)) throw invalidField('prevResult', 'must be an object');
  if (command === 'CHECK' && prevResult === undefined) throw invalidField('prevResult', 'is required for CHECK');
  const stateDir = optionalText(object, 'stateDir') ?? defaultStateDir;
  return {
    cniVersion,
    name,
    socketPath:
      optionalText(object, 'socketPath') ??
      (stateDir === defaultStateDir ? defaultSocketPath : `${stateDir}/ciliate.sock`),
    stateDir,
    prevResult,
    validAttachments:
      command === 'GC' ? attachments(object['cni.dev/valid-attachments'] ?? object['cni.dev/attachments']) : undefined,
  };
}

/** VERSION needs no network: only that the text is JSON. The answer is in the version asked for when we know it. */
export function parseVersionRequest(text: string): string {
  if (text.trim() === '') return newestVersion;
  const asked = decode(text).cniVersion;
  return typeof asked === 'string' ? asked : newestVersion;
}

/** The version to print an error in, however broken the configuration is. */
export function versionOf(text: string): string {
  const match = /"cniVersion"\s*:\s*"(\d+\.\d+\.\d+)"/.exec(text);
  return supportedVersions.find(version => version === match?.[1]) ?? newestVersion;
}

function decode(text: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    const place = /position \d+/.test(message) ? '' : ` at position ${text.length}`;
    throw new CniFailure(
      CniErrorCode.decode,
      `network configuration is not JSON: ${message}${place}`,
      text === '' ? 'nothing was written to standard input' : `got ${text.length} characters; was the file truncated?`,
      { cause },
    );
  }
  if (!isObject(value)) throw new CniFailure(CniErrorCode.decode, 'network configuration is not a JSON object');
  return value;
}

function checkVersion(value: unknown, command: PluginCommand): CniVersion {
  const version = supportedVersions.find(known => known === value);
  if (version === undefined) {
    const shown = value === undefined ? 'missing' : JSON.stringify(value);
    throw new CniFailure(
      CniErrorCode.incompatibleVersion,
      `cniVersion ${shown} is not supported`,
      `supported versions: ${supportedVersions.join(', ')}`,
    );
  }
  const oldest = since[command];
  if (oldest !== undefined && supportedVersions.indexOf(version) < supportedVersions.indexOf(oldest)) {
    throw new CniFailure(
      CniErrorCode.incompatibleVersion,
      `${command} does not exist in CNI ${version}`,
      `it came with ${oldest}`,
    );
  }
  return version;
}

function attachments(value: unknown): readonly { readonly containerID: string; readonly ifname: string }[] {
  const key = 'cni.dev/valid-attachments';
  if (!Array.isArray(value)) throw invalidField(key, 'is required for GC and must be a list');
  return value.map((item: unknown, index) => {
    const containerID = isObject(item) ? item.containerID : undefined;
    const ifname = isObject(item) ? item.ifname : undefined;
    if (typeof containerID !== 'string' || typeof ifname !== 'string') {
      throw invalidField(`${key}[${index}]`, 'must have the texts containerID and ifname');
    }
    return { containerID, ifname };
  });
}

function optionalText(object: Readonly<Record<string, unknown>>, field: string): string | undefined {
  const value = object[field];
  if (value === undefined) return undefined;
  if (typeof value !== 'string' || value === '') throw invalidField(field, 'must be a text that is not empty');
  return value;
}

function invalidField(field: string, what: string): CniFailure {
  return new CniFailure(CniErrorCode.invalidConfig, `network configuration: ${field} ${what}`);
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
