/** Packets as those send them who want to slip past a rule for a port. */
const [ipv6Fragment, destinationOptions] = [44, 60];

export interface Fragment {
  readonly id: number;
  /** Of 8 bytes. */
  readonly offset: number;
  readonly more: boolean;
}

/** A packet's part as a fragment of it; the IP header's checksum is not looked at. */
export function fragmented(packet: Buffer, payload: Buffer, { id, offset, more }: Fragment): Buffer {
  if ((packet[0] ?? 0) >>> 4 === 4) {
    const header = Buffer.from(packet.subarray(0, 20));
    header.writeUInt16BE(20 + payload.length, 2);
    header.writeUInt16BE(id, 4);
    header.writeUInt16BE((more ? 0x2000 : 0) | offset, 6);
    return Buffer.concat([header, payload]);
  }
  const header = Buffer.from(packet.subarray(0, 40));
  const extension = Buffer.alloc(8);
  extension[0] = header[6] ?? 0;
  extension.writeUInt16BE((offset << 3) | (more ? 1 : 0), 2);
  extension.writeUInt32BE(id, 4);
  header[6] = ipv6Fragment;
  header.writeUInt16BE(8 + payload.length, 4);
  return Buffer.concat([header, extension, payload]);
}

/** With so many words of options (IPv4), or so many headers of destination options (IPv6), that read as ports 1000 and 80. */
export function withOptions(packet: Buffer, count: number): Buffer {
  const decoy = Buffer.from([0x03, 0xe8, 0x00, 0x50]);
  if ((packet[0] ?? 0) >>> 4 === 4) {
    const header = Buffer.from(packet.subarray(0, 20));
    header[0] = 0x45 + count;
    header.writeUInt16BE(packet.length + 4 * count, 2);
    return Buffer.concat([header, ...Array.from({ length: count }, () => decoy), packet.subarray(20)]);
  }
  const header = Buffer.from(packet.subarray(0, 40));
  const next = header[6] ?? 0;
  header[6] = destinationOptions;
  header.writeUInt16BE(packet.length - 40 + 8 * count, 4);
  const extensions = Array.from({ length: count }, (_, i) => {
    const last = i === count - 1;
    return Buffer.from([last ? next : destinationOptions, 0, 0, 80, 1, 2, 0, 0]);
  });
  return Buffer.concat([header, ...extensions, packet.subarray(40)]);
}
