/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
/* What arrives at the node from a wire or the overlay, and is for a service, a pod, or a flow that we have translated. */
#include "bypass.h"
#include "dsr_take.h"

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

/* Where a packet to a service goes. */
struct target {
	struct ct_service_entry *flow; /* NULL: it is to no service */
	__u32 flags; /* enum lb_service_flags */
};

/*
 * TC_ACT_OK: *to says where the packet goes, when it is for a service at all. Else its end: refused, or a drop. `inside`: its sender belongs
 * to the cluster.
 */
static __always_inline int find_target(struct __sk_buff *skb, struct packet *p, struct target *to, bool inside)
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
	to->flags = service->flags;
	to->flow = lb_target(p, &key, service);
	return to->flow ? TC_ACT_OK : reject(skb, p);
}

/*
 * An error about a packet that a client got in the name of a frontend, as routers and the client send it: to the backend, which has really
 * sent it. Only the node that the client has reached knows which one.
 */
global_subprogram error_to_backend(struct __sk_buff *skb, struct packet *p, enum answered *found)
{
	struct ct_service_entry *flow;
	struct ct_key key;
	struct packet q;
	struct addr to;
	int ret;

	if (!p || !found)
		return -DROP_INVALID;
	if (parse_quoted(skb, p, &q) < 0)
		return 0;
	ct_reply_key_of(&q, &key, CT_SERVICE);
	flow = bpf_map_lookup_elem(&ct, &key);
	if (!flow)
		return 0;
	*found = ANSWERS_SERVICE;
	ret = rewrite_quoted(skb, p, &q, SOURCE, &flow->backend_address, flow->backend_port);
	if (ret >= 0 && flow->nat_port) {
		source_of(p->family, flow->nat_ifindex, &to);
		ret = rewrite_quoted(skb, p, &q, DESTINATION, &to, flow->nat_port);
	}
	return ret < 0 ? ret : rewrite(skb, p, DESTINATION, &flow->backend_address, 0);
}

/* A reply to a flow that left with our address: source NAT and service are undone. */
static __always_inline int undo_nat(struct __sk_buff *skb, struct packet *p, enum answered *found)
{
	int id;

	if (!(p->flags & PACKET_ICMP_ERROR))
		return reverse_snat(skb, p, found);
	id = reverse_snat_error(skb, p, found);
	if (id >= 0 && !*found)
		return error_to_backend(skb, p, found);
	return id <= 0 ? id : restore_error_frontend(skb, p, (__u32)id);
}

/* Straight to a pod. From outside the cluster it is remembered, so that the pod's replies are not masqueraded. */
static __always_inline int to_pod(struct __sk_buff *skb, struct packet *p, const struct endpoint_entry *ep, bool tracked)
{
	struct ct_entry *flow;
	bool found = false;
	int ret;

	if (p->flags & PACKET_ICMP_ERROR) {
		ret = reverse_service_error(skb, p, CT_EGRESS);
	} else {
		ret = reverse_service(skb, p, CT_EGRESS, &found);
		if (ret >= 0 && !tracked && !found && (p->flags & PACKET_HAS_PORTS) && !in_cluster(&p->saddr)) {
			flow = ct_lookup(p, CT_INGRESS, false);
			if (flow)
				dialled_itself(p, flow);
			else
				ret = ct_create(p, CT_INGRESS, 0, 0);
		}
	}
	return ret < 0 ? ret : to_endpoint(skb, p, ep, true);
}

/* Straight to the node itself: a client's packet, or an answer to one of its own. */
static __always_inline int to_host(struct __sk_buff *skb, struct packet *p)
{
	struct ct_entry *flow = NULL;
	int ret;

	if ((p->flags & PACKET_HAS_PORTS) && host_replies_are_tracked())
		flow = ct_find(p, CT_INGRESS, false);
	if (flow)
		dialled_itself(p, flow);
	ret = reverse_of_host(skb, p);
	return ret < 0 ? ret : to_stack(skb);
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

/* A flow of a service, to its backend: here, or where it has been sent to before. */
static __always_inline struct endpoint_entry *backend_here(const struct ct_service_entry *flow)
{
	return flow->nat_port || (flow->flags & CT_DSR) ? NULL : endpoint_lookup(&flow->backend_address);
}

/* To a backend elsewhere, and on to its node. */
static __always_inline int to_other_node(struct __sk_buff *skb, struct packet *p, const struct target *to, __u32 identity)
{
	int ret;

	if (dsr_flow(p, to->flow, to->flags))
		ret = to_dsr_backend(skb, p, to->flow);
	else
		ret = to_remote_backend(skb, p, to->flow);
	if (ret == -DROP_TTL_EXCEEDED)
		return to_stack(skb);
	return ret ? ret : pass_on(skb, p, identity);
}

/* To an endpoint of this node, if it may. `served`: through a service. `tracked`: as an answer. */
static __always_inline int to_own(struct __sk_buff *skb, struct packet *p, struct endpoint_entry *ep, __u32 identity, bool served, bool tracked)
{
	int ret = may_enter(skb, p, ep, identity);

	if (ret < 0)
		return ret;
	if (p->flags & PACKET_DELEGATED)
		return to_stack(skb);
	if (!(ep->flags & ENDPOINT_HOST))
		return served ? to_endpoint(skb, p, ep, true) : to_pod(skb, p, ep, tracked);
	if (!served)
		return to_host(skb, p);
	host_is_backend();
	return to_stack(skb);
}

/* TC_ACT_UNSPEC: none of ours, the stack's business. `identity` of the sender, 0: not known yet. */
static __always_inline int arrive(struct __sk_buff *skb, struct packet *p, __u32 identity)
{
	enum answered found = ANSWERS_NOTHING;
	struct endpoint_entry *ep;
	struct target to = {};
	int taken = take_dsr(skb, p);
	int ret = taken ? taken : undo_nat(skb, p, &found);

	if (ret < 0)
		return ret;
	if (found == ANSWERS_CLIENT)
		return pass_on(skb, p, identity);
	if (!taken && !found && lb_may_apply(p)) {
		ret = find_target(skb, p, &to, false);
		if (ret != TC_ACT_OK)
			return ret;
	}
	ep = to.flow ? backend_here(to.flow) : endpoint_lookup(&p->daddr);
	if (!ep && to.flow)
		return to_other_node(skb, p, &to, identity);
	if (!ep && found == ANSWERS_SERVICE)
		return pass_on(skb, p, identity);
	if (!ep)
		return is_unserved(&p->daddr) ? -DROP_NO_SERVICE : TC_ACT_UNSPEC;
	if (to.flow && !(p->flags & PACKET_DELEGATED)) {
		ret = to_local_backend(skb, p, to.flow);
		if (ret < 0)
			return ret;
	}
	return to_own(skb, p, ep, identity, to.flow || taken, found);
}
