/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
/*
 * Where a packet leaves, found before anything in it is changed: what XDP cannot send (no neighbour yet, too big, a device that takes no frames
 * from XDP) goes to tc as it came.
 */
#include "where.h"
#include "xdp_rewrite.h"

struct hop {
	__u32 ifindex;
	__u32 exit; /* XDP_TX or XDP_REDIRECT */
	__u8 macs[12]; /* destination, source */
};

struct way {
	struct tuple to;    /* addresses and ports that the packet leaves with */
	struct addr tunnel; /* the node that takes it out of the overlay; zero: it leaves as it is */
	struct hop hop;
};

/* BPF_FIB_LKUP_RET_* of the node's routing table, negative on errors. `length`: from the IP header on, 0: of any length. */
subprogram xdp_fib(struct xdp_md *ctx, const struct tuple *t, __u8 proto, __u16 length, struct hop *hop)
{
	struct bpf_fib_lookup fib;
	int ret;

	if (!t || !hop)
		return -DROP_INVALID;
	__builtin_memset(&fib, 0, sizeof(fib));
	fib.ifindex = ctx->ingress_ifindex;
	fib.l4_protocol = proto;
	fib.sport = t->sport;
	fib.dport = t->dport;
	fib.tot_len = length;
	if (addr_is_v4(&t->daddr)) {
		fib.family = AF_INET;
		fib.ipv4_src = t->saddr.words[3];
		fib.ipv4_dst = t->daddr.words[3];
	} else {
		fib.family = AF_INET6;
		__builtin_memcpy(fib.ipv6_src, &t->saddr, 16);
		__builtin_memcpy(fib.ipv6_dst, &t->daddr, 16);
	}
	ret = bpf_fib_lookup(ctx, &fib, sizeof(fib), 0);
	hop->ifindex = fib.ifindex;
	__builtin_memcpy(hop->macs, fib.dmac, 6);
	__builtin_memcpy(hop->macs + 6, fib.smac, 6);
	return ret;
}

static __always_inline bool mac_equal(const __u8 *a, const __u8 *b)
{
	return !((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]) | (a[4] ^ b[4]) | (a[5] ^ b[5]));
}

/* Frames that a bridge floods are not for us, though we see them. */
static __always_inline bool is_for_device(struct xdp_md *ctx, const __u8 *mac)
{
	struct ethhdr *eth = xdp_data(ctx);

	return (void *)(eth + 1) <= xdp_end(ctx) && mac_equal(eth->h_dest, mac);
}

/* XDP_PASS: the device takes no frame from XDP, or this one is not for us. Else the verdict by which it leaves. */
static __always_inline int xdp_exit(struct xdp_md *ctx, const struct packet *p, const struct hop *hop, __u32 base)
{
	__u8 wanted = is_linear(ctx, p, base) ? NETDEV_XDP_XMIT : NETDEV_XDP_XMIT | NETDEV_XDP_XMIT_SG;
	struct netdev_entry *in = netdev_lookup(ctx->ingress_ifindex), *out;

	if (!in || !is_for_device(ctx, in->mac))
		return XDP_PASS;
	if (hop->ifindex == ctx->ingress_ifindex && (in->flags & NETDEV_XDP_TX))
		return XDP_TX;
	out = hop->ifindex == ctx->ingress_ifindex ? in : netdev_lookup(hop->ifindex);
	return out && (out->flags & wanted) == wanted ? XDP_REDIRECT : XDP_PASS;
}

static __always_inline int xdp_leave(struct xdp_md *ctx, const struct hop *hop)
{
	struct cursor c = cursor_of(ctx);
	struct ethhdr *eth = take(&c, sizeof(*eth));

	if (!eth)
		return -DROP_WRITE_ERROR;
	__builtin_memcpy(eth, hop->macs, sizeof(hop->macs));
	return hop->exit == XDP_TX ? XDP_TX : (int)bpf_redirect(hop->ifindex, 0);
}
