/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
/* Direct server return at the backend's node: what comes from another node is understood, and becomes what the backend shall see. */
#include "dsr_send.h"

/* Whether there may be an option of ours at all: something stands between the IP header and the next. */
static __always_inline bool has_options(const struct packet *p)
{
	return p->l4_offset > ip_header_end(p);
}

/* True: the packet carries a frontend, directly behind its IP header, where other nodes put it. */
static __always_inline bool read_option(struct __sk_buff *skb, const struct packet *p, struct lb_revnat *frontend)
{
	if (p->family == 4) {
		struct dsr_option option;

		if (bpf_skb_load_bytes(skb, ip_header_end(p), &option, sizeof(option)) < 0 || option.type != DSR_OPTION_V4 ||
		    option.length != sizeof(option))
			return false;
		addr_set_v4(&frontend->address, bpf_htonl(option.address));
		frontend->port = bpf_htons(option.port);
	} else {
		struct dsr_extension extension;
		__u8 next;

		if (bpf_skb_load_bytes(skb, ETH_HLEN_ + offsetof(struct ipv6hdr, nexthdr), &next, 1) < 0 || next != IPPROTO_DSTOPTS ||
		    bpf_skb_load_bytes(skb, ip_header_end(p), &extension, sizeof(extension)) < 0 || extension.type != DSR_OPTION_V6 ||
		    extension.option_length != sizeof(extension) - 4 || extension.length != sizeof(extension) / 8 - 1)
			return false;
		addr_copy(&frontend->address, &extension.address);
		frontend->port = extension.port;
	}
	return true;
}

/* A pod's packet with an option that only nodes may send. */
subprogram carries_option(struct __sk_buff *skb, const struct packet *p)
{
	struct lb_revnat frontend = {};

	return p && read_option(skb, p, &frontend);
}

static __always_inline int remove_option(struct __sk_buff *skb, struct packet *p)
{
	struct {
		__be32 first;
		struct dsr_option option;
	} from;
	__be32 to;
	__s64 diff;

	if (bpf_skb_load_bytes(skb, ETH_HLEN_, &from.first, 4) < 0 ||
	    bpf_skb_load_bytes(skb, ip_header_end(p), &from.option, sizeof(from.option)) < 0)
		return -DROP_INVALID;
	to = bpf_htonl(bpf_ntohl(from.first) - (2 << 24) - sizeof(from.option));
	if (bpf_skb_adjust_room(skb, -(int)sizeof(from.option), BPF_ADJ_ROOM_NET, room_flags(p)) < 0)
		return -DROP_INVALID;
	/* The device's sum has lost the option, and the header's checksum has made up for it. */
	diff = bpf_csum_diff(NULL, 0, (__be32 *)&from.option, sizeof(from.option), 0);
	if (diff < 0)
		return -DROP_CSUM_L3;
	update_device_sum(skb, (__u32)diff);
	diff = bpf_csum_diff((__be32 *)&from, sizeof(from), &to, 4, 0);
	if (bpf_l3_csum_replace(skb, ETH_HLEN_ + offsetof(struct iphdr, check), 0, diff, 0) < 0)
		return -DROP_CSUM_L3;
	return bpf_skb_store_bytes(skb, ETH_HLEN_, &to, 4, 0) < 0 ? -DROP_WRITE_ERROR : 0;
}

/* IPv6 has no checksum of its own that a changed header would leave right: the packet's is corrected. */
static __always_inline int remove_extension(struct __sk_buff *skb, struct packet *p)
{
	struct {
		__be16 payload;
		__u8 next;
	} header;

	if (bpf_skb_load_bytes(skb, ETH_HLEN_ + 4, &header, 3) < 0 || bpf_skb_load_bytes(skb, ip_header_end(p), &header.next, 1) < 0)
		return -DROP_INVALID;
	header.payload = bpf_htons(bpf_ntohs(header.payload) - sizeof(struct dsr_extension));
	if (bpf_skb_adjust_room(skb, -(int)sizeof(struct dsr_extension), BPF_ADJ_ROOM_NET, room_flags(p)) < 0)
		return -DROP_INVALID;
	return bpf_skb_store_bytes(skb, ETH_HLEN_ + 4, &header, 3, BPF_F_RECOMPUTE_CSUM) < 0 ? -DROP_WRITE_ERROR : 0;
}

/* 1: the packet has told the frontend of its flow, and is as if it had not. 0: it tells nothing. -DROP_*: it tells what is not so. */
global_subprogram take_option(struct __sk_buff *skb, struct packet *p)
{
	struct lb_revnat frontend = {};
	__u16 size;
	int ret;

	if (!p)
		return -DROP_INVALID;
	/* On its way to somebody else; or from the cluster, whose packets are never sent so. */
	if (!read_option(skb, p, &frontend) || !endpoint_lookup(&p->daddr) || in_cluster(&p->saddr))
		return 0;
	ret = dsr_claim(p, &frontend);
	if (ret < 0)
		return ret;
	ret = p->family == 4 ? remove_option(skb, p) : remove_extension(skb, p);
	size = p->family == 4 ? sizeof(struct dsr_option) : sizeof(struct dsr_extension);
	p->l4_offset -= size;
	p->length -= size;
	return ret < 0 ? ret : 1;
}

/* What a header without options encapsulates, its offsets from the outer packet's Ethernet header. A frame of its own: the stack is short. */
subprogram parse_inner(struct __sk_buff *skb, const struct packet *outer, struct packet *p)
{
	if (!outer || !p)
		return -DROP_INVALID;
	__builtin_memset(p, 0, sizeof(*p));
	p->ifindex = outer->ifindex;
	if (outer->family == 4)
		return outer->proto == IPPROTO_IPIP ? parse_ipv4(skb, p, L4_OFFSET_V4) : -DROP_INVALID;
	return outer->proto == IPPROTO_IPV6 ? parse_ipv6(skb, p, L4_OFFSET_V6) : -DROP_INVALID;
}

/* The outer header goes; congestion that was noted in it is noted in the inner (RFC 6040). `p` is the inner packet from now on. */
static __always_inline int remove_outer(struct __sk_buff *skb, struct packet *p)
{
	__u16 size = p->family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	__u8 class[2];

	if (bpf_skb_load_bytes(skb, ETH_HLEN_, class, 2) < 0)
		return -DROP_INVALID;
	if (bpf_skb_adjust_room(skb, -(int)size, BPF_ADJ_ROOM_MAC, room_flags(p)) < 0)
		return -DROP_INVALID;
	if (p->family == 4 ? (class[1] & 3) == 3 : (class[1] >> 4 & 3) == 3)
		bpf_skb_ecn_set_ce(skb);
	p->l4_offset -= size;
	p->length = skb->len;
	return 0;
}

/*
 * 1: another node has sent the packet in one of its own to the backend, and it is as the backend shall see it. 0: encapsulated by somebody
 * else, and for somebody else to unpack.
 */
global_subprogram decapsulate(struct __sk_buff *skb, struct packet *p)
{
	struct lb_revnat frontend = {};
	struct packet inner;
	struct addr backend;
	__be16 port;
	int ret;

	if (!p || has_options(p) || (p->flags & PACKET_FRAGMENT) || !is_node(&p->saddr) || !endpoint_lookup(&p->daddr))
		return 0;
	if (parse_inner(skb, p, &inner) < 0 || !lb_may_apply(&inner))
		return 0;
	addr_copy(&backend, &p->daddr);
	port = (__be16)dsr_target_port(&inner, &backend);
	if (!port)
		return 0;
	ret = remove_outer(skb, &inner);
	if (ret < 0)
		return ret;
	*p = inner;
	addr_copy(&frontend.address, &p->daddr);
	frontend.port = p->dport;
	ret = rewrite(skb, p, DESTINATION, &backend, port);
	if (ret >= 0 && (p->flags & PACKET_RENEWED))
		ret = dsr_remember(p, &frontend);
	return ret < 0 ? ret : 1;
}

/* 1: the packet comes by another node with the client's address, and is what its destination on this node shall see. 0: it does not. */
static __always_inline int take_dsr(struct __sk_buff *skb, struct packet *p)
{
	if (!(config.flags & CONFIG_DSR))
		return 0;
	if (p->proto == IPPROTO_IPIP || p->proto == IPPROTO_IPV6)
		return decapsulate(skb, p);
	return lb_may_apply(p) && has_options(p) && !(p->flags & PACKET_NO_L4) ? take_option(skb, p) : 0;
}
