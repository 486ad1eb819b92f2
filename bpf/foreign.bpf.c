// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Services alone (--service-only), in place of from_netdev and to_netdev: pods belong to another CNI, and reach each other by the node's own routes. A flow is translated where
 * it comes in, before the node's netfilter, and its answers get the frontend back where they go out, after it: what lies between, the other
 * CNI's policy too, sees client and backend as if the client had dialled that. Who has to come back here although no route says so (an
 * outsider's flow to another node, a pod to one behind the same bridge) gets this node's address and passes the stack by in both directions.
 */
#include "lib/nodeport.h"

/*
 * On with the translated packet, as if it had just come. What has been in a bridge may already be in netfilter's conntrack as it was before,
 * and forgets that when it comes in anew.
 */
static __always_inline int to_routing(struct __sk_buff *skb)
{
	__u32 ifindex = skb->ifindex;
	struct netdev_entry *device = netdev_lookup(ifindex);

	return device && (device->flags & NETDEV_BRIDGE) ? (int)bpf_redirect(ifindex, BPF_F_INGRESS) : to_stack(skb);
}

/*
 * An answer to what the node has dialled by packets. TC_ACT_UNSPEC: it is none. It goes in by the device that its request left by: there the
 * reverse path filter expects the frontend, and netfilter's conntrack has not seen it yet.
 */
subprogram answer_host(struct __sk_buff *skb, struct packet *p)
{
	struct netdev_entry *device;
	struct ct_entry *entry;
	__u32 ifindex;
	int ret;

	if (!p)
		return -DROP_INVALID;
	entry = ct_lookup(p, CT_EGRESS, true);
	if (!entry)
		return TC_ACT_UNSPEC;
	ifindex = entry->ifindex;
	ret = restore_frontend(skb, p, entry);
	device = netdev_lookup(ifindex);
	if (ret < 0 || !device)
		return ret < 0 ? ret : TC_ACT_UNSPEC;
	ret = set_macs(skb, device->mac, device->mac);
	return ret < 0 ? ret : (int)bpf_redirect(ifindex, BPF_F_INGRESS);
}

/* By the node's routing where answers come by here anyhow: of its own pods all do, except over the bridge that both are behind. */
static __always_inline int on_to_backend(struct __sk_buff *skb, struct packet *p, struct ct_service_entry *flow, bool inside)
{
	struct endpoint_entry *to = backend_here(flow);
	int ret;

	if (to && (p->flags & PACKET_DELEGATED))
		return to_stack(skb);
	if (inside ? device_towards(skb, p, &flow->backend_address) != (int)skb->ifindex : to != NULL) {
		ret = to_local_backend(skb, p, flow);
		return ret < 0 ? ret : to_routing(skb);
	}
	ret = to_remote_backend(skb, p, flow);
	return ret < 0 ? ret : pass_on(skb, p, IDENTITY_WORLD);
}

/* TC_ACT_UNSPEC and TC_ACT_OK: the node's stack has it, translated or not. */
static __always_inline int arrive_foreign(struct __sk_buff *skb, struct packet *p)
{
	enum answered found = ANSWERS_NOTHING;
	struct endpoint_entry *from;
	struct target to = {};
	bool inside = false;
	int ret = undo_nat(skb, p, &found);

	if (ret >= 0 && !found && lb_may_apply(p)) {
		from = endpoint_lookup(&p->saddr);
		inside = from && (from->flags & ENDPOINT_FOREIGN);
		ret = find_target(skb, p, &to, inside);
	}
	if (ret != TC_ACT_OK)
		return ret;
	if (found == ANSWERS_SERVICE && endpoint_lookup(&p->daddr))
		return to_routing(skb);
	if (found)
		return pass_on(skb, p, IDENTITY_WORLD);
	if (to.flow)
		return on_to_backend(skb, p, to.flow, inside);
	if (!endpoint_lookup(&p->daddr))
		return is_unserved(&p->daddr) ? -DROP_NO_SERVICE : TC_ACT_UNSPEC;
	if (!tracks(CT_EGRESS))
		return TC_ACT_UNSPEC;
	if (!(p->flags & PACKET_ICMP_ERROR))
		return answer_host(skb, p);
	ret = reverse_service_error(skb, p, CT_EGRESS);
	return ret < 0 ? ret : TC_ACT_UNSPEC;
}

SEC("tc")
int from_foreign(struct __sk_buff *skb)
{
	struct packet p;
	int ret;

	if (skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6))
		return TC_ACT_UNSPEC;
	/* What we cannot read is the host's to judge: its own traffic must not depend on us. */
	if (parse(skb, &p) < 0)
		return TC_ACT_UNSPEC;
	ret = arrive_foreign(skb, &p);
	if (ret == TC_ACT_UNSPEC)
		return ret;
	return finish(skb, ret, METRIC_INGRESS, FROM_NETDEV, IDENTITY_WORLD);
}

/*
 * What the node dials by packets, or a pod whose device has no program of ours: to a backend, wherever it is. One on the node itself cannot
 * answer in the service's name.
 */
static __always_inline int dial_service(struct __sk_buff *skb, struct packet *p)
{
	struct endpoint_entry *to;
	int ret = balance_host(skb, p);

	if (ret < 0)
		return ret;
	to = endpoint_lookup(&p->daddr);
	return to && (to->flags & ENDPOINT_HOST) ? -DROP_UNKNOWN_TARGET : to_remote(skb, p, IDENTITY_HOST);
}

/* What the node and its pods send, after netfilter. */
static __always_inline int depart_foreign(struct __sk_buff *skb, struct packet *p)
{
	bool found = false;
	int ret = 0;

	if (endpoint_lookup(&p->saddr) && is_unserved(&p->daddr))
		return dial_service(skb, p);
	if (tracks(CT_INGRESS))
		ret = p->flags & PACKET_ICMP_ERROR ? reverse_service_error(skb, p, CT_INGRESS) : reverse_service(skb, p, CT_INGRESS, &found);
	return ret < 0 ? ret : TC_ACT_UNSPEC;
}

SEC("tc")
int to_foreign(struct __sk_buff *skb)
{
	struct packet p;
	int ret;

	if (skb->mark == MARK_DONE || parse(skb, &p) < 0)
		return TC_ACT_UNSPEC;
	ret = depart_foreign(skb, &p);
	if (ret == TC_ACT_UNSPEC)
		return ret;
	return finish(skb, ret, METRIC_EGRESS, TO_NETDEV, IDENTITY_UNKNOWN);
}
