/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
/* VXLAN (RFC 7348) at XDP: what leaves for another node is put into it, an answer from there is found in it. */
#include "xdp_forward.h"

#define VXLAN_FLAGS bpf_htonl(0x08000000) /* the VNI is valid, and nothing else is said */

struct vxlan_header {
	__be32 flags;
	__be32 vni; /* upper 24 bits */
};

#define OVERLAY_HEADERS (sizeof(struct ethhdr) + sizeof(struct udphdr) + sizeof(struct vxlan_header))

/* Of the outer headers; the inner Ethernet header follows. */
static __always_inline __u32 overlay_size(bool is_v4)
{
	return OVERLAY_HEADERS + (is_v4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr));
}

/* The port that the flow has for itself makes another for the outer header: the network spreads flows over its paths by it. */
static __always_inline __be16 overlay_source_port(const struct way *way)
{
	return way->to.sport | bpf_htons(0x8000);
}

static __always_inline void overlay_tuple(const struct way *way, struct tuple *outer)
{
	addr_copy(&outer->saddr, addr_is_v4(&way->tunnel) ? &config.node_ipv4 : &config.node_ipv6);
	addr_copy(&outer->daddr, &way->tunnel);
	outer->sport = overlay_source_port(way);
	outer->dport = bpf_htons(config.tunnel_port);
}

/* Congestion marks of the inner header (RFC 6040, normal mode). */
static __always_inline __u8 overlay_ecn(const __u8 *ip, __u8 family)
{
	__u8 ecn = family == 4 ? ip[1] & 3 : (ip[1] >> 4) & 3;

	return ecn == 3 ? 2 : ecn;
}

static __always_inline void write_outer_v4(struct iphdr *ip, const struct way *way, __u8 ecn, __u32 length)
{
	__u64 sum;

	ip->version = 4;
	ip->ihl = 5;
	ip->tos = ecn;
	ip->tot_len = bpf_htons((__u16)(sizeof(*ip) + length));
	ip->id = (__be16)bpf_get_prandom_u32();
	ip->frag_off = 0;
	ip->ttl = 64;
	ip->protocol = IPPROTO_UDP;
	ip->saddr = config.node_ipv4.words[3];
	ip->daddr = way->tunnel.words[3];
	sum = (__u64)ip->saddr + ip->daddr + bpf_htons(0x4500 | ecn) + ip->tot_len + ip->id;
	ip->check = (__sum16)~fold16(sum + bpf_htons(64 << 8 | IPPROTO_UDP));
}

static __always_inline void write_outer_v6(struct ipv6hdr *ip, const struct way *way, __u8 ecn, __u32 length)
{
	*(__be32 *)ip = bpf_htonl(6u << 28 | (__u32)ecn << 20);
	ip->payload_len = bpf_htons((__u16)length);
	ip->nexthdr = IPPROTO_UDP;
	ip->hop_limit = 64;
	addr_copy((struct addr *)&ip->saddr, &config.node_ipv6);
	addr_copy((struct addr *)&ip->daddr, &way->tunnel);
}

static __always_inline int write_vxlan(struct cursor *c, const struct packet *p, const struct way *way)
{
	struct udphdr *udp = take(c, sizeof(*udp));
	struct vxlan_header *vxlan = take(c, sizeof(*vxlan));

	if (!udp || !vxlan)
		return -DROP_WRITE_ERROR;
	udp->source = overlay_source_port(way);
	udp->dest = bpf_htons(config.tunnel_port);
	udp->len = bpf_htons((__u16)(sizeof(*udp) + sizeof(*vxlan) + p->length));
	udp->check = 0; /* over IPv6 too: RFC 6935, and our devices take it */
	vxlan->flags = VXLAN_FLAGS;
	vxlan->vni = bpf_htonl(IDENTITY_WORLD << 8); /* XDP sends nobody's packets but outsiders' */
	return 0;
}

/* The outer headers, but for the MACs. Room for them is there, and `c` at its beginning. */
static __always_inline int write_overlay(struct cursor *c, const struct packet *p, const struct way *way)
{
	bool is_v4 = addr_is_v4(&way->tunnel);
	__u32 length = sizeof(struct udphdr) + sizeof(struct vxlan_header) + p->length;
	__u8 *inner = c->at + overlay_size(is_v4) + ETH_HLEN_;
	struct ethhdr *eth = take(c, sizeof(*eth));
	void *ip = take(c, is_v4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr));

	if (!eth || !ip || (void *)(inner + 2) > c->end)
		return -DROP_WRITE_ERROR;
	eth->h_proto = is_v4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
	if (is_v4)
		write_outer_v4(ip, way, overlay_ecn(inner, p->family), length);
	else
		write_outer_v6(ip, way, overlay_ecn(inner, p->family), length);
	return write_vxlan(c, p, way);
}

/* To this node, from one that may say so. */
static __always_inline bool is_overlay_to_us(const struct packet *p)
{
	return config.routing_mode == ROUTING_VXLAN && p->proto == IPPROTO_UDP && p->dport == bpf_htons(config.tunnel_port) &&
	       addr_equal(&p->daddr, p->family == 4 ? &config.node_ipv4 : &config.node_ipv6);
}

/* A congestion mark of the outer header is the stack's to carry over. */
static __always_inline bool is_congested(struct xdp_md *ctx, const struct packet *p)
{
	const __u8 *ip = xdp_data(ctx) + ETH_HLEN_;

	return (void *)(ip + 2) > xdp_end(ctx) || (p->family == 4 ? ip[1] & 3 : (ip[1] >> 4) & 3) == 3;
}

/* The packet inside; `c` is behind the outer UDP header. False: the stack's. */
static __always_inline bool parse_overlay(struct cursor *c, struct packet *inner)
{
	struct vxlan_header *vxlan = take(c, sizeof(*vxlan));

	return vxlan && vxlan->flags == VXLAN_FLAGS && xdp_parse(c, inner);
}
