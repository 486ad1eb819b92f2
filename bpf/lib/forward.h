/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
/* Where a packet goes: to an endpoint of this node, into the overlay, out of a device, or up the stack. */
#include "translate.h"
#include "where.h"

/* For to_netdev, on packets that programs send out of a native device: on behalf of others; with nothing left to be done. */
#define MARK_FORWARDED 0x0c110000
#define MARK_DONE 0x0c120000

/* Up the node's own stack, as if it had been sent to the device's own MAC. */
static __always_inline int to_stack(struct __sk_buff *skb)
{
	if (skb->pkt_type != PACKET_HOST)
		bpf_skb_change_type(skb, PACKET_HOST);
	return TC_ACT_OK;
}

/*
 * Into a pod of this node. `peer`: from a tc ingress hook straight into the pod's namespace; else through the egress of the
 * lxc device.
 */
static __always_inline int to_endpoint(struct __sk_buff *skb, struct packet *p, const struct endpoint_entry *ep, bool peer)
{
	__u32 ifindex = ep->ifindex;
	int ret = decrease_ttl(skb, p);

	if (ret == -DROP_TTL_EXCEEDED && peer)
		return to_stack(skb);
	if (ret < 0)
		return ret;
	ret = set_macs(skb, ep->mac, ep->node_mac);
	if (ret < 0)
		return ret;
	return peer ? (int)bpf_redirect_peer(ifindex, 0) : (int)bpf_redirect(ifindex, 0);
}

static __always_inline int to_overlay(struct __sk_buff *skb, const struct ipcache_entry *to, __u32 identity)
{
	/* Identities of this node's own numbering (address blocks) mean nothing elsewhere. */
	bool local = identity >= 0x01000000 || identity == IDENTITY_WORLD_IPV4 || identity == IDENTITY_WORLD_IPV6;
	struct bpf_tunnel_key key = { .tunnel_id = local ? IDENTITY_WORLD : identity, .tunnel_ttl = 64 };
	__u64 flags = BPF_F_ZERO_CSUM_TX;

	if (!to->tunnel_endpoint.words[0] && !to->tunnel_endpoint.words[1]) {
		key.remote_ipv4 = bpf_ntohl(to->tunnel_endpoint.words[3]);
	} else {
		__builtin_memcpy(key.remote_ipv6, &to->tunnel_endpoint, 16);
		flags = BPF_F_TUNINFO_IPV6;
	}
	if (bpf_skb_set_tunnel_key(skb, &key, sizeof(key), flags) < 0)
		return -DROP_NO_TUNNEL_KEY;
	return bpf_redirect(config.overlay_ifindex, 0);
}

static __always_inline void fib_params(struct __sk_buff *skb, const struct packet *p, struct bpf_fib_lookup *fib)
{
	__builtin_memset(fib, 0, sizeof(*fib));
	fib->ifindex = skb->ingress_ifindex ? skb->ingress_ifindex : skb->ifindex;
	fib->l4_protocol = p->proto;
	fib->sport = p->sport;
	fib->dport = p->dport;
	/* GSO packets are split by whoever sends them on: only single ones are held against the route's MTU. */
	fib->tot_len = skb->gso_size ? 0 : skb->len - ETH_HLEN_;
	if (p->family == 4) {
		fib->family = AF_INET;
		fib->ipv4_src = p->saddr.words[3];
		fib->ipv4_dst = p->daddr.words[3];
	} else {
		fib->family = AF_INET6;
		__builtin_memcpy(fib->ipv6_src, &p->saddr, 16);
		__builtin_memcpy(fib->ipv6_dst, &p->daddr, 16);
	}
}

/* By the node's routing table, past its netfilter. What the table cannot do alone (no route, too big) the stack answers. */
subprogram to_network(struct __sk_buff *skb, struct packet *p)
{
	struct bpf_fib_lookup fib;
	int found;
	int ret;

	if (!p)
		return -DROP_INVALID;
	fib_params(skb, p, &fib);
	found = bpf_fib_lookup(skb, &fib, sizeof(fib), 0);
	if (found != BPF_FIB_LKUP_RET_SUCCESS && found != BPF_FIB_LKUP_RET_NO_NEIGH)
		return found == BPF_FIB_LKUP_RET_UNREACHABLE || found == BPF_FIB_LKUP_RET_BLACKHOLE ? -DROP_UNROUTABLE : to_stack(skb);
	if (fib.ifindex == config.host_ifindex)
		return -DROP_UNROUTABLE; /* an address of our own CIDR that nobody has */
	ret = decrease_ttl(skb, p);
	if (ret == -DROP_TTL_EXCEEDED)
		return to_stack(skb);
	if (ret < 0)
		return ret;
	/* What is sent on is not the host's own, even with its address as source. */
	if ((config.flags & CONFIG_HOST_FIREWALL) && skb->mark != MARK_DONE)
		skb->mark = MARK_FORWARDED;
	if (found == BPF_FIB_LKUP_RET_NO_NEIGH)
		return bpf_redirect_neigh(fib.ifindex, NULL, 0, 0);
	ret = set_macs(skb, fib.dmac, fib.smac);
	return ret < 0 ? ret : (int)bpf_redirect(fib.ifindex, 0);
}

/* To whoever has the destination, if it is not of this node. */
static __always_inline int to_remote(struct __sk_buff *skb, struct packet *p, __u32 identity)
{
	struct ipcache_entry *to = overlay_towards(&p->daddr);
	int ret;

	if (!to)
		return to_network(skb, p);
	ret = decrease_ttl(skb, p);
	if (ret == -DROP_TTL_EXCEEDED)
		return to_stack(skb);
	return ret < 0 ? ret : to_overlay(skb, to, identity);
}
