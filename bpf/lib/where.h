/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
/* Who has an address: an endpoint of this node, a node, somebody in the cluster. For tc and XDP alike. */
#include "addr.h"

static __always_inline struct endpoint_entry *endpoint_lookup(const struct addr *address)
{
	struct endpoint_key key;

	addr_copy(&key.address, address);
	return bpf_map_lookup_elem(&endpoints, &key);
}

static __always_inline struct ipcache_entry *ipcache_lookup(const struct addr *address)
{
	struct ipcache_key key = { .prefixlen = 128 };

	addr_copy(&key.address, address);
	return bpf_map_lookup_elem(&ipcache, &key);
}

/* This node or another one. */
static __always_inline bool is_node(const struct addr *address)
{
	struct node_key key;

	addr_copy(&key.address, address);
	return bpf_map_lookup_elem(&nodes, &key) != NULL;
}

static __always_inline bool in_cluster(const struct addr *address)
{
	struct ipcache_entry *entry = ipcache_lookup(address);

	return entry && (entry->flags & IPCACHE_IN_CLUSTER);
}

/* Who has the destination, when it is by the overlay that packets get there. Native routing asks nobody. */
static __always_inline struct ipcache_entry *overlay_towards(const struct addr *address)
{
	struct ipcache_entry *to;

	if (config.routing_mode != ROUTING_VXLAN)
		return NULL;
	to = ipcache_lookup(address);
	return to && !addr_is_zero(&to->tunnel_endpoint) && !(to->flags & IPCACHE_SKIP_TUNNEL) ? to : NULL;
}

static __always_inline struct netdev_entry *netdev_lookup(__u32 ifindex)
{
	struct netdev_key key = { .ifindex = ifindex };

	return bpf_map_lookup_elem(&netdevs, &key);
}

/* The address that the node has on the device; that by which other nodes know it when there is none. */
static __always_inline void source_of(__u8 family, __u32 ifindex, struct addr *source)
{
	struct netdev_entry *device = ifindex ? netdev_lookup(ifindex) : NULL;

	addr_copy(source, family == 4 ? &config.node_ipv4 : &config.node_ipv6);
	if (device && family == 4 && !addr_is_zero(&device->ipv4))
		addr_copy(source, &device->ipv4);
	if (device && family == 6 && !addr_is_zero(&device->ipv6))
		addr_copy(source, &device->ipv6);
}
