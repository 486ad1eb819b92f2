/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
/*
 * SCTP's checksum (RFC 9260, 6.8 and appendix A) is a CRC32c over the whole packet, no address with it. It is linear over GF(2): when the
 * ports of a packet of n bytes change by d (exclusive or), it changes by d · x^8n modulo the polynomial, whatever the packet holds.
 * Polynomials are reflected as the checksum is: bit 31 is x^0. In the packet it lies with its least significant byte first.
 */
#include "packet.h"

#define CRC32C_POLYNOMIAL 0x82f63b78
#define CRC32C_ONE 0x80000000

static __always_inline __u32 crc32c_times(__u32 a, __u32 b)
{
	__u32 product = 0;

#pragma clang loop unroll(disable)
	for (int i = 0; i < 32; i++) {
		product ^= b & -(a >> 31);
		a <<= 1;
		b = (b >> 1) ^ (CRC32C_POLYNOMIAL & -(b & 1));
	}
	return product;
}

/* One bit of the length; chosen by a mask, since a branch would double what the verifier has to look at. */
#define CRC32C_SHIFT(bit, power)                                                                                      \
	do {                                                                                                          \
		if (!(length >> bit))                                                                                 \
			return change;                                                                                \
		change = crc32c_times(change, CRC32C_ONE ^ ((CRC32C_ONE ^ power) & -((length >> bit) & 1)));          \
	} while (0)

/*
 * change · x^8·length, by x^8·2^k for each bit k of the length. A global function: the verifier looks at it once, not at each call.
 */
__attribute__((noinline)) __u32 crc32c_shift(__u32 change, __u32 length)
{
	CRC32C_SHIFT(0, 0x00800000);
	CRC32C_SHIFT(1, 0x00008000);
	CRC32C_SHIFT(2, 0x82f63b78);
	CRC32C_SHIFT(3, 0x6ea2d55c);
	CRC32C_SHIFT(4, 0x18b8ea18);
	CRC32C_SHIFT(5, 0x510ac59a);
	CRC32C_SHIFT(6, 0xb82be955);
	CRC32C_SHIFT(7, 0xb8fdb1e7);
	CRC32C_SHIFT(8, 0x88e56f72);
	CRC32C_SHIFT(9, 0x74c360a4);
	CRC32C_SHIFT(10, 0xe4172b16);
	CRC32C_SHIFT(11, 0x0d65762a);
	CRC32C_SHIFT(12, 0x35d73a62);
	CRC32C_SHIFT(13, 0x28461564);
	CRC32C_SHIFT(14, 0xbf455269);
	CRC32C_SHIFT(15, 0xe2ea32dc);
	return change;
}

/* Bytes from the L4 header to the end of the packet, as its IP header has it: a frame may be padded. Negative: -DROP_*. */
static __always_inline int l4_length(struct __sk_buff *skb, const struct packet *p)
{
	int headers = p->l4_offset - ETH_HLEN_;
	__be16 length;

	if (p->family == 4) {
		if (bpf_skb_load_bytes(skb, ETH_HLEN_ + offsetof(struct iphdr, tot_len), &length, 2) < 0)
			return -DROP_INVALID;
		return bpf_ntohs(length) - headers;
	}
	if (bpf_skb_load_bytes(skb, ETH_HLEN_ + offsetof(struct ipv6hdr, payload_len), &length, 2) < 0)
		return -DROP_INVALID;
	return bpf_ntohs(length) + (int)sizeof(struct ipv6hdr) - headers;
}

#define SCTP_CHECKSUM_OFFSET 8

/*
 * Gives one port another number; `offset` is 0 for the source, 2 for the destination. A checksum of 0 is one that a device still has to fill
 * in, or none (RFC 9653): it stays. Of a packet in fragments nobody knows the length before the last one is there.
 */
static __always_inline int sctp_rewrite_port(struct __sk_buff *skb, const struct packet *p, __u32 offset, __be16 from, __be16 to)
{
	int at = p->l4_offset + SCTP_CHECKSUM_OFFSET;
	__u32 checksum;
	int length;

	if (from == to)
		return 0;
	if (p->flags & PACKET_FRAGMENT)
		return -DROP_FRAG_NOSUPPORT;
	if (bpf_skb_load_bytes(skb, at, &checksum, 4) < 0)
		return -DROP_INVALID;
	if (checksum) {
		length = l4_length(skb, p);
		if (length < 0)
			return -DROP_INVALID;
		checksum ^= crc32c_shift((__u32)(from ^ to) << (offset * 8), (__u32)length);
		if (bpf_skb_store_bytes(skb, at, &checksum, 4, BPF_F_RECOMPUTE_CSUM) < 0)
			return -DROP_WRITE_ERROR;
	}
	return bpf_skb_store_bytes(skb, p->l4_offset + offset, &to, 2, BPF_F_RECOMPUTE_CSUM) < 0 ? -DROP_WRITE_ERROR : 0;
}

static __always_inline int sctp_rewrite_ports(struct __sk_buff *skb, const struct packet *p, const struct tuple *to)
{
	int ret = sctp_rewrite_port(skb, p, 0, p->sport, to->sport);

	return ret < 0 ? ret : sctp_rewrite_port(skb, p, 2, p->dport, to->dport);
}
