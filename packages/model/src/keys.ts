import { type Address, hostPort } from './address.ts';
import type { Protocol } from './rows.ts';

/** 'namespace/name': key of whatever has a namespace. */
export function objectKey(object: { readonly namespace: string; readonly name: string }): string {
  return `${object.namespace}/${object.name}`;
}

/** '10.96.0.1:443/TCP', '[fd00::1]:443/TCP': key of a frontend, and of a backend among those of a protocol. */
export function portKey(at: { readonly address: Address; readonly port: number; readonly protocol: Protocol }): string {
  return `${hostPort(at.address, at.port)}/${at.protocol}`;
}

/** IANA protocol numbers. */
export const protocolNumbers: Readonly<Record<Protocol, number>> = { TCP: 6, UDP: 17, SCTP: 132 };

/** The protocol of an IANA number, undefined for those that services do not carry. */
export function protocolOf(number: number): Protocol | undefined {
  const names = Object.keys(protocolNumbers) as Protocol[];
  return names.find(name => protocolNumbers[name] === number);
}
