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

/* A one's complement sum of 32-bit words, as the checksum helpers take it. */
static __always_inline __u32 fold_words(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	return (__u32)((sum & 0xffffffff) + (sum >> 32));
}

static __always_inline int rewrite_addresses_v4(struct __sk_buff *skb, const struct packet *p, const struct tuple *to)
{
	__be32 addresses[2] = { to->saddr.words[3], to->daddr.words[3] };
	__u32 diff = fold_words((__u64)(__u32)~p->saddr.words[3] + (__u32)~p->daddr.words[3] + addresses[0] + addresses[1]);
	int csum = l4_csum_offset(p);

	if (csum >= 0 && bpf_l4_csum_replace(skb, p->l4_offset + csum, 0, diff, BPF_F_PSEUDO_HDR | csum_flags(p)) < 0)
		return -DROP_CSUM_L4;
	if (bpf_l3_csum_replace(skb, ETH_HLEN_ + offsetof(struct iphdr, check), 0, diff, 0) < 0)
		return -DROP_CSUM_L3;
	return bpf_skb_store_bytes(skb, ETH_HLEN_ + offsetof(struct iphdr, saddr), addresses, 8, 0) < 0 ? -DROP_WRITE_ERROR : 0;
}

static __always_inline int rewrite_addresses_v6(struct __sk_buff *skb, struct packet *p, const struct tuple *to)
{
	int csum = l4_csum_offset(p);

	if (csum >= 0) {
		__s64 diff = bpf_csum_diff(p->saddr.words, 32, (__be32 *)to->saddr.words, 32, 0);

		if (bpf_l4_csum_replace(skb, p->l4_offset + csum, 0, diff, BPF_F_PSEUDO_HDR | csum_flags(p)) < 0)
			return -DROP_CSUM_L4;
	}
	return bpf_skb_store_bytes(skb, ETH_HLEN_ + offsetof(struct ipv6hdr, saddr), to, 32, 0) < 0 ? -DROP_WRITE_ERROR : 0;
}

static __always_inline int rewrite_ports(struct __sk_buff *skb, const struct packet *p, const struct tuple *to)
{
	__be16 ports[2] = { to->sport, to->dport };
	__u32 diff = fold_words((__u64)(__u16)~p->sport + (__u16)~p->dport + ports[0] + ports[1]);
	int csum = l4_csum_offset(p);

	if (p->sport == to->sport && p->dport == to->dport)
		return 0;
	if (p->proto == IPPROTO_SCTP)
		return sctp_rewrite_ports(skb, p, to);
	if (csum >= 0 && bpf_l4_csum_replace(skb, p->l4_offset + csum, 0, diff, csum_flags(p)) < 0)
		return -DROP_CSUM_L4;
	return bpf_skb_store_bytes(skb, p->l4_offset, ports, 4, 0) < 0 ? -DROP_WRITE_ERROR : 0;
}

/* Both sides at once; `p` follows. 0 or -DROP_*. */
subprogram rewrite_tuple(struct __sk_buff *skb, struct packet *p, const struct tuple *to)
{
	int ret;

	if (!p || !to)
		return -DROP_INVALID;
	ret = p->family == 4 ? rewrite_addresses_v4(skb, p, to) : rewrite_addresses_v6(skb, p, to);
	if (ret >= 0 && (p->flags & PACKET_HAS_PORTS) && !(p->flags & PACKET_NO_L4))
		ret = packet_is_icmp(p) ? rewrite_port(skb, p, to->sport == p->sport ? DESTINATION : SOURCE,
						       to->sport == p->sport ? to->dport : to->sport)
					: rewrite_ports(skb, p, to);
	addr_copy(&p->saddr, &to->saddr);
	addr_copy(&p->daddr, &to->daddr);
	p->sport = to->sport;
	p->dport = to->dport;
	return ret;
}

/* The first `size` bytes, a constant, to be changed in place; NULL: the packet is shorter. */
static __always_inline void *writable_start(struct __sk_buff *skb, __u32 size)
{
	if ((void *)(long)skb->data + size > (void *)(long)skb->data_end && bpf_skb_pull_data(skb, size) < 0)
		return NULL;
	return (void *)(long)skb->data + size > (void *)(long)skb->data_end ? NULL : (void *)(long)skb->data;
}

/* One less in the high byte of its 16-bit word is one more in the checksum's (RFC 1624). */
static __always_inline int decrease_ttl_v4(struct __sk_buff *skb)
{
	struct iphdr *ip = writable_start(skb, ETH_HLEN_ + sizeof(*ip));
	__u32 check;

	if (!ip)
		return -DROP_WRITE_ERROR;
	ip = (void *)ip + ETH_HLEN_;
	check = ip->check + bpf_htons(0x0100);
	ip->check = (__sum16)(check + (check >= 0xffff));
	ip->ttl--;
	return 0;
}

static __always_inline int decrease_ttl_v6(struct __sk_buff *skb)
{
	struct ipv6hdr *ip = writable_start(skb, ETH_HLEN_ + sizeof(*ip));

	if (!ip)
		return -DROP_WRITE_ERROR;
	ip = (void *)ip + ETH_HLEN_;
	ip->hop_limit--;
	return 0;
}

/* TTL or hop limit minus one; -DROP_TTL_EXCEEDED when it would be zero: then the stack answers with time exceeded. */
static __always_inline int decrease_ttl(struct __sk_buff *skb, const struct packet *p)
{
	if (p->ttl <= 1)
		return -DROP_TTL_EXCEEDED;
	return p->family == 4 ? decrease_ttl_v4(skb) : decrease_ttl_v6(skb);
}

static __always_inline int set_macs(struct __sk_buff *skb, const __u8 *destination, const __u8 *source)
{
	struct ethhdr *eth = writable_start(skb, sizeof(*eth));

	if (!eth)
		return -DROP_WRITE_ERROR;
	__builtin_memcpy(eth->h_dest, destination, 6);
	__builtin_memcpy(eth->h_source, source, 6);
	return 0;
}
