/** The sandbox's kubelet; started by the supervisor in the node's network namespace and cgroup. */
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { type KubeApi, KubeClient, loadKubeConfig } from '@ciliate/sources';
import { Kubelet } from '../kubelet/kubelet.ts';

const { values } = parseArgs({
  options: {
    'node-name': { type: 'string', default: 'node-1' },
    kubeconfig: { type: 'string' },
    directory: { type: 'string', default: '' },
    netns: { type: 'string', default: '' },
    'pod-netns-prefix': { type: 'string', default: 'ciliate-pod-' },
    cgroup: { type: 'string', default: '' },
    'node-ip': { type: 'string', default: '' },
    'pod-cidrs': { type: 'string', default: '' },
    'cluster-dns': { type: 'string', default: '10.96.0.10' },
    'api-service': { type: 'string', default: '' },
  },
});

const list = (text: string): readonly string[] => text.split(',').filter(part => part !== '');
const log = (message: string): void => {
  process.stdout.write(`${new Date().toISOString()} ${message}\n`);
};

interface KubernetesService {
  readonly spec?: { readonly clusterIP?: string; readonly ports?: readonly { readonly port: number }[] };
}

/** Where pods find the API server: as told, else the service 'kubernetes'. */
async function apiService(api: KubeApi): Promise<{ readonly host: string; readonly port: string }> {
  const told = values['api-service'];
  if (told !== '') return { host: told.slice(0, told.lastIndexOf(':')), port: told.slice(told.lastIndexOf(':') + 1) };
  for (;;) {
    try {
      const service = (await api.request('GET', '/api/v1/namespaces/default/services/kubernetes')) as KubernetesService;
      return { host: service.spec?.clusterIP ?? '10.96.0.1', port: String(service.spec?.ports?.[0]?.port ?? 443) };
    } catch (error) {
      log(`waiting for the service default/kubernetes: ${error instanceof Error ? error.message : String(error)}`);
      await delay(500);
    }
  }
}

const kubeconfig = await loadKubeConfig(values.kubeconfig);
const api = new KubeClient(kubeconfig);
const kubelet = new Kubelet(
  {
    nodeName: values['node-name'],
    directory: values.directory,
    netns: values.netns,
    podNetnsPrefix: values['pod-netns-prefix'],
    cgroup: values.cgroup,
    nodeAddresses: list(values['node-ip']),
    podCidrs: list(values['pod-cidrs']),
    clusterDns: values['cluster-dns'],
    apiService: await apiService(api),
    token: kubeconfig.token,
    ca: kubeconfig.ca,
  },
  { api, log },
);
kubelet.start();
log(`kubelet of ${values['node-name']} started`);
