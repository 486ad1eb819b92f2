// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* On the node's native devices, and on the egress of ciliate_host. */
#include "lib/nodeport.h"

/* Identities in the overlay are taken on trust: only nodes may send them. Between nodes it is no matter of the host's policy. */
static __always_inline int from_node_only(const struct packet *p)
{
	struct endpoint_entry *to = endpoint_lookup(&p->daddr);

	if (!to || !(to->flags & ENDPOINT_HOST) || is_node(&p->saddr))
		return TC_ACT_UNSPEC;
	return -DROP_FORGED_OVERLAY;
}

SEC("tc")
int from_netdev(struct __sk_buff *skb)
{
	struct packet p;
	int ret;

	if (skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6))
		return TC_ACT_UNSPEC;
	ret = parse(skb, &p);
	/* What we cannot read is the host's to judge: its own traffic must not depend on us. */
	if (ret < 0)
		return TC_ACT_UNSPEC;
	ret = is_overlay_packet(&p) ? from_node_only(&p) : arrive(skb, &p, 0);
	if (ret == TC_ACT_UNSPEC)
		return ret;
	return finish(skb, ret, METRIC_INGRESS, FROM_NETDEV, IDENTITY_WORLD);
}

/* What the host itself sends, by its policy. */
static __always_inline int host_may_send(struct __sk_buff *skb, struct packet *p, struct endpoint_entry *host)
{
	if (!policed(host) || skb->mark == MARK_FORWARDED || is_overlay_packet(p))
		return 0;
	return enforce(skb, p, host, identity_of(&p->daddr), POLICY_EGRESS);
}

/* The node dials a service by packets: to a backend, wherever it is. One on the node itself cannot answer in the service's name. */
static __always_inline int host_to_service(struct __sk_buff *skb, struct packet *p, struct endpoint_entry *host)
{
	struct endpoint_entry *to;
	int ret = balance_host(skb, p);

	if (ret >= 0)
		ret = host_may_send(skb, p, host);
	if (ret < 0)
		return ret;
	to = endpoint_lookup(&p->daddr);
	if (!to)
		return to_remote(skb, p, IDENTITY_HOST);
	return to->flags & ENDPOINT_HOST ? -DROP_UNKNOWN_TARGET : to_endpoint(skb, p, to, false);
}

/* Pods leave the cluster with the device's address. Never inside the cluster, never replies to who came from outside. */
static __always_inline int masquerade(struct __sk_buff *skb, struct packet *p)
{
	struct endpoint_entry *from = endpoint_lookup(&p->saddr);
	__u32 wanted = p->family == 4 ? CONFIG_MASQUERADE_IPV4 : CONFIG_MASQUERADE_IPV6;
	struct netdev_key key = { .ifindex = skb->ifindex };
	struct netdev_entry *device;
	struct addr source;

	if (from && (from->flags & ENDPOINT_HOST)) {
		int ret;

		if (is_unserved(&p->daddr))
			return host_to_service(skb, p, from);
		ret = host_may_send(skb, p, from);
		if (ret >= 0)
			ret = reverse_host_service(skb, p);
		return ret < 0 ? ret : TC_ACT_UNSPEC;
	}
	if (!from || !(config.flags & wanted))
		return TC_ACT_UNSPEC;
	if (addr_is_local_scope(&p->daddr) || in_cluster(&p->daddr) || (p->flags & PACKET_ICMP_ERROR))
		return TC_ACT_UNSPEC;
	if (tracks(CT_INGRESS) && ct_lookup(p, CT_INGRESS, true))
		return TC_ACT_UNSPEC;
	device = bpf_map_lookup_elem(&netdevs, &key);
	if (!device)
		return TC_ACT_UNSPEC;
	addr_copy(&source, p->family == 4 ? &device->ipv4 : &device->ipv6);
	return addr_is_zero(&source) ? TC_ACT_UNSPEC : snat(skb, p, &source);
}

SEC("tc")
int to_netdev(struct __sk_buff *skb)
{
	struct packet p;
	int ret;

	if (skb->mark == MARK_DONE || parse(skb, &p) < 0)
		return TC_ACT_UNSPEC;
	ret = masquerade(skb, &p);
	if (ret == TC_ACT_UNSPEC)
		return ret;
	return finish(skb, ret, METRIC_EGRESS, TO_NETDEV, IDENTITY_UNKNOWN);
}

/* Who sends: the node itself, or somebody whose packets its stack forwards. */
static __always_inline __u32 sender(const struct endpoint_entry *from, const struct packet *p)
{
	return from && (from->flags & ENDPOINT_HOST) ? IDENTITY_HOST : identity_of(&p->saddr);
}

/* By the policies of both ends, with addresses as their flows have them. */
static __always_inline int may_send_to(struct __sk_buff *skb, struct packet *p, struct endpoint_entry *from, struct endpoint_entry *to,
				       __u32 identity)
{
	int ret = 0;

	if (from && (from->flags & ENDPOINT_HOST) && policed(from))
		ret = enforce(skb, p, from, peer_of(to, &p->daddr), POLICY_EGRESS);
	if (ret >= 0 && policed(to) && !(to->flags & ENDPOINT_HOST))
		ret = enforce(skb, p, to, identity, POLICY_INGRESS);
	return ret;
}

/* The frontend back, if the pod's flow was translated on its way out. */
static __always_inline int as_the_pod_knows(struct __sk_buff *skb, struct packet *p)
{
	bool found = false;

	if (!tracks(CT_EGRESS))
		return 0;
	return p->flags & PACKET_ICMP_ERROR ? reverse_service_error(skb, p, CT_EGRESS) : reverse_service(skb, p, CT_EGRESS, &found);
}

/* What the node's stack sends to pods: their CIDRs are routed to ciliate_host. */
static __always_inline int send_to_pod(struct __sk_buff *skb, struct packet *p)
{
	struct endpoint_entry *from = endpoint_lookup(&p->saddr);
	struct endpoint_entry *ep = endpoint_lookup(&p->daddr);
	__u32 identity = sender(from, p);
	struct ipcache_entry *to;
	int ret = may_send_to(skb, p, from, ep, identity);

	if (ret >= 0)
		ret = reverse_host_service(skb, p);
	if (ret >= 0 && ep && !(ep->flags & ENDPOINT_HOST))
		ret = as_the_pod_knows(skb, p);
	if (ret < 0)
		return ret;
	if (ep)
		return ep->flags & ENDPOINT_HOST ? TC_ACT_OK : to_endpoint(skb, p, ep, false);
	to = overlay_towards(&p->daddr);
	return to ? to_overlay(skb, to, identity) : -DROP_UNROUTABLE;
}

SEC("tc")
int from_host(struct __sk_buff *skb)
{
	struct packet p;
	int ret = parse(skb, &p);

	if (ret == -DROP_FRAG_NOT_FOUND)
		ret = 0; /* addresses are enough */
	if (ret >= 0 && addr_is_local_scope(&p.daddr))
		return TC_ACT_SHOT; /* router advertisements, MLD: nobody is there */
	if (ret >= 0)
		ret = send_to_pod(skb, &p);
	return finish(skb, ret, METRIC_EGRESS, FROM_HOST, IDENTITY_HOST);
}
