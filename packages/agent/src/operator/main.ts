/** Composition root of ciliate-operator. */
import { hostname } from 'node:os';
import { type Prefix, tryParsePrefix } from '@ciliate/model';
import { Backoff, KubeClient, loadKubeConfig } from '@ciliate/sources';
import { Lifecycle } from '../lifecycle.ts';
import { createLog, describe, type Log } from '../log.ts';
import type { OperatorOptions } from '../options/operator-options.ts';
import { OptionError } from '../options/parse.ts';
import { ClusterPool } from './cluster-pool.ts';
import { registerCrds } from './crds.ts';
import { GarbageCollector } from './garbage.ts';
import { LeaderElection } from './leader.ts';
import { NodeIpam } from './node-ipam.ts';
import { PolicyStatus } from './policy-status.ts';

/** Runs until SIGTERM or SIGINT. Resolves to the exit code. */
export async function runOperator(options: OperatorOptions): Promise<number> {
  const log = createLog(options['log-level'], { subsys: 'operator' });
  const pools = createPools(options);
  const api = new KubeClient(await loadKubeConfig(options['k8s-kubeconfig-path']));
  const stop = new AbortController();
  let exitCode = 0;
  const ended = new Promise<void>(resolve => stop.signal.addEventListener('abort', () => resolve(), { once: true }));
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => stop.abort());

  if (options['leader-election']) {
    const leader = new LeaderElection(
      {
        namespace: options['leader-election-namespace'],
        name: 'ciliate-operator',
        identity: `${hostname()}_${process.pid}`,
        duration: options['lease-duration'],
      },
      { api, log },
    );
    await leader.acquire(stop.signal, () => {
      log.error('the lease is lost, ending so that another operator may act');
      exitCode = 1;
      stop.abort();
    });
  }
  await untilRegistered(api, log, stop.signal);
  if (stop.signal.aborted) return exitCode;
  const lifecycle = new Lifecycle();
  if (pools.ipv4.enabled || pools.ipv6.enabled) lifecycle.append(new NodeIpam(pools, { api, log }));
  lifecycle.append(
    new GarbageCollector(
      { endpointInterval: options['endpoint-gc-interval'], identityAge: options['identity-gc-interval'] },
      { api, log },
    ),
  );
  // Where agents serve services alone NetworkPolicies are another's to enforce.
  const own = options['service-only'] ? [] : (['NetworkPolicy'] as const);
  for (const kind of [...own, 'CiliumNetworkPolicy', 'CiliumClusterwideNetworkPolicy'] as const) {
    const refuse = options['service-only'] ? { refuse: 'agents serve services alone (--service-only)' } : {};
    lifecycle.append(new PolicyStatus({ kind, ...refuse }, { api, log }));
  }
  await lifecycle.start();
  log.info('operator started', { server: api.server });
  await ended;
  await lifecycle.stop();
  api.close();
  return exitCode;
}

async function untilRegistered(api: KubeClient, log: Log, signal: AbortSignal): Promise<void> {
  const backoff = new Backoff({ min: 200, max: 5000 });
  while (!signal.aborted) {
    try {
      const created = await registerCrds(api);
      if (created.length > 0) log.info('CRDs registered', { created });
      return;
    } catch (error) {
      log.warn('CRDs cannot be registered yet', { error: describe(error) });
      await backoff.wait(signal);
    }
  }
}

/** @throws OptionError, ClusterPoolError */
function createPools(options: OperatorOptions): { readonly ipv4: ClusterPool; readonly ipv6: ClusterPool } {
  const services = prefixes('service-cidr', options['service-cidr']);
  return {
    ipv4: new ClusterPool(
      {
        cidrs: prefixes('cluster-pool-ipv4-cidr', options['cluster-pool-ipv4-cidr']),
        maskSize: options['cluster-pool-ipv4-mask-size'],
      },
      services,
    ),
    ipv6: new ClusterPool(
      {
        cidrs: prefixes('cluster-pool-ipv6-cidr', options['cluster-pool-ipv6-cidr']),
        maskSize: options['cluster-pool-ipv6-mask-size'],
      },
      services,
    ),
  };
}

function prefixes(name: string, texts: readonly string[]): readonly Prefix[] {
  return texts.map(text => {
    const prefix = tryParsePrefix(text);
    if (prefix === undefined)
      throw new OptionError(`--${name} '${text}' is no prefix: write it as 10.0.0.0/8 or fd00::/48`);
    return prefix;
  });
}
