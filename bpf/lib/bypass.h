/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
/*
 * What the node itself sends to an address of services and no socket program has seen: SCTP, whose sockets have no hook, and processes outside
 * of the cgroup. The node's route to such an address leads out of a native device, so it is translated on the way out, past netfilter; its
 * answer is given the frontend back on the way in, before netfilter, which thus sees a flow with the service.
 */
#include "lb.h"
#include "policy.h"

/* Second bit of datapath_state.egress_tracked, whose first is any such flow. */
#define EGRESS_OF_HOST 2

static __always_inline void host_is_client(void)
{
	struct datapath_state *seen = state();

	if (seen && !(seen->egress_tracked & EGRESS_OF_HOST))
		seen->egress_tracked |= EGRESS_OF_HOST;
}

/* 0: translated. -DROP_NO_SERVICE: nothing is served there, or by nobody. */
subprogram balance_host(struct __sk_buff *skb, struct packet *p)
{
	struct ct_service_entry *to;
	struct lb_service *service;
	struct lb_key key;
	__u16 rev_nat_id;
	int ret;

	if (!p)
		return -DROP_INVALID;
	if (!lb_may_apply(p))
		return -DROP_NO_SERVICE;
	service = lb_inside(&key, lb_lookup(p, &key));
	if (!service)
		return -DROP_NO_SERVICE;
	rev_nat_id = service->rev_nat_id;
	to = lb_target(p, &key, service);
	if (!to)
		return -DROP_NO_SERVICE;
	ret = rewrite(skb, p, DESTINATION, &to->backend_address, to->backend_port);
	if (ret < 0)
		return ret;
	host_is_client();
	return p->flags & PACKET_RENEWED ? ct_create(p, CT_EGRESS, rev_nat_id, 0) : 0;
}

/* An answer to what balance_host() has sent; others stay as they are. */
static __always_inline int reverse_of_host(struct __sk_buff *skb, struct packet *p)
{
	struct datapath_state *seen = state();
	bool found = false;

	if (!seen || !(seen->egress_tracked & EGRESS_OF_HOST))
		return 0;
	if (p->flags & PACKET_ICMP_ERROR)
		return reverse_service_error(skb, p, CT_EGRESS);
	return reverse_service(skb, p, CT_EGRESS, &found);
}
