/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
/* What arrives at the node from a wire or the overlay, and is for a service, a pod, or a flow that we have translated. */
#include "bypass.h"

/* The source that packets to `address` get when they leave this node on behalf of somebody else. */
static __always_inline int snat_source(struct __sk_buff *skb, const struct packet *p, const struct ipcache_entry *to, struct addr *source)
{
	struct bpf_fib_lookup fib;
	struct netdev_entry *device;
	struct netdev_key key;

	addr_copy(source, p->family == 4 ? &config.node_ipv4 : &config.node_ipv6);
	if (goes_by_overlay(to))
		return 0;
	fib_params(skb, p, &fib);
	fib.tot_len = 0; /* of any length: what is too big would be answered with no device, and each flow keeps one source */
	if (bpf_fib_lookup(skb, &fib, sizeof(fib), 0) < 0)
		return 0;
	key.ifindex = fib.ifindex;
	device = bpf_map_lookup_elem(&netdevs, &key);
	if (!device)
		return 0;
	if (p->family == 4 && !addr_is_zero(&device->ipv4))
		addr_copy(source, &device->ipv4);
	if (p->family == 6 && !addr_is_zero(&device->ipv6))
		addr_copy(source, &device->ipv6);
	return 0;
}

/* To a backend that is not of this node: its answer must come back here, so the client's address is replaced. */
subprogram to_remote_backend(struct __sk_buff *skb, struct packet *p, __u32 identity)
{
	struct ipcache_entry *to;
	struct addr source;
	int ret;

	if (!p)
		return -DROP_INVALID;
	to = ipcache_lookup(&p->daddr);
	snat_source(skb, p, to, &source);
	ret = snat(skb, p, &source);
	return ret < 0 ? ret : to_remote(skb, p, identity);
}

/* The node itself serves (a pod in the host's network): from now on what it sends may be a reply that needs its frontend back. */
static __always_inline void host_is_backend(void)
{
	struct datapath_state *seen = state();

	if (seen && !(seen->ingress_tracked & INGRESS_TO_HOST))
		seen->ingress_tracked |= INGRESS_TO_HOST;
}

static __always_inline bool host_replies_are_tracked(void)
{
	struct datapath_state *seen = state();

	return seen && (seen->ingress_tracked & INGRESS_TO_HOST);
}

/* What the node's own stack sends, as the client knows it: the frontend is the source, also in errors. */
static __always_inline int reverse_host_service(struct __sk_buff *skb, struct packet *p)
{
	bool found = false;

	if (!host_replies_are_tracked())
		return 0;
	if (p->flags & PACKET_ICMP_ERROR)
		return reverse_service_error(skb, p, CT_INGRESS);
	return reverse_service(skb, p, CT_INGRESS, &found);
}

/*
 * TC_ACT_UNSPEC: no service. NODE_PORT_REMOTE, NODE_PORT_LOCAL: translated, and the backend is elsewhere or here; the caller goes on
 * with that, because a call from here would be one frame too deep for the 512 bytes of stack.
 */
#define NODE_PORT_REMOTE 100
#define NODE_PORT_LOCAL 101

subprogram node_port(struct __sk_buff *skb, struct packet *p)
{
	struct lb_service *service;
	struct endpoint_entry *local;
	struct ct_service_entry *to;
	struct lb_key key;
	__u16 rev_nat_id;
	int ret;

	if (!p)
		return -DROP_INVALID;
	service = lb_lookup(p, &key);
	if (!service)
		return TC_ACT_UNSPEC;
	if (!(service->flags & LB_SVC_ROUTABLE) && !(config.flags & CONFIG_EXTERNAL_CLUSTER_IP))
		return -DROP_NO_SERVICE;
	rev_nat_id = service->rev_nat_id;
	if ((service->flags & LB_SVC_SOURCE_RANGE) && !source_allowed(p, rev_nat_id, service->flags))
		return -DROP_NOT_IN_SOURCE_RANGE;
	to = lb_target(p, &key, service);
	if (!to)
		return reject(skb, p);
	ret = rewrite(skb, p, DESTINATION, &to->backend_address, to->backend_port);
	if (ret >= 0)
		ret = ct_create(skb, p, CT_INGRESS, rev_nat_id, CT_NODE_PORT);
	if (ret < 0)
		return ret;
	local = endpoint_lookup(&p->daddr);
	if (!local)
		return NODE_PORT_REMOTE;
	if (local->flags & ENDPOINT_HOST)
		host_is_backend();
	return NODE_PORT_LOCAL;
}

/* A reply to a flow that left with our address: first the source NAT is undone, then the service. */
static __always_inline int undo_nat(struct __sk_buff *skb, struct packet *p, bool *found)
{
	bool tracked = false;
	int ret;

	if (p->flags & PACKET_ICMP_ERROR) {
		ret = reverse_snat_error(skb, p, found);
		return ret < 0 || !*found ? ret : reverse_service_error(skb, p, CT_INGRESS);
	}
	ret = reverse_snat(skb, p, found);
	return ret < 0 || !*found ? ret : reverse_service(skb, p, CT_INGRESS, &tracked);
}

/* Straight to a pod. From outside the cluster it is remembered, so that the pod's replies are not masqueraded. */
static __always_inline int to_pod(struct __sk_buff *skb, struct packet *p, const struct endpoint_entry *ep, bool tracked)
{
	bool found = false;
	int ret;

	if (p->flags & PACKET_ICMP_ERROR) {
		ret = reverse_service_error(skb, p, CT_EGRESS);
	} else {
		ret = reverse_service(skb, p, CT_EGRESS, &found);
		if (ret >= 0 && !tracked && !found && (p->flags & PACKET_HAS_PORTS) && !in_cluster(&p->saddr) &&
		    !ct_lookup(skb, p, CT_INGRESS, false))
			ret = ct_create(skb, p, CT_INGRESS, 0, 0);
	}
	return ret < 0 ? ret : to_endpoint(skb, p, ep, true);
}

/* Judged by the policy of whoever gets it. `identity` 0: that of the source address. */
static __always_inline int may_enter(struct __sk_buff *skb, struct packet *p, struct endpoint_entry *ep, __u32 identity)
{
	if (!policed(ep))
		return 0;
	return enforce(skb, p, ep, identity ? identity : identity_of(&p->saddr), POLICY_INGRESS);
}

/* TC_ACT_UNSPEC: none of ours, the stack's business. `identity` of the sender, 0: not known yet. */
static __always_inline int arrive(struct __sk_buff *skb, struct packet *p, __u32 identity)
{
	struct endpoint_entry *ep;
	bool found = false, served = false;
	int ret = undo_nat(skb, p, &found);

	if (ret < 0)
		return ret;
	if (!found && lb_may_apply(p)) {
		ret = node_port(skb, p);
		if (ret == NODE_PORT_REMOTE)
			return to_remote_backend(skb, p, identity ? identity : IDENTITY_WORLD);
		served = ret == NODE_PORT_LOCAL;
		if (!served && ret != TC_ACT_UNSPEC)
			return ret;
	}
	ep = endpoint_lookup(&p->daddr);
	if (!ep && found)
		return to_remote(skb, p, identity ? identity : IDENTITY_WORLD);
	if (!ep)
		return is_unserved(&p->daddr) ? -DROP_NO_SERVICE : TC_ACT_UNSPEC;
	ret = may_enter(skb, p, ep, identity);
	if (ret < 0)
		return ret;
	if (ep->flags & ENDPOINT_HOST) {
		ret = reverse_of_host(skb, p);
		return ret < 0 ? ret : to_stack(skb);
	}
	return served ? to_endpoint(skb, p, ep, true) : to_pod(skb, p, ep, found);
}
