// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* On the node's native devices, and on the egress of ciliate_host. */
#include "lib/nodeport.h"

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
	ret = arrive(skb, &p, IDENTITY_WORLD);
	if (ret == TC_ACT_UNSPEC)
		return ret;
	return finish(skb, ret, METRIC_INGRESS, FROM_NETDEV, IDENTITY_WORLD);
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
		int ret = reverse_host_service(skb, p);

		return ret < 0 ? ret : TC_ACT_UNSPEC;
	}
	if (!from || !(config.flags & wanted))
		return TC_ACT_UNSPEC;
	if (addr_is_local_scope(&p->daddr) || in_cluster(&p->daddr) || (p->flags & PACKET_ICMP_ERROR))
		return TC_ACT_UNSPEC;
	if (tracks(CT_INGRESS) && ct_lookup(skb, p, CT_INGRESS, true))
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

	if (parse(skb, &p) < 0)
		return TC_ACT_UNSPEC;
	ret = masquerade(skb, &p);
	if (ret == TC_ACT_UNSPEC)
		return ret;
	return finish(skb, ret, METRIC_EGRESS, TO_NETDEV, IDENTITY_UNKNOWN);
}

/* What the node itself sends to pods: their CIDRs are routed to ciliate_host. */
static __always_inline int send_to_pod(struct __sk_buff *skb, struct packet *p)
{
	struct endpoint_entry *ep = endpoint_lookup(&p->daddr);
	struct ipcache_entry *to;

	int ret = reverse_host_service(skb, p);

	if (ret < 0)
		return ret;
	if (ep)
		return ep->flags & ENDPOINT_HOST ? TC_ACT_OK : to_endpoint(skb, p, ep, false);
	to = ipcache_lookup(&p->daddr);
	return goes_by_overlay(to) ? to_overlay(skb, to, IDENTITY_HOST) : -DROP_UNROUTABLE;
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
