/** The health endpoint (identity 4): a namespace of ours with a device like a pod's and a responder in it. */
import { closeSync, existsSync } from 'node:fs';
import { createNetworkNamespace, listenInNamespace, removeNetworkNamespace } from '@ciliate/kernel';
import { type Address, type EndpointRow, isIPv4 } from '@ciliate/model';
import type { EndpointDevices } from '../endpoint/endpoint-devices.ts';
import type { EndpointManager } from '../endpoint/endpoint-manager.ts';
import type { Service } from '../lifecycle.ts';
import { describe, type Log } from '../log.ts';
import { HealthResponder } from './responder.ts';

const HEALTH_IDENTITY = 4;
const device = 'eth0';

export interface HealthEndpointOptions {
  /** Our namespace is bound below it, so that what removes the state removes it too. */
  readonly stateDir: string;
  readonly node: string;
  readonly port: number;
}

export interface HealthEndpointModules {
  readonly endpoints: EndpointManager;
  readonly devices: EndpointDevices;
  readonly addresses: () => readonly Address[];
  readonly network: () => { readonly routers: readonly Address[]; readonly mtu: number };
  readonly log: Log;
}

export class HealthEndpoint implements Service {
  readonly name = 'health-endpoint';
  readonly #options: HealthEndpointOptions;
  readonly #modules: HealthEndpointModules;
  readonly #netns: string;
  #responders: readonly HealthResponder[] = [];

  constructor(options: HealthEndpointOptions, modules: HealthEndpointModules) {
    this.#options = options;
    this.#modules = modules;
    this.#netns = `${options.stateDir}/netns/ciliate-health-${options.node}`;
  }

  /** What fails here is logged: pods do not depend on it. */
  async start(): Promise<void> {
    try {
      const addresses = this.#modules.addresses();
      if (addresses.length === 0) return;
      await this.#removeMoved(addresses);
      if (this.#modules.endpoints.find(this.#containerId, device) === undefined) await this.#create(addresses);
      await this.#respond(addresses);
    } catch (error) {
      this.#modules.log.error('health endpoint cannot be made', { error: describe(error) });
    }
  }

  /** The device and its namespace stay, as pods do. */
  stop(): void {
    for (const responder of this.#responders) responder.stop();
  }

  get #containerId(): string {
    return `health-${this.#options.node}`;
  }

  /** One of a pod CIDR that this node has no more. */
  async #removeMoved(addresses: readonly Address[]): Promise<void> {
    const { endpoints } = this.#modules;
    const row = endpoints.find(this.#containerId, device);
    if (row !== undefined && row.addresses.join() !== addresses.join()) await endpoints.forget(row);
  }

  async #create(addresses: readonly Address[]): Promise<void> {
    const { endpoints, devices, network } = this.#modules;
    if (existsSync(this.#netns)) removeNetworkNamespace(this.#netns);
    createNetworkNamespace(this.#netns);
    const { routers, mtu } = network();
    const id = endpoints.allocateId();
    const spec = {
      endpointId: id,
      containerId: this.#containerId,
      containerDevice: device,
      netns: this.#netns,
      addresses,
      routers,
      mtu,
    };
    const made = await devices.create(spec);
    const row: EndpointRow = {
      id,
      containerId: this.#containerId,
      containerDevice: device,
      netns: this.#netns,
      network: '',
      ...made,
      addresses,
      podNamespace: '',
      podName: '',
      podUid: '',
      kind: 'health',
      state: 'ready',
      identity: HEALTH_IDENTITY,
      labels: { 'reserved:health': '' },
    };
    endpoints.adopt(row);
  }

  async #respond(addresses: readonly Address[]): Promise<void> {
    const lengths = new Set(addresses.map(address => (isIPv4(address) ? 4 : 16)));
    const responders: HealthResponder[] = [];
    for (const length of lengths) {
      // All zero: every address of the namespace.
      const fd = listenInNamespace(this.#netns, new Uint8Array(length), this.#options.port);
      try {
        const responder = new HealthResponder({ node: this.#options.node, listen: { fd } }, this.#modules.log);
        await responder.start();
        responders.push(responder);
      } catch (error) {
        closeSync(fd);
        throw error;
      }
    }
    this.#responders = responders;
  }
}
