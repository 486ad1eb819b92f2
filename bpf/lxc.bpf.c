// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* On every endpoint's device: one program set per node; what differs between endpoints is in the endpoints map. */
#include "lib/bypass.h"
#include "lib/dsr_take.h"
#include "lib/neighbour.h"
#include "lib/skip.h"

/* By the sender's policy and, when the receiver is of this node, by the receiver's. */
static __always_inline int may_pass(struct __sk_buff *skb, struct packet *p, struct endpoint_entry *from, struct endpoint_entry *to)
{
	int ret = 0;

	if (policed(from))
		ret = enforce(skb, p, from, peer_of(to, &p->daddr), POLICY_EGRESS);
	if (ret >= 0 && policed(to))
		ret = enforce(skb, p, to, from->identity, POLICY_INGRESS);
	return ret;
}

/* Delivery to an endpoint of this node: restores the frontend of what was translated at tc for it, then hands over. */
static __always_inline int deliver(struct __sk_buff *skb, struct packet *p, struct endpoint_entry *from, struct endpoint_entry *to)
{
	bool found = false;
	int ret = may_pass(skb, p, from, to);

	if (ret < 0)
		return ret;
	if (p->flags & PACKET_ICMP_ERROR)
		ret = reverse_service_error(skb, p, CT_EGRESS);
	else
		ret = reverse_service(skb, p, CT_EGRESS, &found);
	return ret < 0 ? ret : to_endpoint(skb, p, to, true);
}

/* The pod dials itself: it must not see its own address as the client's, or it would answer itself past us. */
static __always_inline int hairpin(struct __sk_buff *skb, struct packet *p, __u16 rev_nat_id)
{
	struct addr source;
	int ret;

	addr_copy(&source, p->family == 4 ? &config.hairpin_ipv4 : &config.hairpin_ipv6);
	ret = rewrite(skb, p, SOURCE, &source, p->sport);
	return ret < 0 ? ret : ct_create(p, CT_EGRESS, rev_nat_id, CT_LOOPBACK);
}

/* Of a pod that the frontend's redirect does not apply to: as it is without the redirect. */
static __always_inline struct lb_service *past_redirect(const struct packet *p, struct lb_key *key, struct lb_service *service)
{
	struct lb_skip_key client = {};
	struct endpoint_entry *from;

	if (!service || !(service->flags & LB_SVC_LOCAL_REDIRECT))
		return service;
	from = endpoint_lookup(&p->saddr);
	if (from)
		client.endpoint_id = from->id;
	return lb_past_redirect(key, service, &client);
}

/*
 * TC_ACT_UNSPEC: no service. BALANCED: translated, and the caller sends it on, because a call from here would be one frame too deep for
 * the 512 bytes of stack.
 */
#define BALANCED 100

subprogram balance(struct __sk_buff *skb, struct packet *p)
{
	struct lb_service *service;
	struct ct_service_entry *to;
	struct lb_key key;
	__u16 rev_nat_id;
	bool itself;
	int ret;

	if (!p)
		return -DROP_INVALID;
	service = past_redirect(p, &key, lb_inside(&key, lb_lookup(p, &key)));
	if (!service)
		return TC_ACT_UNSPEC;
	rev_nat_id = service->rev_nat_id;
	to = lb_target(p, &key, service);
	if (!to)
		return reject(skb, p);
	itself = addr_equal(&p->saddr, &to->backend_address);
	ret = rewrite(skb, p, DESTINATION, &to->backend_address, to->backend_port);
	if (ret >= 0 && itself)
		ret = hairpin(skb, p, rev_nat_id);
	else if (ret >= 0 && (p->flags & PACKET_RENEWED))
		ret = ct_create(p, CT_EGRESS, rev_nat_id, 0);
	return ret < 0 ? ret : BALANCED;
}

/* The pod answers itself: both addresses go back to what the client side knows. */
static __always_inline int hairpin_reply(struct __sk_buff *skb, struct packet *p, const struct endpoint_entry *ep)
{
	struct addr self;
	bool found = false;
	int ret;

	addr_copy(&self, &p->saddr);
	ret = reverse_service(skb, p, CT_EGRESS, &found);
	if (ret < 0 || !found)
		return ret < 0 ? ret : -DROP_UNKNOWN_TARGET;
	ret = rewrite(skb, p, DESTINATION, &self, p->dport);
	return ret < 0 ? ret : to_endpoint(skb, p, ep, true);
}

/* The entry of the flow that the packet answers, which came in by the node. */
static __always_inline struct ct_entry *answered_flow(const struct packet *p)
{
	if (!(p->flags & PACKET_HAS_PORTS) || !tracks(CT_INGRESS))
		return NULL;
	return ct_find(p, CT_INGRESS, true);
}

/* As whoever began the flow knows it: the frontend is the source, also in errors. */
static __always_inline int as_the_client_knows(struct __sk_buff *skb, struct packet *p, struct ct_entry *flow)
{
	if (p->flags & PACKET_ICMP_ERROR)
		return reverse_service_error(skb, p, CT_INGRESS);
	if (!flow)
		return 0;
	ct_touch(flow, p, true);
	skb->mark = MARK_DONE;
	return restore_frontend(skb, p, flow);
}

/* Past this node's endpoints: services, replies of flows that came from outside, the node itself, the network. */
static __always_inline int leave(struct __sk_buff *skb, struct packet *p, struct endpoint_entry *ep)
{
	struct endpoint_entry *to;
	struct ct_entry *flow;
	bool balanced;
	int ret = TC_ACT_UNSPEC;

	if (addr_equal(&p->daddr, &config.hairpin_ipv4) || addr_equal(&p->daddr, &config.hairpin_ipv6))
		return hairpin_reply(skb, p, ep);
	flow = answered_flow(p);
	if (!flow && lb_may_apply(p)) {
		ret = balance(skb, p);
		if (ret != TC_ACT_UNSPEC && ret != BALANCED)
			return ret;
	}
	balanced = ret == BALANCED;
	to = endpoint_lookup(&p->daddr);
	if (!flow && !balanced && !to && is_unserved(&p->daddr))
		return -DROP_NO_SERVICE;
	/* To itself through a service: policy is about others. */
	ret = to && to->ifindex == skb->ifindex ? 0 : may_pass(skb, p, ep, to);
	if (ret < 0)
		return ret;
	if (to && !(to->flags & ENDPOINT_HOST))
		return to_endpoint(skb, p, to, true);
	if (!balanced)
		ret = as_the_client_knows(skb, p, flow);
	if (ret >= 0 && to && !balanced && !flow)
		ret = reverse_of_host(skb, p);
	if (ret < 0)
		return ret;
	if (is_overlay_packet(p) && (to || is_node(&p->daddr)))
		return -DROP_FORGED_OVERLAY;
	return to ? to_stack(skb) : to_remote(skb, p, ep->identity);
}

/* Neighbour discovery is answered; what else a pod multicasts ends here. */
static __always_inline int multicast(struct __sk_buff *skb, struct packet *p, const struct endpoint_entry *ep)
{
	if (p->proto == IPPROTO_ICMPV6 && p->icmp_type == 135 && ep)
		return answer_solicitation(skb, p, ep);
	return TC_ACT_SHOT;
}

static __always_inline int check_source(struct __sk_buff *skb, const struct endpoint_entry *ep)
{
	const struct ethhdr *eth;
	struct ethhdr copy;

	if (!ep || ep->ifindex != skb->ifindex)
		return -DROP_INVALID_SIP;
	eth = header_at(skb, 0, &copy, sizeof(copy));
	if (!eth)
		return -DROP_INVALID;
#pragma unroll
	for (int i = 0; i < 6; i++)
		if (eth->h_source[i] != ep->mac[i])
			return -DROP_INVALID_SMAC;
	return 0;
}

static __always_inline int handle(struct __sk_buff *skb, __u32 *identity)
{
	struct endpoint_entry *ep, *to;
	struct packet p;
	int ret;

	if (skb->protocol == bpf_htons(ETH_P_ARP))
		return answer_arp(skb);
	ret = parse(skb, &p);
	if (ret < 0)
		return ret;
	ep = endpoint_lookup(&p.saddr);
	if (p.proto == IPPROTO_ICMPV6 && p.icmp_type == 135 && ep && ep->ifindex == skb->ifindex)
		return answer_solicitation(skb, &p, ep);
	if (addr_is_local_scope(&p.saddr) || (addr_is_local_scope(&p.daddr) && !addr_equal(&p.daddr, &config.hairpin_ipv6)))
		return multicast(skb, &p, ep);
	ret = check_source(skb, ep);
	if (ret < 0)
		return ret;
	*identity = ep->identity;
	/* Only nodes may say what a client has dialled. */
	if ((config.flags & CONFIG_DSR) && has_options(&p) && carries_option(skb, &p))
		return -DROP_INVALID;
	to = endpoint_lookup(&p.daddr);
	if (to && !(to->flags & ENDPOINT_HOST))
		return deliver(skb, &p, ep, to);
	return leave(skb, &p, ep);
}

SEC("tc")
int from_container(struct __sk_buff *skb)
{
	__u32 identity = IDENTITY_UNKNOWN;
	int ret = handle(skb, &identity);

	return finish(skb, ret, METRIC_EGRESS, FROM_CONTAINER, identity);
}
