/** A node with a server that a policy isolates, its friend and its foe: pods that send what frames they like, and see all that come. */
import { request } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import type { MonitorEvent } from '@ciliate/protocol';
import { ip, type L4, tcp } from '../packet/frame.ts';
import { AgentNode } from './agent-node.ts';
import { eventually } from './cluster.ts';
import { RawDevice } from './raw-device.ts';

type Labels = Readonly<Record<string, string>>;

export interface PolicyPod {
  readonly name: string;
  readonly address: { readonly 4: string; readonly 6: string };
  readonly mac: Buffer;
  /** Of the node's side of its device. */
  readonly nodeMac: Buffer;
  readonly device: RawDevice;
}

interface Endpoint {
  readonly status: {
    readonly state: string;
    readonly networking: {
      readonly addressing: readonly [{ readonly ipv4: string; readonly ipv6: string }];
      readonly mac: string;
      readonly 'host-mac': string;
    };
    readonly 'external-identifiers': { readonly 'pod-name': string };
  };
}

const macBytes = (text: string): Buffer => Buffer.from(text.replaceAll(':', ''), 'hex');

/** TCP to port 80 from whoever has role=friend. */
export const friendsOnly = {
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { namespace: 'default', name: 'server' },
  spec: {
    podSelector: { matchLabels: { role: 'server' } },
    ingress: [{ from: [{ podSelector: { matchLabels: { role: 'friend' } } }], ports: [{ port: 80 }] }],
  },
};

export class PolicyNode {
  readonly node: AgentNode;
  readonly pods = new Map<string, PolicyPod>();
  readonly labels = new Map<string, Labels>();
  #marks = 0;
  #namespace: object = {};
  #policies: readonly object[] = [friendsOnly];
  #ciliumPolicies: readonly object[] = [];

  constructor(name: string, agentArguments: readonly string[] = []) {
    this.node = new AgentNode({ name, agentArguments: ['--enable-health-checking=false', ...agentArguments] });
  }

  async up(): Promise<void> {
    await this.node.up();
    for (const name of ['server', 'friend', 'foe']) await this.addPod(name, { role: name });
  }

  async down(): Promise<void> {
    for (const { device } of this.pods.values()) device.close();
    await this.node.down();
  }

  /** What the API server has. */
  objects(): Readonly<Record<string, readonly unknown[]>> {
    return {
      '/api/v1/namespaces': [{ metadata: { name: 'default', labels: {}, ...this.#namespace } }],
      '/api/v1/pods': [...this.labels].map(([name, labels]) => podObject(name, labels, this.node.name)),
      '/apis/networking.k8s.io/v1/networkpolicies': this.#policies,
      '/apis/cilium.io/v2/ciliumnetworkpolicies': this.#ciliumPolicies,
    };
  }

  set(change: { policies?: readonly object[]; ciliumPolicies?: readonly object[]; namespace?: object }): void {
    this.#policies = change.policies ?? this.#policies;
    this.#ciliumPolicies = change.ciliumPolicies ?? this.#ciliumPolicies;
    this.#namespace = change.namespace ?? this.#namespace;
    this.node.setObjects(this.objects());
  }

  setLabels(name: string, labels: Labels): void {
    this.labels.set(name, labels);
    this.node.setObjects(this.objects());
  }

  /** `isKnown`: its object is on the API server, and it waits for its identity. */
  async addPod(name: string, labels: Labels, isKnown = true): Promise<void> {
    this.labels.set(name, labels);
    if (isKnown) this.node.setObjects(this.objects());
    const netns = this.node.addPod(name);
    const args = `K8S_POD_NAMESPACE=default;K8S_POD_NAME=${name};K8S_POD_UID=${name}`;
    const added = this.node.plugin({ command: 'ADD', containerId: name, netns, args });
    if (added.code !== 0) throw new Error(JSON.stringify(added.output));
    const { status } = await eventually(`${name} is an endpoint`, async () => {
      const found = await this.#endpoint(name);
      return isKnown && found?.status.state !== 'ready' ? undefined : found;
    });
    const { addressing, mac, 'host-mac': nodeMac } = status.networking;
    this.pods.set(name, {
      name,
      address: { 4: addressing[0].ipv4, 6: addressing[0].ipv6 },
      ...{ mac: macBytes(mac), nodeMac: macBytes(nodeMac) },
      device: new RawDevice(netns),
    });
  }

  async #endpoint(name: string): Promise<Endpoint | undefined> {
    const all = (await this.node.get('/v1/endpoint')) as readonly Endpoint[];
    return all.find(({ status }) => status['external-identifiers']['pod-name'] === `default/${name}`);
  }

  pod(name: string): PolicyPod {
    const pod = this.pods.get(name);
    if (pod === undefined) throw new Error(`no pod ${name}`);
    return pod;
  }

  /** Bytes that nobody else sends, for the end of a packet. */
  mark(): Buffer {
    this.#marks += 1;
    return Buffer.from(`mark-${String(this.#marks).padStart(8, '0')}!`);
  }

  /** An IP packet as the pod's own frame. */
  send(from: PolicyPod, packet: Buffer, sourceMac = from.mac): void {
    const type = (packet[0] ?? 0) >>> 4 === 6 ? [0x86, 0xdd] : [0x08, 0x00];
    from.device.send(Buffer.concat([from.nodeMac, sourceMac, Buffer.from(type), packet]));
  }

  /** Which of the marks have come to a pod. */
  async arrived(at: string, marks: readonly Buffer[]): Promise<readonly boolean[]> {
    await delay(100);
    const frames = this.pod(at).device.frames();
    return marks.map(mark => frames.some(frame => frame.includes(mark)));
  }

  /** Whether a SYN to the server's port gets there, in both families; one alone is an error. */
  async reaches(from: string, to = 'server', port = 80): Promise<boolean> {
    const [client, server] = [this.pod(from), this.pod(to)];
    const marks = ([4, 6] as const).map(family => {
      const mark = this.mark();
      const sport = 20_000 + this.#marks;
      this.send(client, ip(client.address[family], server.address[family], withPayload(tcp(sport, port), mark)));
      return mark;
    });
    const [four, six] = await this.arrived(to, marks);
    if (four !== six) throw new Error(`${from} → ${to}: one family passes and the other does not`);
    return four === true;
  }

  /** Waits until these pods reach the server, and those do not. */
  expect(wanted: Readonly<Record<string, boolean>>, what: string, to = 'server'): Promise<boolean> {
    return eventually(
      what,
      async () => {
        for (const [from, passes] of Object.entries(wanted)) {
          if ((await this.reaches(from, to)) !== passes)
            throw new Error(`${from} ${passes ? 'does not pass' : 'passes'}`);
        }
        return true;
      },
      20_000,
    );
  }

  /** Packets that have been dropped, by reason. */
  async drops(): Promise<ReadonlyMap<string, number>> {
    const entries = (await this.node.get('/v1/ciliate/bpf/metrics')) as readonly {
      readonly reason: number;
      readonly reasonName: string;
      readonly packets: number;
    }[];
    const found = new Map<string, number>();
    for (const { reason, reasonName, packets } of entries) {
      if (reason !== 0) found.set(reasonName, (found.get(reasonName) ?? 0) + packets);
    }
    return found;
  }

  /** Verdicts from now on; `stop` ends it. */
  verdicts(): Promise<{ readonly events: readonly MonitorEvent[]; readonly stop: () => void }> {
    const events: MonitorEvent[] = [];
    return new Promise((resolve, reject) => {
      const path = '/v1/ciliate/monitor?type=policy-verdict,drop';
      const call = request({ socketPath: this.node.socketPath, path, agent: false }, response => {
        let rest = '';
        response.on('data', chunk => {
          const lines = `${rest}${String(chunk)}`.split('\n');
          rest = lines.pop() ?? '';
          for (const line of lines) events.push(JSON.parse(line) as MonitorEvent);
        });
        response.on('error', () => undefined);
        resolve({ events, stop: () => void call.destroy() });
      });
      call.on('error', reject);
      call.end();
    });
  }
}

function podObject(name: string, labels: Labels, node: string): object {
  return {
    metadata: { namespace: 'default', name, uid: name, labels },
    spec: { nodeName: node, serviceAccountName: 'default', containers: [{ name: 'c' }] },
    status: { phase: 'Running' },
  };
}

export function withPayload(l4: L4, payload: Buffer): L4 {
  const bytes = Buffer.concat([l4.bytes, payload]);
  if (l4.protocol === 17) bytes.writeUInt16BE(bytes.length, 4);
  return { ...l4, bytes };
}
