/** Services that a proxy in the network of every node takes in: the node's own address is their only backend. */
import {
  type EndpointSliceRow,
  type FrontendBackend,
  isIPv4,
  type ServicePortRow,
  type ServiceRow,
} from '@ciliate/model';
import type { FrontendContext } from './compile-frontends.ts';

/** Undefined: the port goes to the service's own endpoints. What is not TCP does, as proxies of HTTP and TLS know nothing of it. */
export function proxyBackends(
  { proxyPort }: ServiceRow,
  { protocol }: ServicePortRow,
  family: EndpointSliceRow['family'],
  { nodeName, nodeAddresses }: FrontendContext,
): readonly FrontendBackend[] | undefined {
  if (proxyPort === undefined || protocol !== 'TCP') return undefined;
  const address = nodeAddresses.find(one => isIPv4(one) === (family === 'IPv4'));
  // Nobody rather than those whom the proxy stands before.
  if (address === undefined) return [];
  const nowhere = { zone: '', zoneHints: undefined, nodeHints: undefined };
  return [{ address, port: proxyPort, protocol, state: 'active', nodeName, ...nowhere }];
}
