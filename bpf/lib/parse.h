/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
/* Parsing at tc. Headers are read in place where they are in the linear part, as nearly always; else they are copied. */
#include "packet.h"

/* `size` bytes at `offset`, both constants; NULL: the packet is shorter. Good until the packet is changed. */
static __always_inline const void *header_at(struct __sk_buff *skb, __u32 offset, void *copy, __u32 size)
{
	void *data = (void *)(long)skb->data;

	if (data + offset + size <= (void *)(long)skb->data_end)
		return data + offset;
	return bpf_skb_load_bytes(skb, offset, copy, size) < 0 ? NULL : copy;
}

#define L4_OFFSET_V4 (ETH_HLEN_ + sizeof(struct iphdr))
#define L4_OFFSET_V6 (ETH_HLEN_ + sizeof(struct ipv6hdr))

/* The same of the L4 header, which follows an IP header without options or extensions. Others are copied. */
static __always_inline const void *l4_header(struct __sk_buff *skb, const struct packet *p, void *copy, __u32 size)
{
	if (p->l4_offset == L4_OFFSET_V4)
		return header_at(skb, L4_OFFSET_V4, copy, size);
	if (p->l4_offset == L4_OFFSET_V6)
		return header_at(skb, L4_OFFSET_V6, copy, size);
	return bpf_skb_load_bytes(skb, p->l4_offset, copy, size) < 0 ? NULL : copy;
}

/* As far as they are read. */
struct tcp_start {
	__be16 sport;
	__be16 dport;
	__be32 sequence[2];
	__u8 offset;
	__u8 flags;
};
struct udp_start {
	__be16 sport;
	__be16 dport;
	__be16 length;
	__be16 checksum;
};
struct sctp_start {
	__be16 sport;
	__be16 dport;
	__be32 tag;
	__be32 checksum;
	__u8 chunk;
};

static __always_inline int parse_icmp(struct __sk_buff *skb, struct packet *p)
{
	const struct icmphdr *icmp;
	struct icmphdr copy;
	bool v4 = p->proto == IPPROTO_ICMP;

	icmp = l4_header(skb, p, &copy, sizeof(copy));
	if (!icmp)
		return -DROP_INVALID;
	p->icmp_type = icmp->type;
	if (p->icmp_type == (v4 ? ICMP_ECHO : ICMPV6_ECHO_REQUEST)) {
		p->sport = icmp->id;
		p->flags |= PACKET_HAS_PORTS;
	} else if (p->icmp_type == (v4 ? ICMP_ECHOREPLY : ICMPV6_ECHO_REPLY)) {
		p->dport = icmp->id;
		p->flags |= PACKET_HAS_PORTS;
	} else if (v4 ? (p->icmp_type == ICMP_DEST_UNREACH || p->icmp_type == ICMP_TIME_EXCEEDED ||
			 p->icmp_type == ICMP_PARAMETERPROB)
		      : p->icmp_type < 128) {
		p->flags |= PACKET_ICMP_ERROR;
	}
	return 0;
}

static __always_inline void take_ports(struct packet *p, __be16 sport, __be16 dport)
{
	p->sport = sport;
	p->dport = dport;
	p->flags |= PACKET_HAS_PORTS;
}

static __always_inline int parse_tcp(struct __sk_buff *skb, struct packet *p)
{
	struct tcp_start copy;
	const struct tcp_start *tcp = l4_header(skb, p, &copy, offsetof(struct tcp_start, flags) + 1);

	if (!tcp)
		return -DROP_INVALID;
	take_ports(p, tcp->sport, tcp->dport);
	p->tcp_flags = tcp->flags;
	return 0;
}

static __always_inline int parse_udp(struct __sk_buff *skb, struct packet *p)
{
	struct udp_start copy;
	const struct udp_start *udp = l4_header(skb, p, &copy, sizeof(copy));

	if (!udp)
		return -DROP_INVALID;
	take_ports(p, udp->sport, udp->dport);
	if (!udp->checksum)
		p->flags |= PACKET_CSUM_ZERO;
	return 0;
}

/* An INIT chunk is alone in its packet (RFC 9260, 4.3): what begins an association begins with one. */
static __always_inline int parse_sctp(struct __sk_buff *skb, struct packet *p)
{
	struct sctp_start copy;
	const struct sctp_start *sctp = l4_header(skb, p, &copy, offsetof(struct sctp_start, chunk) + 1);

	if (!sctp)
		return -DROP_INVALID;
	take_ports(p, sctp->sport, sctp->dport);
	p->tcp_flags = sctp->chunk == SCTP_CHUNK_INIT ? TCP_SYN : 0;
	return 0;
}

static __always_inline int parse_l4(struct __sk_buff *skb, struct packet *p)
{
	int ret = 0;

	if (!(p->flags & PACKET_NO_L4)) {
		if (p->proto == IPPROTO_TCP)
			ret = parse_tcp(skb, p);
		else if (p->proto == IPPROTO_UDP)
			ret = parse_udp(skb, p);
		else if (p->proto == IPPROTO_SCTP)
			ret = parse_sctp(skb, p);
		else if (packet_is_icmp(p))
			ret = parse_icmp(skb, p);
	}
	if (ret < 0 || !(p->flags & PACKET_FRAGMENT))
		return ret;
	return fragment_ports(p);
}

/* `offset`, a constant: of the IP header, from that of Ethernet. */
static __always_inline int parse_ipv4(struct __sk_buff *skb, struct packet *p, __u16 offset)
{
	const struct iphdr *ip;
	struct iphdr copy;
	__u16 fragment;

	ip = header_at(skb, offset, &copy, sizeof(copy));
	if (!ip || ip->version != 4 || ip->ihl < 5)
		return -DROP_INVALID;
	p->family = 4;
	addr_set_v4(&p->saddr, ip->saddr);
	addr_set_v4(&p->daddr, ip->daddr);
	p->proto = ip->protocol;
	p->ttl = ip->ttl;
	p->l4_offset = offset + ip->ihl * 4;
	fragment = bpf_ntohs(ip->frag_off);
	if (fragment & 0x3fff) {
		p->flags |= PACKET_FRAGMENT;
		p->fragment_id = ip->id;
		if (fragment & 0x1fff)
			p->flags |= PACKET_NO_L4;
	}
	return parse_l4(skb, p);
}

/* Walks at most six extension headers (RFC 8200, 4). */
static __always_inline int parse_ipv6_extensions(struct __sk_buff *skb, struct packet *p)
{
	struct {
		__u8 next;
		__u8 length;
		__be16 fragment;
		__be32 id;
	} ext;

#pragma unroll
	for (int i = 0; i < 6; i++) {
		if (p->proto != IPPROTO_HOPOPTS && p->proto != IPPROTO_ROUTING && p->proto != IPPROTO_DSTOPTS &&
		    p->proto != IPPROTO_FRAGMENT && p->proto != IPPROTO_AH)
			return 0;
		if (bpf_skb_load_bytes(skb, p->l4_offset, &ext, sizeof(ext)) < 0)
			return -DROP_INVALID;
		if (p->proto == IPPROTO_FRAGMENT) {
			p->flags |= PACKET_FRAGMENT;
			p->fragment_id = ext.id;
			if (bpf_ntohs(ext.fragment) & 0xfff8)
				p->flags |= PACKET_NO_L4;
			p->l4_offset += 8;
		} else if (p->proto == IPPROTO_AH) {
			p->l4_offset += (ext.length + 2) * 4;
		} else {
			p->l4_offset += (ext.length + 1) * 8;
		}
		p->proto = ext.next;
	}
	return -DROP_INVALID_EXTHDR;
}

static __always_inline int parse_ipv6(struct __sk_buff *skb, struct packet *p, __u16 offset)
{
	const struct ipv6hdr *ip;
	struct ipv6hdr copy;
	int ret;

	ip = header_at(skb, offset, &copy, sizeof(copy));
	if (!ip || ip->version != 6)
		return -DROP_INVALID;
	p->family = 6;
	__builtin_memcpy(&p->saddr, &ip->saddr, 16);
	__builtin_memcpy(&p->daddr, &ip->daddr, 16);
	p->proto = ip->nexthdr;
	p->ttl = ip->hop_limit;
	p->l4_offset = offset + sizeof(*ip);
	ret = parse_ipv6_extensions(skb, p);
	return ret < 0 ? ret : parse_l4(skb, p);
}

/* 0, or -DROP_*. An address family that is switched off is unknown. */
global_subprogram parse(struct __sk_buff *skb, struct packet *p)
{
	if (!p)
		return -DROP_INVALID;
	__builtin_memset(p, 0, sizeof(*p));
	p->length = skb->len;
	p->ifindex = skb->ifindex;
	if (skb->protocol == bpf_htons(ETH_P_IP) && (config.flags & CONFIG_IPV4))
		return parse_ipv4(skb, p, ETH_HLEN_);
	if (skb->protocol == bpf_htons(ETH_P_IPV6) && (config.flags & CONFIG_IPV6))
		return parse_ipv6(skb, p, ETH_HLEN_);
	return -DROP_UNKNOWN_L3;
}
