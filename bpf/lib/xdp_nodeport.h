/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
/*
 * Services at XDP: what comes from outside for a backend elsewhere, and the backend's answers. The entries are those of tc, so that either may
 * handle any packet of a flow. Whatever is left to tc is left as it came, and in no state that tc would not have made.
 */
#include "lb.h"
#include "nat.h"
#include "xdp_overlay.h"
#include "xdp_seen.h"

/* False: tc's. `base`: where the packet's Ethernet header is. */
static __always_inline bool xdp_find_way(struct xdp_md *ctx, struct packet *p, struct way *way, __u32 base)
{
	struct ipcache_entry *entry = overlay_towards(&way->to.daddr);
	__u32 length = p->length - ETH_HLEN_;
	struct tuple outer;
	int ret;

	__builtin_memset(&way->tunnel, 0, sizeof(way->tunnel));
	if (entry) {
		addr_copy(&way->tunnel, &entry->tunnel_endpoint);
		overlay_tuple(way, &outer);
		length += overlay_size(addr_is_v4(&way->tunnel)); /* less the outer Ethernet header, and with the inner one */
	}
	if (length > 0xffff)
		return false;
	ret = entry ? xdp_fib(ctx, &outer, IPPROTO_UDP, (__u16)length, &way->hop) :
		      xdp_fib(ctx, &way->to, p->proto, (__u16)length, &way->hop);
	if (ret != BPF_FIB_LKUP_RET_SUCCESS || !xdp_may_rewrite(ctx, p, base))
		return false;
	way->hop.exit = (__u32)xdp_exit(ctx, p, &way->hop, base);
	return way->hop.exit != XDP_PASS;
}

/* As device_towards() of tc. */
subprogram xdp_device_towards(struct xdp_md *ctx, const struct packet *p, const struct addr *backend)
{
	struct tuple t;
	struct hop hop;

	if (!p || !backend || overlay_towards(backend))
		return 0;
	tuple_of(p, &t);
	addr_copy(&t.daddr, backend);
	return xdp_fib(ctx, &t, p->proto, 0, &hop) < 0 ? 0 : (int)hop.ifindex;
}

static __always_inline int xdp_encapsulate(struct xdp_md *ctx, struct packet *p, const struct way *way)
{
	__u32 size = overlay_size(addr_is_v4(&way->tunnel));
	int ret;

	if (bpf_xdp_adjust_head(ctx, -(int)size))
		return XDP_PASS;
	ret = xdp_rewrite(ctx, p, &way->to, size);
	if (ret >= 0) {
		struct cursor c = cursor_of(ctx);

		ret = write_overlay(&c, p, way);
	}
	return ret < 0 ? ret : xdp_leave(ctx, &way->hop);
}

/* As to_remote_backend() and to_remote() of tc. */
subprogram xdp_to_backend(struct xdp_md *ctx, struct packet *p, struct ct_service_entry *flow)
{
	struct way way;
	int ret;

	if (!p || !flow)
		return -DROP_INVALID;
	if (!flow->nat_port)
		flow->nat_ifindex = (__u32)xdp_device_towards(ctx, p, &flow->backend_address);
	tuple_of(p, &way.to);
	flow_source(p, flow, &way.to.saddr);
	addr_copy(&way.to.daddr, &flow->backend_address);
	way.to.dport = flow->backend_port;
	ret = nat_service(p, flow, &way.to);
	if (ret < 0)
		return ret;
	if (!xdp_find_way(ctx, p, &way, 0))
		return XDP_PASS;
	if (!addr_is_zero(&way.tunnel))
		return xdp_encapsulate(ctx, p, &way);
	ret = xdp_rewrite(ctx, p, &way.to, 0);
	return ret < 0 ? ret : xdp_leave(ctx, &way.hop);
}

/*
 * The entry of a flow to a backend elsewhere. NULL: tc's, or a drop in *verdict. A flow to a backend of this node has no port of its own, and
 * is tc's before its lifetime is touched; one that begins here finds its backend remembered, to be renewed at once.
 */
static __always_inline struct ct_service_entry *xdp_target(struct packet *p, struct lb_key *key, struct lb_service *service, int *verdict)
{
	struct ct_service_entry *entry;
	struct ct_key flow;

	ct_key_of(p, &flow, CT_SERVICE);
	entry = bpf_map_lookup_elem(&ct, &flow);
	if (entry && entry->rev_nat_id == service->rev_nat_id) {
		if (!entry->nat_port)
			return NULL;
		if (keeps_target(p, entry, service)) {
			renew_service_flow(p, entry);
			return entry;
		}
	}
	if (!begin_service_flow(p, &flow, key, service)) {
		if (config.flags & CONFIG_NO_BACKEND_DROP)
			*verdict = -DROP_NO_SERVICE;
		return NULL;
	}
	entry = bpf_map_lookup_elem(&ct, &flow);
	if (!entry || !endpoint_lookup(&entry->backend_address))
		return entry;
	entry->expires = 0;
	return NULL;
}

/* Pods that another CNI has wired come in by the same devices, and have services as the inside has them. */
static __always_inline bool is_of_node(const struct addr *client)
{
	return (config.flags & CONFIG_SERVICE_ONLY) && endpoint_lookup(client);
}

/* Outsiders have nobody but backends of this node; or the backend's node answers itself; or somebody else is asked before the backends. */
#define LB_SVC_TC_ALONE \
	(LB_SVC_EXT_LOCAL_SCOPE | LB_SVC_HOST_PORT | LB_SVC_DSR | LB_SVC_DELEGATED | LB_SVC_LOCAL_REDIRECT)

/* As find_target() of tc. */
static __always_inline int xdp_service(struct xdp_md *ctx, struct packet *p)
{
	struct ct_service_entry *flow;
	struct lb_service *service;
	struct lb_key key;
	int verdict;

	service = lb_lookup(p, &key);
	if (!service)
		return XDP_PASS;
	if (is_of_node(&p->saddr))
		return XDP_PASS;
	verdict = may_dial(p, service);
	if (verdict < 0)
		return verdict;
	verdict = XDP_PASS;
	if ((service->flags & LB_SVC_TC_ALONE) || p->ttl <= 1)
		return XDP_PASS;
	flow = xdp_target(p, &key, service, &verdict);
	return flow ? xdp_to_backend(ctx, p, flow) : verdict;
}

/* The entry of a service's flow that the packet answers. Not prolonged. */
static __always_inline struct nat_entry *xdp_service_reply(const struct packet *p)
{
	struct nat_key key;
	struct nat_entry *entry = nat_find_reply(p, &key);

	return entry && entry->rev_nat_id ? entry : NULL;
}

/* As reverse_snat() and to_remote() of tc. `base`: size of the overlay's headers, which come off. */
subprogram xdp_to_client(struct xdp_md *ctx, struct packet *p, struct nat_entry *entry, __u32 base)
{
	struct lb_revnat *frontend;
	struct way way;
	__u16 id;
	int ret;

	if (!p || !entry || p->ttl <= 1)
		return XDP_PASS;
	base &= 0x7f;
	id = entry->rev_nat_id;
	frontend = bpf_map_lookup_elem(&lb_revnat, &id);
	if (!frontend)
		return XDP_PASS;
	addr_copy(&way.to.saddr, &frontend->address);
	way.to.sport = frontend->port;
	addr_copy(&way.to.daddr, &entry->to_address);
	way.to.dport = entry->to_port;
	if (!xdp_find_way(ctx, p, &way, base) || !addr_is_zero(&way.tunnel))
		return XDP_PASS;
	nat_touch(entry, p, closing_flags(p, true, entry->flags));
	ret = xdp_rewrite(ctx, p, &way.to, base);
	if (ret < 0)
		return ret;
	if (base && bpf_xdp_adjust_head(ctx, (int)base))
		return -DROP_INVALID;
	return xdp_leave(ctx, &way.hop);
}

/* What other nodes send by the overlay is tc's, except answers to flows that we have sent there. */
static __always_inline int xdp_from_overlay(struct xdp_md *ctx, struct cursor *c, const struct packet *outer)
{
	__u32 base = overlay_size(outer->family == 4);
	struct nat_entry *entry;
	struct packet p;

	if (!parse_overlay(c, &p) || base + p.length > outer->length)
		return XDP_PASS;
	if (!addr_equal(&p.daddr, p.family == 4 ? &config.node_ipv4 : &config.node_ipv6))
		return XDP_PASS;
	entry = xdp_service_reply(&p);
	if (!entry || is_congested(ctx, outer) || !is_node(&outer->saddr))
		return XDP_PASS;
	return xdp_to_client(ctx, &p, entry, base);
}

static __always_inline int xdp_arrive(struct xdp_md *ctx, struct packet *p)
{
	struct nat_entry *entry = xdp_service_reply(p);

	return entry ? xdp_to_client(ctx, p, entry, 0) : xdp_service(ctx, p);
}
