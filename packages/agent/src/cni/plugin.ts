/** What the plugin does, apart from its process: environment and standard input in, standard output and exit code out. */
import { CniErrorCode, type CniReply, type CniRequest } from '@ciliate/protocol';
import { callAgent, stateIsGone } from './call.ts';
import {
  type NetworkConfig,
  newestVersion,
  parseConfig,
  parseVersionRequest,
  supportedVersions,
  versionOf,
} from './config.ts';
import { type CniEnvironment, parseEnvironment } from './environment.ts';
import { CniFailure } from './error.ts';
import { addResult } from './result.ts';

export interface PluginOutput {
  readonly stdout: string;
  readonly exitCode: 0 | 1;
}

/** Never throws: a failure is an error object on standard output (CNI spec, section 5 "Error"). */
export async function runPlugin(
  env: Readonly<Record<string, string | undefined>>,
  readInput: () => string,
): Promise<PluginOutput> {
  let input = '';
  try {
    const environment = parseEnvironment(env);
    input = readInput();
    return { stdout: await dispatch(environment, input), exitCode: 0 };
  } catch (error) {
    const failure =
      error instanceof CniFailure
        ? error
        : new CniFailure(CniErrorCode.internal, error instanceof Error ? error.message : String(error));
    return { stdout: JSON.stringify({ cniVersion: versionOf(input), ...failure.toObject() }), exitCode: 1 };
  }
}

async function dispatch(environment: CniEnvironment, input: string): Promise<string> {
  if (environment.command === 'VERSION') {
    const asked = parseVersionRequest(input);
    const cniVersion = supportedVersions.find(version => version === asked) ?? newestVersion;
    return JSON.stringify({ cniVersion, supportedVersions });
  }
  const config = parseConfig(input, environment.command);
  const reply = await ask(environment, config, environment.command);
  return environment.command === 'ADD' && reply !== undefined
    ? JSON.stringify(addResult(config.cniVersion, reply, config.prevResult))
    : '';
}

async function ask(
  environment: CniEnvironment,
  config: NetworkConfig,
  command: CniRequest['command'],
): Promise<CniReply | undefined> {
  const request: CniRequest = {
    command,
    network: config.name,
    containerId: environment.containerId,
    netns: environment.netns,
    ifname: environment.ifname,
    args: environment.args,
    ...(config.validAttachments === undefined ? {} : { validAttachments: config.validAttachments }),
    ...(config.prevResult === undefined ? {} : { prevResult: config.prevResult }),
  };
  try {
    return await callAgent(config.socketPath, request);
  } catch (error) {
    if (!(error instanceof CniFailure) || error.code !== CniErrorCode.tryAgainLater) throw error;
    if (command === 'STATUS')
      throw new CniFailure(CniErrorCode.notAvailable, error.message, error.details, { cause: error });
    if (command === 'DEL' && stateIsGone(config.stateDir, environment.containerId, environment.ifname))
      return undefined;
    throw error;
  }
}
