/** Runs the plugins of the node's network configuration, as a container runtime does (CNI spec 1.1.0, section 2 and 3). */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { attempt } from '../host/run.ts';
import { CniCallError, type CniOutcome, type PluginChain, parseChain, parseError, parseResult } from './cni-result.ts';

export interface Attachment {
  readonly containerId: string;
  /** Path; empty when the namespace is gone. */
  readonly netns: string;
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

const timeout = 60_000;

export class Cni {
  readonly #directory: string;

  /** `directory` holds net.d/ and bin/. */
  constructor(directory: string) {
    this.#directory = directory;
  }

  /** The first configuration by file name; undefined while there is none that can be read. */
  chain(): PluginChain | undefined {
    const configs = join(this.#directory, 'net.d');
    if (!existsSync(configs)) return undefined;
    const files = readdirSync(configs).filter(file => /\.(conflist|conf|json)$/.test(file));
    const [first] = files.toSorted();
    return first === undefined ? undefined : parseChain(readFileSync(join(configs, first), 'utf8'));
  }

  /** @throws CniCallError */
  async add(attachment: Attachment): Promise<CniOutcome> {
    const chain = this.#require();
    let previous: CniOutcome | undefined;
    for (const plugin of chain.plugins) {
      previous = parseResult(await this.#call('ADD', chain, plugin, attachment, previous?.raw));
    }
    if (previous === undefined) throw new CniCallError(7, `network ${chain.name} has no plugin`);
    return previous;
  }

  /** In reverse order. @throws CniCallError */
  async del(attachment: Attachment, result: Readonly<Record<string, unknown>> | undefined): Promise<void> {
    const chain = this.#require();
    for (const plugin of chain.plugins.toReversed()) await this.#call('DEL', chain, plugin, attachment, result);
  }

  /** Undefined = the network is ready for pods; else why not. */
  async status(): Promise<string | undefined> {
    const chain = this.chain();
    if (chain === undefined) return `no CNI configuration in ${join(this.#directory, 'net.d')}: is the agent running?`;
    if (!/^1\.[1-9]/.test(chain.cniVersion)) return undefined;
    try {
      for (const plugin of chain.plugins) await this.#call('STATUS', chain, plugin, undefined, undefined);
      return undefined;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }

  #require(): PluginChain {
    const chain = this.chain();
    if (chain === undefined) throw new CniCallError(50, `no CNI configuration in ${join(this.#directory, 'net.d')}`);
    return chain;
  }

  async #call(
    command: string,
    chain: PluginChain,
    plugin: PluginChain['plugins'][number],
    attachment: Attachment | undefined,
    previous: Readonly<Record<string, unknown>> | undefined,
  ): Promise<string> {
    const bin = join(this.#directory, 'bin');
    const { cniVersion, name } = chain;
    const input = JSON.stringify({
      ...plugin,
      cniVersion,
      name,
      ...(previous === undefined ? {} : { prevResult: previous }),
    });
    const env = { PATH: process.env.PATH ?? '', CNI_COMMAND: command, CNI_PATH: bin, ...variables(attachment) };
    const result = await attempt(join(bin, plugin.type), [], { input, env, timeout });
    if (result.code !== 0) throw parseError(result.stdout, result.stderr, result.code);
    return result.stdout;
  }
}

function variables(attachment: Attachment | undefined): Record<string, string> {
  if (attachment === undefined) return {};
  return {
    CNI_CONTAINERID: attachment.containerId,
    CNI_NETNS: attachment.netns,
    CNI_IFNAME: 'eth0',
    CNI_ARGS: [
      'IgnoreUnknown=1',
      `K8S_POD_NAMESPACE=${attachment.namespace}`,
      `K8S_POD_NAME=${attachment.name}`,
      `K8S_POD_INFRA_CONTAINER_ID=${attachment.containerId}`,
      `K8S_POD_UID=${attachment.uid}`,
    ].join(';'),
  };
}
