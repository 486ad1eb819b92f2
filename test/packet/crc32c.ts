/** CRC32c (RFC 3720, appendix B.4) bit by bit: slow and plain, to hold the datapath's arithmetic against. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffff_ffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = (crc & 1) === 1 ? (crc >>> 1) ^ 0x82f6_3b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}

/** Fills in the checksum of an SCTP packet (RFC 9260, 6.8): over all of it with the field zero, least significant byte first. */
export function sealSctp(packet: Buffer): Buffer {
  packet.writeUInt32LE(0, 8);
  packet.writeUInt32LE(crc32c(packet), 8);
  return packet;
}
