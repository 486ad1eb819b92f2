/** Puts the API server and its controllers together. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { nthAddress, parsePrefix } from '@ciliate/model';
import { ControllerManager } from '../controllers/manager.ts';
import { checkRanges } from './allocation.ts';
import { Registry } from './registry.ts';
import { Resources } from './resources.ts';
import { ApiServer, type ServerOptions } from './server.ts';
import { Store } from './store.ts';

export interface ApiServerOptions {
  /** 'HOST:PORT', '[::1]:PORT' or a path. */
  readonly listen: readonly string[];
  readonly serviceCidrs: readonly string[];
  readonly podCidrs: readonly string[];
  readonly nodePorts: readonly [number, number];
  readonly kubeletDir: string;
  /** Objects are kept here over a restart; undefined: in memory alone. */
  readonly dataDir?: string;
  readonly tls?: ServerOptions['tls'];
  readonly tokens: readonly string[];
  readonly advertise: readonly string[];
  readonly advertisePort: number;
}

export interface RunningApiServer {
  /** Ports in the order of `listen`. */
  readonly ports: readonly number[];
  readonly store: Store;
  close(): void;
}

/** Throws when ranges overlap or an address cannot be listened on. */
export async function startApiServer(options: ApiServerOptions): Promise<RunningApiServer> {
  const ranges = {
    serviceCidrs: options.serviceCidrs.map(parsePrefix),
    podCidrs: options.podCidrs.map(parsePrefix),
    nodePorts: options.nodePorts,
    nodeMaskIPv4: 24,
    nodeMaskIPv6: 64,
  };
  checkRanges(ranges);
  const store = new Store(options.dataDir === undefined ? undefined : join(options.dataDir, 'objects.json'));
  const registry = new Registry();
  const resources = new Resources({ store, registry, ranges });
  const modules = { store, registry, resources };
  const server = new ApiServer(
    {
      kubeletDir: options.kubeletDir,
      tokens: options.tokens,
      ...(options.tls === undefined ? {} : { tls: options.tls }),
    },
    modules,
  );
  const caFile = options.tls?.clientCaFile;
  const rootCa = caFile !== undefined && existsSync(caFile) ? readFileSync(caFile, 'utf8') : '';
  const [firstRange] = ranges.serviceCidrs;
  const kubernetesIP = firstRange === undefined ? '' : nthAddress(firstRange, 1);
  const manager = new ControllerManager(
    { advertise: options.advertise, advertisePort: options.advertisePort, kubernetesIP, rootCa },
    modules,
  );
  manager.start();
  const ports: number[] = [];
  for (const where of options.listen) ports.push(await server.listen(where));
  return {
    ports,
    store,
    close: () => {
      manager.stop();
      server.close();
      store.flush();
    },
  };
}
