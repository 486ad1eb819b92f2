/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
/*
 * Parsing. Headers are read with bpf_skb_load_bytes, which is right for paged and GSO packets alike and keeps the verifier's
 * state small. What is read is the tuple that every table is asked with.
 */
#include "addr.h"

enum packet_flags {
	PACKET_FRAGMENT = 1,   /* any fragment */
	PACKET_NO_L4 = 2,      /* a later fragment: no L4 header, ports come from the frag map */
	PACKET_ICMP_ERROR = 4, /* quotes another packet */
	PACKET_HAS_PORTS = 8,  /* sport and dport are meaningful (ICMP echo: the identifier) */
	PACKET_CSUM_ZERO = 16, /* UDP over IPv4 without checksum */
};

struct packet {
	struct addr saddr;
	struct addr daddr;
	__be16 sport;
	__be16 dport;
	__u16 l4_offset;
	__u8 proto;
	__u8 family; /* 4 or 6 */
	__u8 flags;  /* enum packet_flags */
	__u8 ttl;
	__u8 tcp_flags; /* byte 13 of the header: FIN 1 SYN 2 RST 4 ACK 16; SCTP: SYN with an INIT chunk */
	__u8 icmp_type;
	__u32 fragment_id;
};

#define TCP_FIN 1
#define TCP_SYN 2
#define TCP_RST 4
#define TCP_ACK 16
#define SCTP_CHUNK_INIT 1

static __always_inline bool packet_is_icmp(const struct packet *p)
{
	return p->proto == IPPROTO_ICMP || p->proto == IPPROTO_ICMPV6;
}

static __always_inline void fragment_key(const struct packet *p, struct frag_key *key)
{
	__builtin_memset(key, 0, sizeof(*key));
	addr_copy(&key->saddr, &p->saddr);
	addr_copy(&key->daddr, &p->daddr);
	key->id = p->fragment_id;
	key->proto = p->proto;
}

/* Later fragments carry no ports: the first has left them in the frag map. */
static __always_inline int fragment_ports(struct packet *p)
{
	struct frag_key key;
	struct frag_ports *ports;

	fragment_key(p, &key);
	if (!(p->flags & PACKET_NO_L4)) {
		struct frag_ports first = { .sport = p->sport, .dport = p->dport };

		bpf_map_update_elem(&frag, &key, &first, BPF_ANY);
		return 0;
	}
	ports = bpf_map_lookup_elem(&frag, &key);
	if (!ports)
		return -DROP_FRAG_NOT_FOUND;
	p->sport = ports->sport;
	p->dport = ports->dport;
	p->flags |= PACKET_HAS_PORTS;
	return 0;
}

static __always_inline int parse_icmp(struct __sk_buff *skb, struct packet *p)
{
	struct {
		__u8 type;
		__u8 code;
		__be16 csum;
		__be16 id;
		__be16 seq;
	} icmp;
	bool v4 = p->proto == IPPROTO_ICMP;

	if (bpf_skb_load_bytes(skb, p->l4_offset, &icmp, sizeof(icmp)) < 0)
		return -DROP_INVALID;
	p->icmp_type = icmp.type;
	if (icmp.type == (v4 ? ICMP_ECHO : ICMPV6_ECHO_REQUEST)) {
		p->sport = icmp.id;
		p->flags |= PACKET_HAS_PORTS;
	} else if (icmp.type == (v4 ? ICMP_ECHOREPLY : ICMPV6_ECHO_REPLY)) {
		p->dport = icmp.id;
		p->flags |= PACKET_HAS_PORTS;
	} else if (v4 ? (icmp.type == ICMP_DEST_UNREACH || icmp.type == ICMP_TIME_EXCEEDED ||
			 icmp.type == ICMP_PARAMETERPROB)
		      : icmp.type < 128) {
		p->flags |= PACKET_ICMP_ERROR;
	}
	return 0;
}

/* An INIT chunk is alone in its packet (RFC 9260, 4.3): what begins an association begins with one. */
static __always_inline __u8 sctp_begins(struct __sk_buff *skb, const struct packet *p)
{
	__u8 chunk;

	return !bpf_skb_load_bytes(skb, p->l4_offset + 12, &chunk, 1) && chunk == SCTP_CHUNK_INIT ? TCP_SYN : 0;
}

static __always_inline int parse_ports(struct __sk_buff *skb, struct packet *p)
{
	__be16 ports[2];
	__be16 csum;

	if (bpf_skb_load_bytes(skb, p->l4_offset, ports, sizeof(ports)) < 0)
		return -DROP_INVALID;
	p->sport = ports[0];
	p->dport = ports[1];
	p->flags |= PACKET_HAS_PORTS;
	if (p->proto == IPPROTO_TCP)
		return bpf_skb_load_bytes(skb, p->l4_offset + 13, &p->tcp_flags, 1) < 0 ? -DROP_INVALID : 0;
	if (p->proto == IPPROTO_SCTP)
		p->tcp_flags = sctp_begins(skb, p);
	if (p->proto == IPPROTO_UDP) {
		if (bpf_skb_load_bytes(skb, p->l4_offset + 6, &csum, 2) < 0)
			return -DROP_INVALID;
		if (!csum)
			p->flags |= PACKET_CSUM_ZERO;
	}
	return 0;
}

static __always_inline int parse_l4(struct __sk_buff *skb, struct packet *p)
{
	int ret = 0;

	if (!(p->flags & PACKET_NO_L4)) {
		if (p->proto == IPPROTO_TCP || p->proto == IPPROTO_UDP || p->proto == IPPROTO_SCTP)
			ret = parse_ports(skb, p);
		else if (packet_is_icmp(p))
			ret = parse_icmp(skb, p);
	}
	if (ret < 0 || !(p->flags & PACKET_FRAGMENT))
		return ret;
	return fragment_ports(p);
}

static __always_inline int parse_ipv4(struct __sk_buff *skb, struct packet *p)
{
	struct iphdr ip;
	__u16 fragment;

	if (bpf_skb_load_bytes(skb, ETH_HLEN_, &ip, sizeof(ip)) < 0 || ip.version != 4 || ip.ihl < 5)
		return -DROP_INVALID;
	p->family = 4;
	addr_set_v4(&p->saddr, ip.saddr);
	addr_set_v4(&p->daddr, ip.daddr);
	p->proto = ip.protocol;
	p->ttl = ip.ttl;
	p->l4_offset = ETH_HLEN_ + ip.ihl * 4;
	fragment = bpf_ntohs(ip.frag_off);
	if (fragment & 0x3fff) {
		p->flags |= PACKET_FRAGMENT;
		p->fragment_id = ip.id;
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

static __always_inline int parse_ipv6(struct __sk_buff *skb, struct packet *p)
{
	struct ipv6hdr ip;
	int ret;

	if (bpf_skb_load_bytes(skb, ETH_HLEN_, &ip, sizeof(ip)) < 0 || ip.version != 6)
		return -DROP_INVALID;
	p->family = 6;
	__builtin_memcpy(&p->saddr, &ip.saddr, 16);
	__builtin_memcpy(&p->daddr, &ip.daddr, 16);
	p->proto = ip.nexthdr;
	p->ttl = ip.hop_limit;
	p->l4_offset = ETH_HLEN_ + sizeof(ip);
	ret = parse_ipv6_extensions(skb, p);
	return ret < 0 ? ret : parse_l4(skb, p);
}

/* 0, or -DROP_*. An address family that is switched off is unknown. */
static __always_inline int parse(struct __sk_buff *skb, struct packet *p)
{
	__builtin_memset(p, 0, sizeof(*p));
	if (skb->protocol == bpf_htons(ETH_P_IP) && (config.flags & CONFIG_IPV4))
		return parse_ipv4(skb, p);
	if (skb->protocol == bpf_htons(ETH_P_IPV6) && (config.flags & CONFIG_IPV6))
		return parse_ipv6(skb, p);
	return -DROP_UNKNOWN_L3;
}
