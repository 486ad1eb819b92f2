/** Workloads of this node: made and unmade by the CNI, kept over restarts. Owns the endpoints table. */
import { existsSync } from 'node:fs';
import type { Address, EndpointRow } from '@ciliate/model';
import { CniErrorCode, type CniReply, type CniRequest } from '@ciliate/protocol';
import type { Database, RWTable, WriteTxn } from '@ciliate/tables';
import { CniFailure } from '../cni/error.ts';
import type { Ipam } from '../ipam/ipam.ts';
import { describe, type Log } from '../log.ts';
import type { EndpointDevices } from './endpoint-devices.ts';
import type { EndpointStore } from './endpoint-store.ts';
import { addReply, attachmentKey, ownerOf } from './endpoint-words.ts';

export const INIT_IDENTITY = 5;

export interface EndpointManagerModules {
  readonly db: Database;
  readonly endpoints: RWTable<EndpointRow, string>;
  readonly ipam: Ipam;
  readonly devices: EndpointDevices;
  readonly store: EndpointStore;
  readonly log: Log;
  /** Addresses of the node's router and the MTU towards other nodes. */
  readonly network: () => { readonly routers: readonly Address[]; readonly mtu: number };
  /** Identity and labels that are known at once; else the endpoint begins with 'init'. */
  readonly identify: (pod: {
    namespace: string;
    name: string;
    uid: string;
  }) => { identity: number; labels: EndpointRow['labels'] } | undefined;
}

/** Milliseconds that ADD waits for the kernel side. */
const wireTimeout = 5000;

export class EndpointManager {
  readonly #modules: EndpointManagerModules;
  /** Attachments being added or removed, so that two requests for one do not meet. */
  readonly #busy = new Map<string, Promise<unknown>>();
  readonly #report: (txn: WriteTxn) => void;
  #nextId = 1;

  constructor(modules: EndpointManagerModules) {
    this.#modules = modules;
    this.#report = modules.endpoints.registerInitializer('restore');
  }

  /** Adopts endpoints whose namespace and device are still there, forgets the others. */
  async restore(): Promise<{ readonly adopted: number; readonly removed: number }> {
    const { db, endpoints, store, devices, ipam, log } = this.#modules;
    const known = store.load();
    const survivors = await devices.survivors(known.filter(row => existsSync(row.netns)));
    const adopted = new Set(survivors);
    const alive = survivors.map(row =>
      row.netnsCookie === undefined ? { ...row, netnsCookie: devices.cookieOf(row.netns) } : row,
    );
    for (const row of known.filter(candidate => !adopted.has(candidate))) {
      log.info('endpoint is gone, forgotten', { endpoint: row.id, owner: ownerOf(row) });
      await devices.remove(row);
      store.remove(row.id);
    }
    for (const row of alive) {
      for (const address of row.addresses) {
        if (!ipam.restore(address, ownerOf(row)))
          log.warn('address of an adopted endpoint is in no pod CIDR', { address });
      }
    }
    db.write(txn => {
      for (const row of alive) endpoints.insert(txn, row);
      this.#report(txn);
    });
    this.#nextId = Math.max(0, ...alive.map(row => row.id)) + 1;
    return { adopted: alive.length, removed: known.length - alive.length };
  }

  find(containerId: string, ifname: string): EndpointRow | undefined {
    return this.#modules.endpoints.all().find(row => row.containerId === containerId && row.containerDevice === ifname);
  }

  /** @throws CniFailure: 101 when it exists (nothing is changed then), pool exhausted, I/O … */
  add(request: CniRequest): Promise<CniReply> {
    return this.#serialized(request, async () => {
      const existing = this.find(request.containerId, request.ifname);
      if (existing !== undefined) {
        throw new CniFailure(
          CniErrorCode.alreadyExists,
          `container ${request.containerId} already has ${request.ifname} on network ${existing.network}`,
          'DEL it first: a container is attached once per interface',
        );
      }
      if (!existsSync(request.netns)) {
        throw new CniFailure(CniErrorCode.unknownContainer, `network namespace ${request.netns} does not exist`);
      }
      return this.#create(request);
    });
  }

  async #create(request: CniRequest): Promise<CniReply> {
    const { devices, ipam, store, network } = this.#modules;
    const id = this.#allocateId();
    const named = podOf(request);
    const { routers, mtu } = network();
    const addresses = ipam.allocate(named.name === '' ? request.containerId : `${named.namespace}/${named.name}`);
    let row: EndpointRow | undefined;
    try {
      const device = await this.#createDevice(id, request, addresses, routers, mtu);
      row = this.#row(id, request, addresses, device);
      store.save(row);
      this.#put(row);
      await devices.wired(row, AbortSignal.timeout(wireTimeout));
      return addReply(row, routers, mtu);
    } catch (error) {
      if (row !== undefined) await this.forget(row);
      else for (const address of addresses) ipam.release(address);
      throw error;
    }
  }

  async #createDevice(
    endpointId: number,
    request: CniRequest,
    addresses: readonly Address[],
    routers: readonly Address[],
    mtu: number,
  ): Promise<{ device: string; ifindex: number; mac: string; nodeMac: string }> {
    const { containerId, ifname: containerDevice, netns } = request;
    try {
      return await this.#modules.devices.create({
        endpointId,
        containerId,
        containerDevice,
        netns,
        addresses,
        routers,
        mtu,
      });
    } catch (cause) {
      throw new CniFailure(CniErrorCode.io, `cannot make ${containerDevice} in ${netns}: ${describe(cause)}`, '', {
        cause,
      });
    }
  }

  #row(
    id: number,
    request: CniRequest,
    addresses: readonly Address[],
    device: { device: string; ifindex: number; mac: string; nodeMac: string },
  ): EndpointRow {
    const pod = podOf(request);
    const known = this.#modules.identify(pod);
    return {
      id,
      containerId: request.containerId,
      containerDevice: request.ifname,
      netns: request.netns,
      netnsCookie: this.#modules.devices.cookieOf(request.netns),
      network: request.network,
      ...device,
      addresses,
      podNamespace: pod.namespace,
      podName: pod.name,
      podUid: pod.uid,
      kind: 'pod',
      state: known === undefined ? 'waiting-for-identity' : 'ready',
      identity: known?.identity ?? INIT_IDENTITY,
      labels: known?.labels ?? { 'reserved:init': '' },
    };
  }

  /** What is gone stays gone: DEL may be called again and again. */
  remove(request: CniRequest): Promise<void> {
    return this.#serialized(request, async () => {
      const row = this.find(request.containerId, request.ifname);
      if (row !== undefined) await this.forget(row);
    });
  }

  /** @throws CniFailure 3 when unknown, 103 when something of it is missing */
  async check(request: CniRequest): Promise<void> {
    const row = this.find(request.containerId, request.ifname);
    if (row === undefined) {
      throw new CniFailure(
        CniErrorCode.unknownContainer,
        `container ${request.containerId} has no ${request.ifname} of ours`,
      );
    }
    const missing = missingAddresses(request.prevResult, row.addresses);
    if (missing.length > 0) {
      throw new CniFailure(
        CniErrorCode.checkFailed,
        `${missing.join(', ')} of prevResult is not on endpoint ${row.id}`,
      );
    }
    if (!existsSync(row.netns) || !(await this.#modules.devices.check(row))) {
      throw new CniFailure(
        CniErrorCode.checkFailed,
        `device ${row.device} or ${row.containerDevice} of endpoint ${row.id} is gone`,
        'DEL and ADD the container again',
      );
    }
  }

  /** Removes what the runtime does not know any more. Resolves to the number of endpoints removed. */
  async collect(request: CniRequest): Promise<number> {
    const valid = new Set((request.validAttachments ?? []).map(item => attachmentKey(item.containerID, item.ifname)));
    const stale = this.#modules.endpoints
      .all()
      .filter(row => row.kind === 'pod' && row.network === request.network)
      .filter(row => !valid.has(attachmentKey(row.containerId, row.containerDevice)));
    for (const row of stale) await this.forget(row);
    return stale.length;
  }

  /** A new identity of an endpoint that is still there. */
  setIdentity(id: number, identity: number, labels: EndpointRow['labels']): void {
    const row = this.#modules.endpoints.get(String(id));
    if (row === undefined) return;
    const next: EndpointRow = { ...row, identity, labels, state: 'ready' };
    this.#modules.store.save(next);
    this.#put(next);
  }

  /** For an endpoint that is not the CNI's (health). */
  adopt(row: EndpointRow): void {
    this.#modules.store.save(row);
    this.#put(row);
  }

  allocateId(): number {
    return this.#allocateId();
  }

  /** Takes an endpoint away with its device, files and addresses. */
  async forget(row: EndpointRow): Promise<void> {
    const { db, endpoints, devices, store, ipam } = this.#modules;
    // The device first: its programs go with it, and a failure leaves an endpoint that DEL can be tried on again.
    await devices.remove(row);
    db.write(txn => {
      endpoints.delete(txn, endpoints.spec.key(row));
    });
    store.remove(row.id);
    for (const address of row.addresses) ipam.release(address);
  }

  #put(row: EndpointRow): void {
    const { db, endpoints } = this.#modules;
    db.write(txn => {
      endpoints.insert(txn, row);
    });
  }

  /** 1 … 65535, the one after the last; ids of endpoints that are there are skipped. */
  #allocateId(): number {
    const { endpoints } = this.#modules;
    for (let tries = 0; tries < 65535; tries++) {
      const id = this.#nextId > 65535 ? 1 : this.#nextId;
      this.#nextId = id + 1;
      if (endpoints.get(String(id)) === undefined) return id;
    }
    throw new CniFailure(CniErrorCode.poolExhausted, 'all 65535 endpoint ids of this node are in use');
  }

  async #serialized<T>(request: CniRequest, work: () => Promise<T>): Promise<T> {
    const key = attachmentKey(request.containerId, request.ifname);
    const before = this.#busy.get(key);
    const run = (before ?? Promise.resolve()).then(work, work);
    const guard = run.catch(() => undefined);
    this.#busy.set(key, guard);
    try {
      return await run;
    } finally {
      if (this.#busy.get(key) === guard) this.#busy.delete(key);
    }
  }
}

function podOf(request: CniRequest): { readonly namespace: string; readonly name: string; readonly uid: string } {
  return {
    namespace: request.args.K8S_POD_NAMESPACE ?? '',
    name: request.args.K8S_POD_NAME ?? '',
    uid: request.args.K8S_POD_UID ?? '',
  };
}

/** Addresses that the previous result gave our interface and the endpoint does not have. */
function missingAddresses(prevResult: unknown, addresses: readonly Address[]): readonly string[] {
  const ips = (prevResult as { readonly ips?: unknown } | undefined)?.ips;
  if (!Array.isArray(ips) || ips.length === 0) return [];
  const stated = ips
    .map(ip => (ip as { readonly address?: unknown }).address)
    .filter(address => typeof address === 'string')
    .map(address => address.split('/')[0] ?? '');
  const ours = new Set<string>(addresses);
  // Addresses of plugins before us in the chain are theirs to check, so one match is enough.
  return stated.some(address => ours.has(address)) ? [] : stated;
}
