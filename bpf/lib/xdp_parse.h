/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
/*
 * Parsing at XDP, in the packet's memory. Only what is forwarded there is read: TCP and UDP, whole, without options or extension headers.
 * The rest is tc's. Headers are in the first buffer; payload may be in others.
 */
#include "packet.h"

/*
 * The packet's first and last byte. The fields have 32 bits, and the verifier knows the load of them as a pointer; the compiler must not
 * make 32-bit numbers of it.
 */
static __always_inline void *xdp_data(const struct xdp_md *ctx)
{
	void *data;

	asm volatile("%0 = *(u32 *)(%1 + %2)" : "=r"(data) : "r"(ctx), "i"(offsetof(struct xdp_md, data)));
	return data;
}

static __always_inline void *xdp_end(const struct xdp_md *ctx)
{
	void *end;

	asm volatile("%0 = *(u32 *)(%1 + %2)" : "=r"(end) : "r"(ctx), "i"(offsetof(struct xdp_md, data_end)));
	return end;
}

struct cursor {
	void *at;
	void *end;
};

static __always_inline struct cursor cursor_of(const struct xdp_md *ctx)
{
	return (struct cursor){ .at = xdp_data(ctx), .end = xdp_end(ctx) };
}

/* The next header; NULL when the packet ends before. */
static __always_inline void *take(struct cursor *c, __u32 size)
{
	void *header = c->at;

	if (header + size > c->end)
		return NULL;
	c->at = header + size;
	return header;
}

static __always_inline bool xdp_parse_ports(struct cursor *c, struct packet *p)
{
	struct tcphdr *tcp;
	struct udphdr *udp;

	p->flags = PACKET_HAS_PORTS;
	if (p->proto == IPPROTO_TCP) {
		tcp = take(c, sizeof(*tcp));
		if (!tcp || p->length < p->l4_offset + sizeof(*tcp))
			return false;
		p->sport = tcp->source;
		p->dport = tcp->dest;
		p->tcp_flags = ((__u8 *)tcp)[13];
		return true;
	}
	if (p->proto != IPPROTO_UDP)
		return false;
	udp = take(c, sizeof(*udp));
	if (!udp || p->length < p->l4_offset + sizeof(*udp))
		return false;
	p->sport = udp->source;
	p->dport = udp->dest;
	if (!udp->check)
		p->flags |= PACKET_CSUM_ZERO;
	return true;
}

static __always_inline bool xdp_parse_ipv4(struct cursor *c, struct packet *p)
{
	struct iphdr *ip = take(c, sizeof(*ip));

	if (!ip || *(__u8 *)ip != 0x45 || (ip->frag_off & bpf_htons(0x3fff)) || bpf_ntohs(ip->tot_len) < sizeof(*ip))
		return false;
	p->family = 4;
	addr_set_v4(&p->saddr, ip->saddr);
	addr_set_v4(&p->daddr, ip->daddr);
	p->proto = ip->protocol;
	p->ttl = ip->ttl;
	p->l4_offset = ETH_HLEN_ + sizeof(*ip);
	p->length = ETH_HLEN_ + bpf_ntohs(ip->tot_len);
	return xdp_parse_ports(c, p);
}

static __always_inline bool xdp_parse_ipv6(struct cursor *c, struct packet *p)
{
	struct ipv6hdr *ip = take(c, sizeof(*ip));

	if (!ip || ip->version != 6)
		return false;
	p->family = 6;
	__builtin_memcpy(&p->saddr, &ip->saddr, 16);
	__builtin_memcpy(&p->daddr, &ip->daddr, 16);
	p->proto = ip->nexthdr;
	p->ttl = ip->hop_limit;
	p->l4_offset = ETH_HLEN_ + sizeof(*ip);
	p->length = ETH_HLEN_ + sizeof(*ip) + bpf_ntohs(ip->payload_len);
	return xdp_parse_ports(c, p);
}

/* From an Ethernet header on. False: tc's, or nobody's. `length` is that of the packet, without what pads the frame. */
static __always_inline bool xdp_parse(struct cursor *c, struct packet *p)
{
	struct ethhdr *eth = take(c, sizeof(*eth));

	if (!eth)
		return false;
	p->tcp_flags = 0;
	if (eth->h_proto == bpf_htons(ETH_P_IP) && (config.flags & CONFIG_IPV4))
		return xdp_parse_ipv4(c, p);
	if (eth->h_proto == bpf_htons(ETH_P_IPV6) && (config.flags & CONFIG_IPV6))
		return xdp_parse_ipv6(c, p);
	return false;
}
