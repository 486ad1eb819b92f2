/** The controllers on a store of their own, with a stand-in for the kubelets: pods with a node get ready, those being deleted go. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type JsonObject, type KubeObject, listAt, numberAt, textAt } from '../apiserver/object.ts';
import { Registry, type Resource } from '../apiserver/registry.ts';
import { type RunningApiServer, startApiServer } from '../apiserver/start.ts';
import type { Store } from '../apiserver/store.ts';

const registry = new Registry();

function resourceOf(kind: string): Resource {
  const found = registry.ofKind(kind);
  assert.ok(found);
  return found;
}

let nextAddress = 1;

function readyStatus(): JsonObject {
  const n = nextAddress++;
  return {
    phase: 'Running',
    podIP: `10.244.0.${n}`,
    podIPs: [{ ip: `10.244.0.${n}` }, { ip: `fd00:10:244::${n.toString(16)}` }],
    conditions: [{ type: 'Ready', status: 'True' }],
  };
}

function actAsKubelets(store: Store): void {
  const pods = resourceOf('Pod');
  store.subscribe((resource, { object: { metadata } }) => {
    if (resource.kind !== 'Pod') return;
    setImmediate(() => {
      const pod = store.get(pods, metadata.namespace, metadata.name);
      if (pod === undefined || textAt(pod, 'spec', 'nodeName') === '') return;
      if (pod.metadata.deletionTimestamp !== undefined) store.remove(pods, pod);
      else if (textAt(pod, 'status', 'phase') !== 'Running') store.update(pods, { ...pod, status: readyStatus() });
    });
  });
}

async function until(what: string, isSo: () => boolean): Promise<void> {
  for (const end = Date.now() + 20_000; !isSo(); await new Promise(resolve => setTimeout(resolve, 10)))
    assert.ok(Date.now() < end, `not within 20 s: ${what}`);
}

describe('controllers', () => {
  let server: RunningApiServer | undefined;
  const store = (): Store => {
    assert.ok(server);
    return server.store;
  };
  const list = (kind: string, label?: string): readonly KubeObject[] =>
    store()
      .list(resourceOf(kind), 'default')
      .filter(object => label === undefined || object.metadata.labels?.app === label);
  const get = (kind: string, name: string): KubeObject | undefined => store().get(resourceOf(kind), 'default', name);
  const make = (kind: string, name: string, spec: JsonObject): KubeObject =>
    store().create(resourceOf(kind), { apiVersion: 'v1', kind, metadata: { name, namespace: 'default' }, spec });
  const edit = (kind: string, name: string, change: (object: KubeObject) => KubeObject): void => {
    const object = get(kind, name);
    assert.ok(object);
    store().update(resourceOf(kind), change(object));
  };
  const template = (app: string, image: string): JsonObject => ({
    metadata: { labels: { app } },
    spec: { containers: [{ name: 'c', image, ports: [{ name: 'web', containerPort: 8080 }] }] },
  });
  const withImage = (app: string, image: string) => (object: KubeObject) => ({
    ...object,
    spec: { ...object.spec, template: template(app, image) },
  });
  const images = (app: string): readonly string[] => [
    ...new Set(list('Pod', app).map(pod => textAt(pod, 'spec', 'containers', 0, 'image'))),
  ];

  before(async () => {
    server = await startApiServer({
      listen: [],
      serviceCidrs: ['10.96.0.0/16', 'fd00:10:96::/112'],
      podCidrs: ['10.244.0.0/16'],
      nodePorts: [30_000, 32_767],
      kubeletDir: '/nonexistent',
      tokens: [],
      advertise: ['127.0.0.1'],
      advertisePort: 6443,
    });
    actAsKubelets(store());
    for (const name of ['node-1', 'node-2'])
      store().create(resourceOf('Node'), {
        apiVersion: 'v1',
        kind: 'Node',
        metadata: { name },
        status: { conditions: [{ type: 'Ready', status: 'True' }] },
      });
  });
  after(() => server?.close());

  test('a Deployment gets its pods, spread over the nodes', async () => {
    const spec = { replicas: 4, selector: { matchLabels: { app: 'web' } }, template: template('web', 'a') };
    make('Deployment', 'web', spec);
    await until('4 available', () => numberAt(get('Deployment', 'web'), 'status', 'availableReplicas') === 4);
    const nodes = list('Pod', 'web').map(pod => textAt(pod, 'spec', 'nodeName'));
    assert.deepEqual(nodes.toSorted(), ['node-1', 'node-1', 'node-2', 'node-2']);
  });

  test('a rolling update replaces all pods and never has fewer ready than it may', async () => {
    let fewest = 4;
    store().subscribe(resource => {
      if (resource.kind !== 'Pod') return;
      const ready = list('Pod', 'web').filter(
        pod => pod.metadata.deletionTimestamp === undefined && textAt(pod, 'status', 'phase') === 'Running',
      );
      fewest = Math.min(fewest, ready.length);
    });
    edit('Deployment', 'web', withImage('web', 'b'));
    await until('only new pods', () => images('web').join() === 'b' && list('Pod', 'web').length === 4);
    assert.ok(fewest >= 3, `${fewest} ready, of 4 with maxUnavailable 25%`);
  });

  test('rolling back uses the old ReplicaSet again, as the newest revision', async () => {
    edit('Deployment', 'web', withImage('web', 'a'));
    await until('old image', () => images('web').join() === 'a' && list('Pod', 'web').length === 4);
    assert.equal(list('ReplicaSet').length, 2);
    await until(
      'revision 3',
      () => get('Deployment', 'web')?.metadata.annotations?.['deployment.kubernetes.io/revision'] === '3',
    );
  });

  test('a Service gets a slice per family with its named port; a pod that loses its label leaves', async () => {
    make('Service', 'web', {
      selector: { app: 'web' },
      ipFamilies: ['IPv4', 'IPv6'],
      ports: [{ port: 80, targetPort: 'web', protocol: 'TCP' }],
    });
    const endpoints = (family: string): number => listAt(get('EndpointSlice', `web-${family}-0`), 'endpoints').length;
    await until('4 endpoints of each family', () => endpoints('ipv4') === 4 && endpoints('ipv6') === 4);
    assert.equal(numberAt(get('EndpointSlice', 'web-ipv4-0'), 'ports', 0, 'port'), 8080);
    const [pod] = list('Pod', 'web');
    assert.ok(pod);
    const address = textAt(pod, 'status', 'podIP');
    edit('Pod', pod.metadata.name, object => ({ ...object, metadata: { ...object.metadata, labels: { app: 'out' } } }));
    await until(
      'the relabelled pod is out',
      () => !JSON.stringify(get('EndpointSlice', 'web-ipv4-0')).includes(address),
    );
    edit('Pod', pod.metadata.name, object => ({ ...object, metadata: { ...object.metadata, labels: { app: 'web' } } }));
  });

  test('Endpoints of a Service without selector are mirrored, a slice for each family', async () => {
    make('Service', 'manual', { ports: [{ port: 80 }] });
    const subset = { addresses: [{ ip: '10.9.0.1' }, { ip: 'fd00:9::1' }], notReadyAddresses: [{ ip: '10.9.0.2' }] };
    const metadata = { namespace: 'default', name: 'manual' };
    const subsets = [{ ...subset, ports: [{ port: 8080 }] }];
    store().create(resourceOf('Endpoints'), { apiVersion: 'v1', kind: 'Endpoints', metadata, subsets });
    const has = (family: string) => get('EndpointSlice', `manual-mirrored-${family}-0`) !== undefined;
    await until('both', () => ['ipv4', 'ipv6'].every(has));
    const slice = get('EndpointSlice', 'manual-mirrored-ipv4-0');
    assert.deepEqual(
      listAt(slice, 'endpoints').map(one => [textAt(one, 'addresses', 0), textAt(one, 'conditions', 'ready')]),
      [
        ['10.9.0.1', 'true'],
        ['10.9.0.2', 'false'],
      ],
    );
    assert.equal(numberAt(slice, 'ports', 0, 'port'), 8080);
    edit('Endpoints', 'manual', old => ({ ...old, subsets: [] }));
    await until('none', () => get('EndpointSlice', 'manual-mirrored-ipv4-0') === undefined);
  });

  test('a DaemonSet has a pod on each node and replaces them one at a time', async () => {
    make('DaemonSet', 'ds', { selector: { matchLabels: { app: 'ds' } }, template: template('ds', 'a') });
    await until('2 ready', () => numberAt(get('DaemonSet', 'ds'), 'status', 'numberReady') === 2);
    edit('DaemonSet', 'ds', withImage('ds', 'b'));
    await until('new image', () => images('ds').join() === 'b' && list('Pod', 'ds').length === 2);
  });

  test('deleting takes what is owned with it', async () => {
    for (const [kind, name] of [
      ['Deployment', 'web'],
      ['DaemonSet', 'ds'],
      ['Service', 'web'],
    ] as const) {
      const object = get(kind, name);
      assert.ok(object);
      store().remove(resourceOf(kind), object);
    }
    await until('nothing left', () => ['Pod', 'ReplicaSet'].every(kind => list(kind).length === 0));
    assert.equal(get('EndpointSlice', 'web-ipv4-0'), undefined);
    assert.equal(get('Endpoints', 'web'), undefined);
  });
});
