/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
/*
 * Changing headers at XDP, with every checksum that covers them. A veth hands over packets of local senders before their checksum is
 * complete (CHECKSUM_PARTIAL), and XDP is not told: they are known by a checksum that equals the sum of the pseudo-header, and get a whole one.
 * One in 65535 packets of others looks the same; it gets the checksum that it has.
 */
#include "xdp_parse.h"

static __always_inline __u16 fold16(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)((sum & 0xffff) + (sum >> 16));
}

/* `diff`: one's complement sum of what is new and of the complement of what was (RFC 1624). */
static __always_inline __sum16 csum_add(__sum16 check, __u64 diff)
{
	return (__sum16)~fold16((__u64)(__u16)~check + diff);
}

static __always_inline __u64 sum_addresses(const struct addr *a, const struct addr *b)
{
	return (__u64)a->words[0] + a->words[1] + a->words[2] + a->words[3] + b->words[0] + b->words[1] + b->words[2] + b->words[3];
}

/* What an L4 checksum covers besides the segment (RFC 9293 3.1, RFC 8200 8.1). The prefix of mapped IPv4 addresses is zero in this sum. */
static __always_inline __u64 sum_pseudo(const struct packet *p, const struct addr *saddr, const struct addr *daddr)
{
	return sum_addresses(saddr, daddr) + bpf_htons(p->proto) + bpf_htons((__u16)(p->length - p->l4_offset));
}

/* Packets that are in several buffers have nothing but headers in the first that may be looked at. */
static __always_inline bool is_linear(const struct xdp_md *ctx, const struct packet *p, __u32 base)
{
	return xdp_data(ctx) + base + p->length <= xdp_end(ctx);
}

static __always_inline __sum16 *l4_check(void *l4, void *end, const struct packet *p)
{
	__u32 offset = p->proto == IPPROTO_TCP ? offsetof(struct tcphdr, check) : offsetof(struct udphdr, check);
	__sum16 *check = l4 + offset;

	return (void *)(check + 1) > end ? NULL : check;
}

/* Where the L4 header is. All headers that we know, one packet in another, are shorter than the mask; the verifier wants to be told. */
static __always_inline __u32 l4_at(const struct packet *p, __u32 base)
{
	return (base + p->l4_offset) & 0x7f;
}

#define SUM_CHUNK 512
#define SUM_CHUNKS 8 /* a page, as the first buffer nearly everywhere */

/* Before anything is changed: what the checksum is, and whether the change can be made at all. `base`: where the Ethernet header is. */
static __always_inline bool xdp_may_rewrite(struct xdp_md *ctx, struct packet *p, __u32 base)
{
	void *end = xdp_end(ctx);
	__sum16 *check = l4_check(xdp_data(ctx) + l4_at(p, base), end, p);

	if (!check)
		return false;
	if (p->flags & PACKET_CSUM_ZERO)
		return true;
	if (fold16(sum_pseudo(p, &p->saddr, &p->daddr) + (__u16)~*check) != 0xffff)
		return true;
	p->flags |= PACKET_CSUM_PARTIAL;
	return is_linear(ctx, p, base) && p->length <= SUM_CHUNKS * SUM_CHUNK;
}

#define SUM_PART(size)                                                              \
	do {                                                                        \
		if (length & (size)) {                                              \
			if (at + (size) > end)                                      \
				return 0;                                           \
			sum = bpf_csum_diff(NULL, 0, at, size, (__u32)sum);         \
			at += (size);                                               \
		}                                                                   \
	} while (0)

/* One's complement sum of `length` bytes of the first buffer. A global function: the verifier looks at it once, not at each call. */
__attribute__((noinline)) __u32 sum_bytes(struct xdp_md *ctx, __u32 offset, __u32 length)
{
	void *at = xdp_data(ctx) + (offset & 0xff);
	void *end = xdp_end(ctx);
	__s64 sum = 0;

	for (int i = 0; i < SUM_CHUNKS && length >= SUM_CHUNK; i++) {
		if (at + SUM_CHUNK > end)
			return 0;
		sum = bpf_csum_diff(NULL, 0, at, SUM_CHUNK, (__u32)sum);
		at += SUM_CHUNK;
		length -= SUM_CHUNK;
	}
	SUM_PART(256);
	SUM_PART(128);
	SUM_PART(64);
	SUM_PART(32);
	SUM_PART(16);
	SUM_PART(8);
	SUM_PART(4);
	sum = (__u32)sum;
	if (length & 2) {
		if (at + 2 > end)
			return 0;
		sum += *(__u16 *)at;
		at += 2;
	}
	if (length & 1) {
		if (at + 1 > end)
			return 0;
		sum += bpf_htons((__u16)(*(__u8 *)at << 8));
	}
	return (__u32)((sum & 0xffffffff) + ((__u64)sum >> 32));
}

/* The L4 checksum of a packet whose addresses and ports are `to` by now. */
static __always_inline int xdp_complete_csum(struct xdp_md *ctx, const struct packet *p, const struct tuple *to, __u32 l4)
{
	__sum16 *check = l4_check(xdp_data(ctx) + l4, xdp_end(ctx), p);
	__u64 sum;

	if (!check)
		return -DROP_CSUM_L4;
	*check = 0;
	sum = sum_bytes(ctx, l4, p->length - p->l4_offset);
	check = l4_check(xdp_data(ctx) + l4, xdp_end(ctx), p);
	if (!check)
		return -DROP_CSUM_L4;
	*check = (__sum16)~fold16(sum + sum_pseudo(p, &to->saddr, &to->daddr));
	if (!*check && p->proto == IPPROTO_UDP)
		*check = 0xffff;
	return 0;
}

static __always_inline int xdp_rewrite_l4(struct xdp_md *ctx, const struct packet *p, const struct tuple *to, __u32 l4, __u64 diff)
{
	void *end = xdp_end(ctx);
	__be16 *ports = xdp_data(ctx) + l4;
	__sum16 *check = l4_check(ports, end, p);

	if (!check || (void *)(ports + 2) > end)
		return -DROP_WRITE_ERROR;
	ports[0] = to->sport;
	ports[1] = to->dport;
	if (p->flags & PACKET_CSUM_ZERO)
		return 0;
	if (p->flags & PACKET_CSUM_PARTIAL)
		return xdp_complete_csum(ctx, p, to, l4);
	diff += (__u64)(__u16)~p->sport + (__u16)~p->dport + to->sport + to->dport;
	*check = csum_add(*check, diff);
	if (!*check && p->proto == IPPROTO_UDP)
		*check = 0xffff;
	return 0;
}

/* TTL is the high byte of the 16-bit word that it shares with the protocol. */
static __always_inline __u64 ttl_diff(const struct packet *p)
{
	return (__u64)(__u16)~bpf_htons((__u16)(p->ttl << 8 | p->proto)) + bpf_htons((__u16)((p->ttl - 1) << 8 | p->proto));
}

/* Addresses, ports, and one hop less. 0 or -DROP_*. */
subprogram xdp_rewrite(struct xdp_md *ctx, const struct packet *p, const struct tuple *to, __u32 base)
{
	void *end = xdp_end(ctx), *ip;
	__u64 diff;

	if (!p || !to)
		return -DROP_INVALID;
	base &= 0x7f;
	ip = xdp_data(ctx) + base + ETH_HLEN_;
	diff = sum_addresses(&to->saddr, &to->daddr);
	for (int i = 0; i < 4; i++)
		diff += (__u64)(__u32)~p->saddr.words[i] + (__u32)~p->daddr.words[i];
	if (p->family == 4) {
		struct iphdr *v4 = ip;

		if ((void *)(v4 + 1) > end)
			return -DROP_WRITE_ERROR;
		v4->saddr = to->saddr.words[3];
		v4->daddr = to->daddr.words[3];
		v4->ttl = p->ttl - 1;
		v4->check = csum_add(v4->check, diff + ttl_diff(p));
		return xdp_rewrite_l4(ctx, p, to, base + ETH_HLEN_ + sizeof(*v4), diff);
	} else {
		struct ipv6hdr *v6 = ip;

		if ((void *)(v6 + 1) > end)
			return -DROP_WRITE_ERROR;
		__builtin_memcpy(&v6->saddr, &to->saddr, 16);
		__builtin_memcpy(&v6->daddr, &to->daddr, 16);
		v6->hop_limit = p->ttl - 1;
		return xdp_rewrite_l4(ctx, p, to, base + ETH_HLEN_ + sizeof(*v6), diff);
	}
}
