/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
/* Changing addresses and ports, with every checksum that covers them. */
#include "sctp.h"
#include "seen.h"

enum side { SOURCE, DESTINATION };

/* Offset of the L4 checksum that addresses are part of from the L4 header, or -1. SCTP's covers none. */
static __always_inline int l4_csum_offset(const struct packet *p)
{
	if (p->flags & PACKET_NO_L4)
		return -1;
	switch (p->proto) {
	case IPPROTO_TCP:
		return offsetof(struct tcphdr, check);
	case IPPROTO_UDP:
		return p->flags & PACKET_CSUM_ZERO ? -1 : (int)offsetof(struct udphdr, check);
	case IPPROTO_ICMPV6:
		return offsetof(struct icmp6hdr, icmp6_cksum);
	default:
		return -1;
	}
}

static __always_inline __u64 csum_flags(const struct packet *p)
{
	return p->proto == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
}

static __always_inline int rewrite_v4(struct __sk_buff *skb, struct packet *p, enum side side, __be32 to)
{
	int offset = ETH_HLEN_ + (side == SOURCE ? offsetof(struct iphdr, saddr) : offsetof(struct iphdr, daddr));
	__be32 from = side == SOURCE ? p->saddr.words[3] : p->daddr.words[3];
	int csum = l4_csum_offset(p);

	if (csum >= 0 &&
	    bpf_l4_csum_replace(skb, p->l4_offset + csum, from, to, BPF_F_PSEUDO_HDR | csum_flags(p) | 4) < 0)
		return -DROP_CSUM_L4;
	if (bpf_l3_csum_replace(skb, ETH_HLEN_ + offsetof(struct iphdr, check), from, to, 4) < 0)
		return -DROP_CSUM_L3;
	return bpf_skb_store_bytes(skb, offset, &to, 4, 0) < 0 ? -DROP_WRITE_ERROR : 0;
}

static __always_inline int rewrite_v6(struct __sk_buff *skb, struct packet *p, enum side side, const struct addr *to)
{
	int offset = ETH_HLEN_ + (side == SOURCE ? offsetof(struct ipv6hdr, saddr) : offsetof(struct ipv6hdr, daddr));
	struct addr from;
	struct addr target;
	int csum = l4_csum_offset(p);

	addr_copy(&from, side == SOURCE ? &p->saddr : &p->daddr);
	addr_copy(&target, to);
	if (csum >= 0) {
		__s64 diff = bpf_csum_diff(from.words, 16, target.words, 16, 0);

		if (bpf_l4_csum_replace(skb, p->l4_offset + csum, 0, diff, BPF_F_PSEUDO_HDR | csum_flags(p)) < 0)
			return -DROP_CSUM_L4;
	}
	return bpf_skb_store_bytes(skb, offset, &target, 16, 0) < 0 ? -DROP_WRITE_ERROR : 0;
}

/* Of TCP and UDP the port, of ICMP echo the identifier. */
static __always_inline int rewrite_port(struct __sk_buff *skb, struct packet *p, enum side side, __be16 to)
{
	__be16 from = side == SOURCE ? p->sport : p->dport;
	bool icmp = packet_is_icmp(p);
	int offset = p->l4_offset + (icmp ? 4 : side == SOURCE ? 0 : 2);
	int csum = icmp ? 2 : l4_csum_offset(p);

	if (from == to || (p->flags & PACKET_NO_L4))
		return 0;
	if (p->proto == IPPROTO_SCTP)
		return sctp_rewrite_port(skb, p, side == SOURCE ? 0 : 2, from, to);
	if (csum >= 0 && bpf_l4_csum_replace(skb, p->l4_offset + csum, from, to, csum_flags(p) | 2) < 0)
		return -DROP_CSUM_L4;
	return bpf_skb_store_bytes(skb, offset, &to, 2, 0) < 0 ? -DROP_WRITE_ERROR : 0;
}

/* Gives one side of the packet another address and port; `p` follows. 0 or -DROP_*. */
subprogram rewrite(struct __sk_buff *skb, struct packet *p, __u32 side, const struct addr *to, __u16 port)
{
	int ret;

	if (!p || !to)
		return -DROP_INVALID;
	ret = p->family == 4 ? rewrite_v4(skb, p, side, to->words[3]) : rewrite_v6(skb, p, side, to);
	if (ret < 0)
		return ret;
	ret = (p->flags & PACKET_HAS_PORTS) ? rewrite_port(skb, p, side, port) : 0;
	if (side == SOURCE) {
		addr_copy(&p->saddr, to);
		p->sport = port;
	} else {
		addr_copy(&p->daddr, to);
		p->dport = port;
	}
	return ret;
}

/* TTL or hop limit minus one; TC_ACT_OK when it would be zero: then the stack answers with time exceeded. */
static __always_inline int decrease_ttl(struct __sk_buff *skb, const struct packet *p)
{
	if (p->ttl <= 1)
		return -DROP_TTL_EXCEEDED;
	if (p->family == 4) {
		/* TTL is the high byte of the 16-bit word that it shares with the protocol. */
		__be16 from = bpf_htons((__u16)(p->ttl << 8));
		__be16 to = bpf_htons((__u16)((p->ttl - 1) << 8));
		__u8 ttl = p->ttl - 1;

		if (bpf_l3_csum_replace(skb, ETH_HLEN_ + offsetof(struct iphdr, check), from, to, 2) < 0)
			return -DROP_CSUM_L3;
		return bpf_skb_store_bytes(skb, ETH_HLEN_ + offsetof(struct iphdr, ttl), &ttl, 1, 0) < 0 ? -DROP_WRITE_ERROR : 0;
	} else {
		__u8 ttl = p->ttl - 1;

		return bpf_skb_store_bytes(skb, ETH_HLEN_ + offsetof(struct ipv6hdr, hop_limit), &ttl, 1, 0) < 0 ? -DROP_WRITE_ERROR : 0;
	}
}

static __always_inline int set_macs(struct __sk_buff *skb, const __u8 *destination, const __u8 *source)
{
	if (bpf_skb_store_bytes(skb, 0, destination, 6, 0) < 0 || bpf_skb_store_bytes(skb, 6, source, 6, 0) < 0)
		return -DROP_WRITE_ERROR;
	return 0;
}
