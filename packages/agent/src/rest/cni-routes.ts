/** POST /v1/ciliate/cni: what the CNI plugin asks. Errors are CNI error objects. */
import { CniErrorCode, type CniReply, type CniRequest, restPaths } from '@ciliate/protocol';
import { CniFailure } from '../cni/error.ts';
import type { EndpointManager } from '../endpoint/endpoint-manager.ts';
import { describe, type Log } from '../log.ts';
import type { RestResponse, Route } from './router.ts';

const commands = new Set(['ADD', 'DEL', 'CHECK', 'GC', 'STATUS']);
const nothing: CniReply = { interfaces: [], ips: [], routes: [], agentMicroseconds: 0 };

export interface CniRoutesModules {
  readonly endpoints: EndpointManager;
  /** Undefined: pods can be added. Else why not. */
  readonly notReady: () => string | undefined;
  readonly observe: (command: string, seconds: number, failed: boolean) => void;
  readonly log: Log;
}

export function cniRoutes(modules: CniRoutesModules): readonly Route[] {
  return [{ method: 'POST', path: restPaths.cni, handle: request => handleCni(request.body, modules) }];
}

async function handleCni(body: unknown, modules: CniRoutesModules): Promise<RestResponse> {
  const started = performance.now();
  const request = body as CniRequest;
  let failed = true;
  try {
    if (typeof body !== 'object' || body === null || !commands.has(request.command)) {
      throw new CniFailure(
        CniErrorCode.decode,
        'not a request of the CNI plugin',
        'plugin and agent must be of one version',
      );
    }
    const reply = await dispatch(request, modules);
    failed = false;
    return { json: { ...reply, agentMicroseconds: Math.round((performance.now() - started) * 1000) } };
  } catch (error) {
    const failure =
      error instanceof CniFailure
        ? error
        : new CniFailure(CniErrorCode.internal, describe(error), '', { cause: error });
    const { containerId, ifname, command } = request;
    modules.log.warn('CNI request failed', {
      command,
      containerId,
      ifname,
      code: failure.code,
      error: describe(error),
    });
    return { status: 500, json: failure.toObject() };
  } finally {
    modules.observe(String(request.command), (performance.now() - started) / 1000, failed);
  }
}

async function dispatch(request: CniRequest, { endpoints, notReady, log }: CniRoutesModules): Promise<CniReply> {
  const why = notReady();
  if (request.command === 'STATUS') {
    if (why !== undefined) throw new CniFailure(CniErrorCode.notAvailable, `the agent is not ready: ${why}`);
    return nothing;
  }
  if (why !== undefined) throw new CniFailure(CniErrorCode.tryAgainLater, `the agent is not ready: ${why}`);
  switch (request.command) {
    case 'ADD': {
      const reply = await endpoints.add(request);
      const { containerId, ifname, args } = request;
      const addresses = reply.ips.map(ip => ip.address);
      log.info('endpoint added', { containerId, ifname, pod: args.K8S_POD_NAME, addresses });
      return reply;
    }
    case 'DEL':
      await endpoints.remove(request);
      return nothing;
    case 'CHECK':
      await endpoints.check(request);
      return nothing;
    case 'GC': {
      const removed = await endpoints.collect(request);
      if (removed > 0) log.info('endpoints collected', { removed });
      return nothing;
    }
  }
}
