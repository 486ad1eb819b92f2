/** Readiness, liveness and startup probes, made from the node's network namespace against the pod's address. */
import { request } from 'node:http';
import { request as secureRequest } from 'node:https';
import { connect } from 'node:net';
import { attempt } from '../host/run.ts';
import { enterPod } from '../target.ts';
import type { ContainerSpec, Probe } from './pod.ts';
import type { PodSandbox } from './pod-sandbox.ts';

/** Undefined = passed, else why not. */
export async function runProbe(
  probe: Probe,
  container: ContainerSpec,
  sandbox: PodSandbox,
): Promise<string | undefined> {
  const timeout = (probe.timeoutSeconds ?? 1) * 1000;
  const address = sandbox.addresses[0] ?? '127.0.0.1';
  if (probe.exec !== undefined) {
    const [command = '', ...args] = enterPod(sandbox, probe.exec.command);
    const result = await attempt(command, args, { timeout });
    return result.code === 0
      ? undefined
      : `exit code ${result.code}: ${(result.stderr || result.stdout).slice(0, 200)}`;
  }
  if (probe.httpGet !== undefined) return httpProbe(probe.httpGet, container, address, timeout);
  const port = probe.tcpSocket?.port ?? probe.grpc?.port;
  if (port === undefined) return undefined;
  return tcpProbe(probe.tcpSocket?.host ?? address, portNumber(port, container), timeout);
}

/** A number, or the name of one of the container's ports. */
export function portNumber(port: number | string, container: ContainerSpec): number {
  if (typeof port === 'number') return port;
  const named = container.ports?.find(candidate => candidate.name === port)?.containerPort;
  return named ?? Number(port);
}

function tcpProbe(host: string, port: number, timeout: number): Promise<string | undefined> {
  return new Promise(resolve => {
    const socket = connect({ host, port });
    const done = (result: string | undefined): void => {
      socket.destroy();
      resolve(result);
    };
    socket.setTimeout(timeout, () => done(`${host} port ${port}: no connection within ${timeout} ms`));
    socket.on('connect', () => done(undefined));
    socket.on('error', error => done(error.message));
  });
}

function httpProbe(
  get: NonNullable<Probe['httpGet']>,
  container: ContainerSpec,
  address: string,
  timeout: number,
): Promise<string | undefined> {
  const send = get.scheme === 'HTTPS' ? secureRequest : request;
  const options = {
    host: get.host ?? address,
    port: portNumber(get.port, container),
    path: get.path ?? '/',
    headers: Object.fromEntries((get.httpHeaders ?? []).map(header => [header.name, header.value])),
    rejectUnauthorized: false,
    agent: false as const,
  };
  return new Promise(resolve => {
    const call = send(options, response => {
      response.resume();
      const status = response.statusCode ?? 0;
      resolve(status >= 200 && status < 400 ? undefined : `HTTP status ${status}`);
    });
    call.setTimeout(timeout, () => call.destroy(new Error(`no answer within ${timeout} ms`)));
    call.on('error', error => resolve(error.message));
    call.end();
  });
}
