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

/* A one's complement sum of 32-bit words, as the checksum helpers take it. */
static __always_inline __u32 fold_words(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	return (__u32)((sum & 0xffffffff) + (sum >> 32));
}

static __always_inline __u32 address_diff(const struct packet *p, const struct tuple *to)
{
	if (p->family == 6)
		return (__u32)bpf_csum_diff((__be32 *)p->saddr.words, 32, (__be32 *)to->saddr.words, 32, 0);
	return fold_words((__u64)(__u32)~p->saddr.words[3] + (__u32)~p->daddr.words[3] + to->saddr.words[3] + to->daddr.words[3]);
}

static __always_inline __u32 port_diff(const struct packet *p, const struct tuple *to)
{
	return fold_words((__u64)(__u16)~p->sport + (__u16)~p->dport + to->sport + to->dport);
}

/*
 * A device may have summed up the whole packet (CHECKSUM_COMPLETE), and its sum has to follow where no checksum inside of the packet makes up
 * for a change. IPv4's header does; IPv6 has none, and the kernel takes it for IPv4 (before 6.16 without a way to say so).
 */
static __always_inline void update_device_sum(struct __sk_buff *skb, __u32 diff)
{
	bpf_csum_update(skb, diff);
}

/*
 * The checksum behind the IP header, which covers the addresses by a pseudo header. Only the kernel knows whether it stands for the whole
 * packet already or for the pseudo header alone (CHECKSUM_PARTIAL), so addresses and ports are told to it apart.
 */
static __always_inline int update_l4_checksum(struct __sk_buff *skb, const struct packet *p, const struct tuple *to, __u32 addresses)
{
	int offset = l4_csum_offset(p);

	if (p->family == 6)
		update_device_sum(skb, addresses);
	if (offset < 0)
		return 0;
	if (bpf_l4_csum_replace(skb, p->l4_offset + offset, 0, addresses, BPF_F_PSEUDO_HDR | csum_flags(p)) < 0)
		return -DROP_CSUM_L4;
	if (packet_is_icmp(p) || (p->sport == to->sport && p->dport == to->dport))
		return 0;
	return bpf_l4_csum_replace(skb, p->l4_offset + offset, 0, port_diff(p, to), csum_flags(p)) < 0 ? -DROP_CSUM_L4 : 0;
}

/* The first `size` bytes, a constant, to be changed in place; NULL: the packet is shorter. */
static __always_inline void *writable_start(struct __sk_buff *skb, __u32 size)
{
	if ((void *)(long)skb->data + size > (void *)(long)skb->data_end && bpf_skb_pull_data(skb, size) < 0)
		return NULL;
	return (void *)(long)skb->data + size > (void *)(long)skb->data_end ? NULL : (void *)(long)skb->data;
}

static __always_inline int put_addresses_v4(struct __sk_buff *skb, const struct tuple *to, __u32 diff)
{
	struct iphdr *ip = writable_start(skb, L4_OFFSET_V4);
	__u32 sum;

	if (!ip)
		return -DROP_WRITE_ERROR;
	ip = (void *)ip + ETH_HLEN_;
	ip->saddr = to->saddr.words[3];
	ip->daddr = to->daddr.words[3];
	sum = (__u16)~ip->check + (diff & 0xffff) + (diff >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	ip->check = (__sum16)~((sum & 0xffff) + (sum >> 16));
	return 0;
}

static __always_inline int put_addresses_v6(struct __sk_buff *skb, const struct tuple *to)
{
	struct ipv6hdr *ip = writable_start(skb, L4_OFFSET_V6);

	if (!ip)
		return -DROP_WRITE_ERROR;
	ip = (void *)ip + ETH_HLEN_;
	__builtin_memcpy(&ip->saddr, &to->saddr, 16);
	__builtin_memcpy(&ip->daddr, &to->daddr, 16);
	return 0;
}

/* Behind an IP header without options or extensions in place. */
static __always_inline int put_ports(struct __sk_buff *skb, const struct packet *p, const struct tuple *to)
{
	__be16 ports[2] = { to->sport, to->dport };
	__be16 *at = NULL;

	if (p->l4_offset == L4_OFFSET_V4)
		at = writable_start(skb, L4_OFFSET_V4 + 4);
	if (!at)
		return bpf_skb_store_bytes(skb, p->l4_offset, ports, 4, 0) < 0 ? -DROP_WRITE_ERROR : 0;
	at = (void *)at + L4_OFFSET_V4;
	at[0] = ports[0];
	at[1] = ports[1];
	return 0;
}

/* Of an ICMP echo: a request has it in sport, a reply in dport. */
static __always_inline int put_identifier(struct __sk_buff *skb, const struct packet *p, const struct tuple *to)
{
	__be16 from = p->sport != to->sport ? p->sport : p->dport;
	__be16 id = p->sport != to->sport ? to->sport : to->dport;

	if (from == id)
		return 0;
	if (bpf_l4_csum_replace(skb, p->l4_offset + offsetof(struct icmphdr, checksum), from, id, 2) < 0)
		return -DROP_CSUM_L4;
	return bpf_skb_store_bytes(skb, p->l4_offset + offsetof(struct icmphdr, id), &id, 2, 0) < 0 ? -DROP_WRITE_ERROR : 0;
}

static __always_inline int change_ports(struct __sk_buff *skb, const struct packet *p, const struct tuple *to)
{
	if (!(p->flags & PACKET_HAS_PORTS) || (p->flags & PACKET_NO_L4))
		return 0;
	if (packet_is_icmp(p))
		return put_identifier(skb, p, to);
	if (p->sport == to->sport && p->dport == to->dport)
		return 0;
	if (p->flags & PACKET_CSUM_ZERO)
		update_device_sum(skb, port_diff(p, to));
	return p->proto == IPPROTO_SCTP ? sctp_rewrite_ports(skb, p, to) : put_ports(skb, p, to);
}

static __always_inline int change_tuple(struct __sk_buff *skb, struct packet *p, const struct tuple *to)
{
	__u32 addresses = address_diff(p, to);
	int ret = update_l4_checksum(skb, p, to, addresses);

	if (ret >= 0)
		ret = p->family == 4 ? put_addresses_v4(skb, to, addresses) : put_addresses_v6(skb, to);
	if (ret >= 0)
		ret = change_ports(skb, p, to);
	addr_copy(&p->saddr, &to->saddr);
	addr_copy(&p->daddr, &to->daddr);
	p->sport = to->sport;
	p->dport = to->dport;
	return ret;
}

/* Gives the packet other addresses and ports; `p` follows. 0 or -DROP_*. */
global_subprogram rewrite_tuple(struct __sk_buff *skb, struct packet *p, const struct tuple *to)
{
	return p && to ? change_tuple(skb, p, to) : -DROP_INVALID;
}

/* The same of one side alone. */
global_subprogram rewrite(struct __sk_buff *skb, struct packet *p, __u32 side, const struct addr *address, __u32 port)
{
	struct tuple to;

	if (!p || !address)
		return -DROP_INVALID;
	tuple_of(p, &to);
	addr_copy(side == SOURCE ? &to.saddr : &to.daddr, address);
	if (side == SOURCE)
		to.sport = (__be16)port;
	else
		to.dport = (__be16)port;
	return change_tuple(skb, p, &to);
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
	update_device_sum(skb, (__u16)~bpf_htons(1));
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
