/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
/* What arrives at the node from a wire or the overlay, and is for a service, a pod, or a flow that we have translated. */
#include "bypass.h"

/* The device by which packets to the backend leave; 0: the overlay, or none. */
subprogram device_towards(struct __sk_buff *skb, const struct packet *p, const struct addr *backend)
{
	struct bpf_fib_lookup fib;

	if (!p || !backend)
		return 0;
	if (overlay_towards(backend))
		return 0;
	fib_params(skb, p, &fib);
	if (p->family == 4)
		fib.ipv4_dst = backend->words[3];
	else
		__builtin_memcpy(fib.ipv6_dst, backend, 16);
	fib.tot_len = 0; /* of any length: what is too big would be answered with no device, and each flow keeps one source */
	return bpf_fib_lookup(skb, &fib, sizeof(fib), 0) < 0 ? 0 : (int)fib.ifindex;
}

/* To a backend that is not of this node: its answer must come back here, so the client's address is replaced. */
subprogram to_remote_backend(struct __sk_buff *skb, struct packet *p, struct ct_service_entry *flow)
{
	struct tuple to;
	int ret;

	if (!p || !flow)
		return -DROP_INVALID;
	tuple_of(p, &to);
	if (!flow->nat_port)
		flow->nat_ifindex = (__u32)device_towards(skb, p, &flow->backend_address);
	flow_source(p, flow, &to.saddr);
	addr_copy(&to.daddr, &flow->backend_address);
	to.dport = flow->backend_port;
	ret = nat_service(p, flow, &to);
	return ret < 0 ? ret : rewrite_tuple(skb, p, &to);
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

/* To a backend of this node, which sees the client; its reply will find the frontend by the CT_INGRESS entry. */
static __always_inline int to_local_backend(struct __sk_buff *skb, struct packet *p, struct ct_service_entry *flow)
{
	int ret = rewrite(skb, p, DESTINATION, &flow->backend_address, flow->backend_port);

	if (ret < 0 || !(p->flags & PACKET_RENEWED))
		return ret;
	return ct_create(p, CT_INGRESS, flow->rev_nat_id, CT_NODE_PORT);
}

/*
 * TC_ACT_OK: *flow says where the packet goes, when it is for a service at all. Else its end: refused, or a drop. `inside`: its sender belongs
 * to the cluster.
 */
static __always_inline int find_target(struct __sk_buff *skb, struct packet *p, struct ct_service_entry **flow, bool inside)
{
	struct lb_service *service;
	struct lb_key key;
	int ret = 0;

	service = lb_lookup(p, &key);
	if (inside)
		service = lb_inside(&key, service);
	if (!service)
		return TC_ACT_OK;
	if (!inside)
		ret = may_dial(p, service);
	if (ret < 0)
		return ret;
	if (service->flags & LB_SVC_DELEGATED)
		p->flags |= PACKET_DELEGATED;
	*flow = lb_target(p, &key, service);
	return *flow ? TC_ACT_OK : reject(skb, p);
}

/* A reply to a flow that left with our address: source NAT and service are undone. */
static __always_inline int undo_nat(struct __sk_buff *skb, struct packet *p, enum answered *found)
{
	int id;

	if (!(p->flags & PACKET_ICMP_ERROR))
		return reverse_snat(skb, p, found);
	id = reverse_snat_error(skb, p, found);
	return id <= 0 ? id : restore_error_frontend(skb, p, (__u32)id);
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
		    !ct_lookup(p, CT_INGRESS, false))
			ret = ct_create(p, CT_INGRESS, 0, 0);
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

/* To whoever dialled the service from outside of this node, or its backend there. Nothing is left for to_netdev to do. */
static __always_inline int pass_on(struct __sk_buff *skb, struct packet *p, __u32 identity)
{
	skb->mark = MARK_DONE;
	return to_remote(skb, p, identity ? identity : IDENTITY_WORLD);
}

/* A flow of a service, to its backend: here, or where its source has been translated to before. */
static __always_inline struct endpoint_entry *backend_here(const struct ct_service_entry *flow)
{
	return flow->nat_port ? NULL : endpoint_lookup(&flow->backend_address);
}

/* TC_ACT_UNSPEC: none of ours, the stack's business. `identity` of the sender, 0: not known yet. */
static __always_inline int arrive(struct __sk_buff *skb, struct packet *p, __u32 identity)
{
	enum answered found = ANSWERS_NOTHING;
	struct ct_service_entry *flow = NULL;
	struct endpoint_entry *ep;
	bool proxied;
	int ret = undo_nat(skb, p, &found);

	if (ret >= 0 && found == ANSWERS_CLIENT)
		return pass_on(skb, p, identity);
	if (ret >= 0 && !found && lb_may_apply(p))
		ret = find_target(skb, p, &flow, false);
	if (ret != TC_ACT_OK)
		return ret;
	ep = flow ? backend_here(flow) : endpoint_lookup(&p->daddr);
	proxied = ep && (p->flags & PACKET_DELEGATED);
	if (flow && !proxied)
		ret = ep ? to_local_backend(skb, p, flow) : to_remote_backend(skb, p, flow);
	if (ret < 0)
		return ret;
	if (!ep && flow)
		return pass_on(skb, p, identity);
	if (!ep)
		return is_unserved(&p->daddr) ? -DROP_NO_SERVICE : TC_ACT_UNSPEC;
	ret = may_enter(skb, p, ep, identity);
	if (ret < 0)
		return ret;
	if (proxied)
		return to_stack(skb);
	if ((ep->flags & ENDPOINT_HOST) && flow)
		host_is_backend();
	if (ep->flags & ENDPOINT_HOST) {
		ret = reverse_of_host(skb, p);
		return ret < 0 ? ret : to_stack(skb);
	}
	return flow ? to_endpoint(skb, p, ep, true) : to_pod(skb, p, ep, found);
}
