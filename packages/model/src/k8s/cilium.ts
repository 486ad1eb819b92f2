import type { IdentityRow, RemoteEndpointRow } from '../rows.ts';
import { type Parsed, parsing } from './parsed.ts';
import { Reader } from './reader.ts';
import { protocols } from './service.ts';

/** A cilium.io/v2 CiliumEndpoint. The caller leaves out those of its own node (equal nodeAddress). */
export function ciliumEndpointFromK8s(object: unknown): Parsed<RemoteEndpointRow> {
  return parsing(problems => {
    const root = new Reader(object);
    const networking = root.at('status', 'networking');
    const pairs = networking.at('addressing').list();
    const ips = pairs.flatMap(pair => [pair.at('ipv4'), pair.at('ipv6')]).filter(ip => ip.text('') !== '');
    const nodeAddress = networking.at('node').address(problems);
    if (nodeAddress === undefined) {
      throw networking.at('node').bad('is not an address', 'the agent of that node writes it; see its log');
    }
    return {
      namespace: root.at('metadata', 'namespace').text(),
      name: root.at('metadata', 'name').text(),
      addresses: ips.map(ip => ip.address(problems)).filter(address => address !== undefined),
      identity: root.at('status', 'identity', 'id').integer(1, 0xff_ffff),
      nodeAddress,
      namedPorts: namedPorts(root.at('status', 'named-ports')),
    };
  });
}

function namedPorts(list: Reader): RemoteEndpointRow['namedPorts'] {
  const ports = list.list().map(port => {
    const protocol = port.at('protocol').choice(protocols, 'TCP');
    return [port.at('name').text(), { port: port.at('port').integer(1, 65_535), protocol }] as const;
  });
  return Object.fromEntries(ports);
}

/** A cilium.io/v2 CiliumIdentity: its name is the number. */
export function ciliumIdentityFromK8s(object: unknown): Parsed<IdentityRow> {
  return parsing(() => {
    const root = new Reader(object);
    const name = root.at('metadata', 'name');
    if (!/^[1-9]\d{0,8}$/.test(name.text())) throw name.bad('is not a number', 'identities are named by their number');
    return { id: Number(name.text()), labels: root.at('security-labels').labels(), reserved: false };
  });
}
