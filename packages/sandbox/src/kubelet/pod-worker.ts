/** Brings one pod from what it is to what its object says, one step at a time. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { apiStatus, type KubeApi } from '@ciliate/sources';
import { program } from '../host/programs.ts';
import { findTool } from '../preflight.ts';
import type { Cni } from './cni.ts';
import type { KubeletConfig } from './config.ts';
import { Container, type Launch } from './container.ts';
import { environmentOf } from './environment.ts';
import type { Events } from './events.ts';
import { programOf } from './image.ts';
import { nginxConfig, nginxPage } from './nginx.ts';
import type { ContainerSpec, Pod, PodStatus } from './pod.ts';
import { hostnameOf } from './pod-files.ts';
import { adoptSandbox, createSandbox, type PodSandbox, removeSandbox } from './pod-sandbox.ts';
import { type ContainerView, podStatus } from './pod-status.ts';
import { runPreStop } from './pre-stop.ts';
import { Prober } from './prober.ts';
import type { Semaphore } from './semaphore.ts';

export interface WorkerModules {
  readonly api: KubeApi;
  readonly config: KubeletConfig;
  readonly cni: Cni;
  readonly events: Events;
  /** Bounds how many pods are made or removed at the same time. */
  readonly slots: Semaphore;
  readonly log: (message: string) => void;
}

interface Member {
  readonly spec: ContainerSpec;
  readonly container: Container;
  prober: Prober | undefined;
  /** Milliseconds of the next CrashLoopBackOff, and when it may start again. */
  backoff: number;
  notBefore: number;
  /** Ended by us because of a probe. */
  condemned: boolean;
}

const crashBackoff = { first: 1000, longest: 60_000 } as const;
const pollMs = 1000;

export class PodWorker {
  readonly #modules: WorkerModules;
  readonly #directory: string;
  #pod: Pod;
  #gone = false;
  #sandbox: PodSandbox | undefined;
  #members: readonly Member[] = [];
  #inits: readonly Member[] = [];
  #creationError: string | undefined;
  #retry = 250;
  #wake: () => void = () => undefined;
  #woken = false;
  #written: PodStatus | undefined;
  #startTime = new Date().toISOString();

  constructor(pod: Pod, modules: WorkerModules) {
    this.#pod = pod;
    this.#modules = modules;
    this.#directory = join(modules.config.directory, 'pods', pod.metadata.uid);
    if (pod.status?.startTime !== undefined) this.#startTime = pod.status.startTime;
  }

  get pod(): Pod {
    return this.#pod;
  }

  get sandbox(): PodSandbox | undefined {
    return this.#sandbox;
  }

  container(name: string): Container | undefined {
    return [...this.#members, ...this.#inits].find(member => member.spec.name === name)?.container;
  }

  update(pod: Pod): void {
    this.#pod = pod;
    this.notify();
  }

  /** The object is gone from the API server. */
  forget(): void {
    this.#gone = true;
    this.notify();
  }

  notify(): void {
    this.#woken = true;
    this.#wake();
  }

  /** Ends when the pod is removed from this node. */
  async run(): Promise<void> {
    this.#adopt();
    for (;;) {
      this.#woken = false;
      try {
        if (this.#gone || this.#pod.metadata.deletionTimestamp !== undefined) {
          await this.#terminate();
          return;
        }
        await this.#step();
      } catch (error) {
        this.#modules.log(`pod ${this.#label}: ${error instanceof Error ? error.message : String(error)}`);
      }
      await this.#sleep(pollMs);
    }
  }

  get #label(): string {
    return `${this.#pod.metadata.namespace}/${this.#pod.metadata.name}`;
  }

  #sleep(ms: number): Promise<void> {
    if (this.#woken) return Promise.resolve();
    return new Promise(resolve => {
      const timer = setTimeout(done, ms);
      function done(): void {
        clearTimeout(timer);
        resolve();
      }
      this.#wake = done;
    });
  }

  #adopt(): void {
    const found = adoptSandbox(this.#directory);
    if (found === undefined) return;
    this.#use(found);
    for (const member of [...this.#members, ...this.#inits]) if (member.container.running) this.#probe(member);
  }

  #use(sandbox: PodSandbox): void {
    this.#sandbox = sandbox;
    const member = (spec: ContainerSpec): Member => ({
      spec,
      container: new Container(spec.name, sandbox, () => this.notify()),
      prober: undefined,
      backoff: crashBackoff.first,
      notBefore: 0,
      condemned: false,
    });
    this.#members = this.#pod.spec.containers.map(member);
    this.#inits = (this.#pod.spec.initContainers ?? []).map(member);
  }

  async #step(): Promise<void> {
    const { phase } = this.#pod.status ?? {};
    if (phase === 'Succeeded' || phase === 'Failed') return;
    if (this.#sandbox === undefined) await this.#create();
    if (this.#sandbox !== undefined) await this.#runContainers();
    await this.#writeStatus();
  }

  async #create(): Promise<void> {
    const { slots, config, cni, events } = this.#modules;
    try {
      const sandbox = await slots.use(async () => {
        if (this.#gone || this.#pod.metadata.deletionTimestamp !== undefined) return undefined;
        // What an earlier kubelet or an earlier try left half made.
        if (existsSync(this.#directory)) await removeSandbox(this.#directory, cni);
        return createSandbox(this.#pod, config, cni);
      });
      this.#creationError = undefined;
      if (sandbox !== undefined) this.#use(sandbox);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      this.#creationError = message;
      events.post(this.#pod, 'Warning', 'FailedCreatePodSandBox', `Failed to create pod sandbox: ${message}`);
      await this.#writeStatus();
      await delay(this.#retry);
      this.#retry = Math.min(this.#retry * 2, 10_000);
      this.notify();
    }
  }

  get #initialized(): boolean {
    return this.#inits.every(init => init.container.run?.exitCode === 0);
  }

  async #runContainers(): Promise<void> {
    for (const member of [...this.#inits, ...this.#members]) await this.#observe(member);
    for (const init of this.#inits) {
      if (init.container.run?.exitCode === 0) continue;
      this.#startIfDue(init);
      return;
    }
    for (const member of this.#members) this.#startIfDue(member);
  }

  async #observe(member: Member): Promise<void> {
    if (!member.container.observe()) return;
    member.prober?.stop();
    member.prober = undefined;
    await member.container.cleanUp();
    const lived =
      Date.parse(member.container.run?.finishedAt ?? '') - Date.parse(member.container.run?.startedAt ?? '');
    if (lived > 60_000) member.backoff = crashBackoff.first;
    member.notBefore = member.condemned ? 0 : Date.now() + member.backoff;
    member.backoff = Math.min(member.backoff * 2, crashBackoff.longest);
    member.condemned = false;
  }

  #mayRestart(member: Member): boolean {
    const exitCode = member.container.run?.exitCode;
    if (exitCode === undefined) return member.container.run === undefined;
    const policy = this.#pod.spec.restartPolicy ?? 'Always';
    const isInit = this.#inits.includes(member);
    if (policy === 'Never') return false;
    return policy === 'Always' && !isInit ? true : exitCode !== 0;
  }

  #startIfDue(member: Member): void {
    if (!this.#mayRestart(member)) return;
    const wait = member.notBefore - Date.now();
    if (wait > 0) {
      if (wait < pollMs) setTimeout(() => this.notify(), wait);
      return;
    }
    member.container.start(this.#launch(member.spec));
    this.#modules.events.post(this.#pod, 'Normal', 'Started', `Started container ${member.spec.name}`);
    this.#probe(member);
  }

  #probe(member: Member): void {
    const { sandbox } = this;
    if (sandbox === undefined) return;
    member.prober?.stop();
    member.prober = new Prober(member.spec, sandbox, {
      changed: () => this.notify(),
      failed: (kind, reason) =>
        this.#modules.events.post(this.#pod, 'Warning', 'Unhealthy', `${kind} probe failed: ${reason}`),
      unhealthy: reason => {
        member.condemned = true;
        this.#modules.events.post(
          this.#pod,
          'Normal',
          'Killing',
          `Container ${member.spec.name}: ${reason}, restarting`,
        );
        member.container.signal('SIGTERM');
        setTimeout(() => member.container.signal('SIGKILL'), 5000).unref();
      },
    });
    member.prober.start();
  }

  /** What a process in the container finds in its environment. */
  environment(name: string): Record<string, string> {
    const { config } = this.#modules;
    const pod = this.#pod;
    const all = [...pod.spec.containers, ...(pod.spec.initContainers ?? [])];
    return environmentOf({
      pod,
      container: all.find(container => container.name === name) ?? { name, image: '' },
      hostname: pod.spec.hostNetwork === true ? config.nodeName : hostnameOf(pod.spec, pod.metadata.name),
      podAddresses: this.#sandbox?.addresses ?? [],
      nodeName: config.nodeName,
      nodeAddresses: config.nodeAddresses,
      apiService: config.apiService,
    });
  }

  #launch(spec: ContainerSpec): Launch {
    return { ...this.#command(spec, this.environment(spec.name)), workingDir: spec.workingDir ?? '/' };
  }

  #command(spec: ContainerSpec, env: Record<string, string>): Omit<Launch, 'workingDir'> {
    const chosen = programOf(spec, findTool);
    const ports = spec.ports ?? [];
    if (chosen.kind === 'nginx') return { argv: this.#nginx(ports.map(port => port.containerPort)), env };
    if (chosen.kind === 'command') return { argv: chosen.argv, env };
    const list = ports.map(port => `${port.containerPort}/${port.protocol ?? 'TCP'}`).join(',');
    const identity = { CILIATE_POD: this.#pod.metadata.name, CILIATE_NODE: this.#modules.config.nodeName };
    return { argv: [...program(chosen.program), '--ports', list], env: { ...env, ...identity } };
  }

  #nginx(ports: readonly number[]): readonly string[] {
    const directory = join(this.#directory, 'run/pod/nginx');
    mkdirSync(join(directory, 'html'), { recursive: true });
    writeFileSync(join(directory, 'nginx.conf'), nginxConfig(ports));
    writeFileSync(
      join(directory, 'html/index.html'),
      nginxPage(this.#pod.metadata.name, this.#modules.config.nodeName),
    );
    const inside = '/run/pod/nginx';
    return [findTool('nginx') ?? 'nginx', '-c', `${inside}/nginx.conf`, '-e', `${inside}/startup.log`, '-p', inside];
  }

  #view(member: Member): ContainerView {
    const { run } = member.container;
    const ended = run?.exitCode !== undefined;
    const restarts = ended && this.#mayRestart(member);
    const waiting = restarts
      ? { reason: 'CrashLoopBackOff', message: `back-off restarting failed container ${member.spec.name}` }
      : run === undefined && this.#inits.length > 0 && !this.#initialized
        ? { reason: 'PodInitializing' }
        : undefined;
    return {
      spec: member.spec,
      id: member.container.id,
      run,
      ready: this.#inits.includes(member) ? run?.exitCode === 0 : (member.prober?.ready ?? false),
      started: member.prober?.started ?? false,
      waiting,
    };
  }

  #status(): PodStatus {
    const blank = (spec: ContainerSpec): ContainerView => ({
      spec,
      id: '',
      run: undefined,
      ready: false,
      started: false,
      waiting: {
        reason: 'ContainerCreating',
        ...(this.#creationError === undefined ? {} : { message: this.#creationError }),
      },
    });
    const { spec } = this.#pod;
    const made = this.#sandbox !== undefined;
    return podStatus({
      spec,
      addresses: this.#sandbox?.addresses ?? [],
      nodeAddresses: this.#modules.config.nodeAddresses,
      containers: made ? this.#members.map(member => this.#view(member)) : spec.containers.map(blank),
      initContainers: made ? this.#inits.map(member => this.#view(member)) : (spec.initContainers ?? []).map(blank),
      initialized: made ? this.#initialized : (spec.initContainers ?? []).length === 0,
      startTime: this.#startTime,
      previous: this.#written?.conditions ?? this.#pod.status?.conditions ?? [],
      now: new Date().toISOString(),
    });
  }

  async #writeStatus(): Promise<void> {
    const status = this.#status();
    if (isDeepStrictEqual(status, this.#written)) return;
    try {
      await this.#modules.api.request('PATCH', `${this.#path}/status`, {
        body: { metadata: { uid: this.#pod.metadata.uid }, status },
        contentType: 'application/merge-patch+json',
      });
      this.#written = status;
    } catch (error) {
      const code = apiStatus(error);
      // Replaced or deleted meanwhile: the watch will tell.
      if (code !== 404 && code !== 409) throw error;
    }
  }

  get #path(): string {
    return `/api/v1/namespaces/${this.#pod.metadata.namespace}/pods/${this.#pod.metadata.name}`;
  }

  async #terminate(): Promise<void> {
    const members = [...this.#members, ...this.#inits];
    for (const member of members) member.prober?.stop();
    await this.#stopContainers(members);
    for (let wait = 250; ; wait = Math.min(wait * 2, 10_000)) {
      try {
        await this.#modules.slots.use(() => removeSandbox(this.#directory, this.#modules.cni));
        break;
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        this.#modules.events.post(this.#pod, 'Warning', 'FailedKillPod', message);
        this.#modules.log(`pod ${this.#label}: not removed yet: ${message}`);
        await delay(wait);
      }
    }
    await this.#deleteObject();
  }

  async #stopContainers(members: readonly Member[]): Promise<void> {
    const grace = this.#gone ? 0 : (this.#pod.metadata.deletionGracePeriodSeconds ?? 30);
    const end = Date.now() + grace * 1000;
    for (const member of members) void this.#askToEnd(member, grace * 1000);
    while (members.some(({ container }) => container.running) && Date.now() < end && !this.#gone) {
      this.#woken = false;
      for (const { container } of members) container.observe();
      if (members.some(({ container }) => container.running)) await this.#sleep(200);
    }
  }

  async #askToEnd({ spec, container }: Member, grace: number): Promise<void> {
    const failed = container.running ? await runPreStop(spec, this.#sandbox, grace) : undefined;
    if (failed !== undefined) this.#modules.events.post(this.#pod, 'Warning', 'FailedPreStopHook', failed);
    container.signal('SIGTERM');
  }

  /** Ends the object for good; only of this very pod. */
  async #deleteObject(): Promise<void> {
    const { uid } = this.#pod.metadata;
    for (let wait = 250; !this.#gone; wait = Math.min(wait * 2, 10_000)) {
      try {
        await this.#modules.api.request('DELETE', this.#path, {
          body: { apiVersion: 'v1', kind: 'DeleteOptions', gracePeriodSeconds: 0, preconditions: { uid } },
        });
        return;
      } catch (error) {
        const code = apiStatus(error);
        if (code === 404 || code === 409) return;
        await delay(wait);
      }
    }
  }
}
