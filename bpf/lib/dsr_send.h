/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
/* Direct server return at the node that the client has reached: the packet becomes one for the backend, and tells its node the frontend. */
#include "icmp.h"

/* TCP shrinks its segments for what comes before them; datagrams must stay what they are. */
static __always_inline __u64 room_flags(const struct packet *p)
{
	return BPF_F_ADJ_ROOM_NO_CSUM_RESET | (p->proto == IPPROTO_TCP ? 0 : BPF_F_ADJ_ROOM_FIXED_GSO);
}

/* Behind the IPv4 header, before options that are there. Only 40 bytes of options are possible. */
subprogram insert_option(struct __sk_buff *skb, struct packet *p, const struct lb_revnat *frontend)
{
	struct {
		__be32 first; /* version, length of the header, TOS, length */
		struct dsr_option option;
	} to = { .option = { .type = DSR_OPTION_V4, .length = sizeof(struct dsr_option) } };
	__be32 from;
	__u32 first;
	__s64 diff;

	if (!p || !frontend || bpf_skb_load_bytes(skb, ETH_HLEN_, &from, 4) < 0)
		return -DROP_INVALID;
	first = bpf_ntohl(from);
	if ((first >> 24 & 0xf) > 13 || (first & 0xffff) > 0xffff - sizeof(to.option))
		return -DROP_DSR_ENCAP_FAILED;
	to.first = bpf_htonl(first + (2 << 24) + sizeof(to.option));
	to.option.port = bpf_ntohs(frontend->port);
	to.option.address = bpf_ntohl(frontend->address.words[3]);
	if (bpf_skb_adjust_room(skb, sizeof(to.option), BPF_ADJ_ROOM_NET, room_flags(p)) < 0)
		return -DROP_DSR_ENCAP_FAILED;
	diff = bpf_csum_diff(&from, 4, (__be32 *)&to, sizeof(to), 0);
	if (bpf_skb_store_bytes(skb, ETH_HLEN_, &to.first, 4, 0) < 0 ||
	    bpf_skb_store_bytes(skb, ETH_HLEN_ + sizeof(struct iphdr), &to.option, sizeof(to.option), 0) < 0)
		return -DROP_WRITE_ERROR;
	if (bpf_l3_csum_replace(skb, ETH_HLEN_ + offsetof(struct iphdr, check), 0, diff, 0) < 0)
		return -DROP_CSUM_L3;
	p->l4_offset += sizeof(to.option);
	p->length += sizeof(to.option);
	return 0;
}

/* Behind the IPv6 header, before a fragment's: hop-by-hop options alone must stay first (RFC 8200, 4.1). */
subprogram insert_extension(struct __sk_buff *skb, struct packet *p, const struct lb_revnat *frontend)
{
	struct dsr_extension extension = {
		.length = sizeof(extension) / 8 - 1,
		.type = DSR_OPTION_V6,
		.option_length = sizeof(extension) - 4,
	};
	struct {
		__be16 payload;
		__u8 next;
	} header;
	__u32 length;

	if (!p || !frontend || bpf_skb_load_bytes(skb, ETH_HLEN_ + 4, &header, 3) < 0)
		return -DROP_INVALID;
	length = bpf_ntohs(header.payload) + sizeof(extension);
	if (header.next == IPPROTO_HOPOPTS || length > 0xffff)
		return -DROP_DSR_ENCAP_FAILED;
	extension.next = header.next;
	header.next = IPPROTO_DSTOPTS;
	header.payload = bpf_htons((__u16)length);
	addr_copy(&extension.address, &frontend->address);
	extension.port = frontend->port;
	if (bpf_skb_adjust_room(skb, sizeof(extension), BPF_ADJ_ROOM_NET, room_flags(p)) < 0)
		return -DROP_DSR_ENCAP_FAILED;
	if (bpf_skb_store_bytes(skb, ETH_HLEN_ + 4, &header, 3, BPF_F_RECOMPUTE_CSUM) < 0 ||
	    bpf_skb_store_bytes(skb, ETH_HLEN_ + sizeof(struct ipv6hdr), &extension, sizeof(extension), BPF_F_RECOMPUTE_CSUM) < 0)
		return -DROP_WRITE_ERROR;
	p->l4_offset += sizeof(extension);
	p->length += sizeof(extension);
	return 0;
}

static __always_inline int outer_ipv4(struct __sk_buff *skb, const struct packet *p, const struct addr *backend)
{
	struct iphdr ip = {
		.version = 4,
		.ihl = 5,
		.ttl = 64,
		.protocol = IPPROTO_IPIP,
		.frag_off = bpf_htons(0x4000), /* a fragment would not tell whom it is for */
		.tot_len = bpf_htons((__u16)(p->length - ETH_HLEN_ + sizeof(ip))),
		.saddr = config.node_ipv4.words[3],
		.daddr = backend->words[3],
	};

	if (bpf_skb_load_bytes(skb, ETH_HLEN_ + offsetof(struct iphdr, tos), &ip.tos, 1) < 0)
		return -DROP_INVALID;
	ip.check = fold(bpf_csum_diff(NULL, 0, (__be32 *)&ip, sizeof(ip), 0));
	if (bpf_skb_adjust_room(skb, sizeof(ip), BPF_ADJ_ROOM_MAC, room_flags(p) | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4) < 0)
		return -DROP_DSR_ENCAP_FAILED;
	return bpf_skb_store_bytes(skb, ETH_HLEN_, &ip, sizeof(ip), 0) < 0 ? -DROP_WRITE_ERROR : 0;
}

/* The flow label is that of the flow (RFC 6438): paths of equal cost are told apart by it. */
static __always_inline int outer_ipv6(struct __sk_buff *skb, const struct packet *p, const struct addr *backend)
{
	struct {
		__be32 first; /* version, traffic class, flow label */
		__be16 payload;
		__u8 next;
		__u8 hop_limit;
		struct addr source;
		struct addr destination;
	} ip = { .payload = bpf_htons((__u16)(p->length - ETH_HLEN_)), .next = IPPROTO_IPV6, .hop_limit = 64 };

	if (bpf_skb_load_bytes(skb, ETH_HLEN_, &ip.first, 4) < 0)
		return -DROP_INVALID;
	ip.first = (ip.first & bpf_htonl(0xfff00000)) | bpf_htonl(flow_hash(p) & 0xfffff);
	addr_copy(&ip.source, &config.node_ipv6);
	addr_copy(&ip.destination, backend);
	if (bpf_skb_adjust_room(skb, sizeof(ip), BPF_ADJ_ROOM_MAC, room_flags(p) | BPF_F_ADJ_ROOM_ENCAP_L3_IPV6) < 0)
		return -DROP_DSR_ENCAP_FAILED;
	return bpf_skb_store_bytes(skb, ETH_HLEN_, &ip, sizeof(ip), BPF_F_RECOMPUTE_CSUM) < 0 ? -DROP_WRITE_ERROR : 0;
}

/* As it came, in a packet from this node to the backend; `p` becomes that one. */
subprogram encapsulate(struct __sk_buff *skb, struct packet *p, const struct addr *backend)
{
	__u8 family;
	int ret;

	if (!p || !backend)
		return -DROP_INVALID;
	ret = decrease_ttl(skb, p);
	if (ret < 0)
		return ret;
	family = p->family;
	ret = family == 4 ? outer_ipv4(skb, p, backend) : outer_ipv6(skb, p, backend);
	if (ret < 0)
		return ret;
	addr_copy(&p->saddr, family == 4 ? &config.node_ipv4 : &config.node_ipv6);
	addr_copy(&p->daddr, backend);
	p->proto = family == 4 ? IPPROTO_IPIP : IPPROTO_IPV6;
	p->l4_offset = ip_header_end(p);
	p->length = skb->len;
	p->sport = 0;
	p->dport = 0;
	p->flags = 0;
	p->ttl = 64;
	return 0;
}

/* Of the way to the backend; 0: no way is known. */
subprogram path_mtu(struct __sk_buff *skb, const struct packet *p, const struct addr *backend)
{
	struct bpf_fib_lookup fib;

	if (!p || !backend)
		return 0;
	if (overlay_towards(backend))
		return config.mtu;
	fib_params(skb, p, &fib);
	if (p->family == 4)
		fib.ipv4_dst = backend->words[3];
	else
		__builtin_memcpy(fib.ipv6_dst, backend, 16);
	/* More than fits: the MTU is told whether the next hop is known yet or not. */
	fib.tot_len = 0xffff;
	return bpf_fib_lookup(skb, &fib, sizeof(fib), 0) == BPF_FIB_LKUP_RET_FRAG_NEEDED ? fib.mtu_result : 0;
}

/*
 * What would not fit with what is added. 0: it goes on all the same, because it may be fragmented with the option, which fragments copy; else
 * the end of it. What is encapsulated may not be, so its sender is told even if it does not ask.
 */
static __always_inline int too_big(struct __sk_buff *skb, struct packet *p, __u32 mtu, bool encapsulates)
{
	__be16 fragment;

	if (p->family == 4 && !encapsulates) {
		if (bpf_skb_load_bytes(skb, ETH_HLEN_ + offsetof(struct iphdr, frag_off), &fragment, 2) < 0)
			return -DROP_INVALID;
		if (!(fragment & bpf_htons(0x4000)))
			return 0;
	}
	return p->flags & PACKET_NO_L4 ? -DROP_FRAG_NEEDED : answer_too_big(skb, p, mtu);
}

/* 0: `p` is on its way to the backend's node. Else the end of it: an answer to the client, or -DROP_*. */
global_subprogram to_dsr_backend(struct __sk_buff *skb, struct packet *p, struct ct_service_entry *flow)
{
	struct lb_revnat frontend = {};
	bool encapsulates, tells;
	__u32 overhead;
	int ret;

	if (!p || !flow)
		return -DROP_INVALID;
	if (p->flags & PACKET_RENEWED)
		flow->mtu = (__u32)path_mtu(skb, p, &flow->backend_address);
	encapsulates = dsr_encapsulates(flow);
	overhead = dsr_overhead(p, flow, encapsulates);
	if (flow->mtu && !skb->gso_size && p->length - ETH_HLEN_ + overhead > flow->mtu) {
		ret = too_big(skb, p, flow->mtu - overhead, encapsulates);
		if (ret)
			return ret;
	}
	if (encapsulates)
		return encapsulate(skb, p, &flow->backend_address);
	tells = dsr_tells(p, flow);
	addr_copy(&frontend.address, &p->daddr);
	frontend.port = p->dport;
	ret = rewrite(skb, p, DESTINATION, &flow->backend_address, flow->backend_port);
	if (ret < 0 || !tells)
		return ret;
	ret = p->family == 4 ? insert_option(skb, p, &frontend) : insert_extension(skb, p, &frontend);
	if (ret >= 0)
		flow->flags |= CT_DSR_TOLD;
	return ret;
}
