/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
/* Services of packets, for tc and XDP alike: what the socket programs have not translated already, and all that comes from outside. */
#include "ct.h"
#include "service.h"
#include "where.h"

/* The master of the frontend that the packet dials. `key` stays for its slots. */
static __always_inline struct lb_service *lb_lookup(const struct packet *p, struct lb_key *key)
{
	__builtin_memset(key, 0, sizeof(*key));
	addr_copy(&key->address, &p->daddr);
	key->dport = p->dport;
	key->proto = p->proto;
	return lb_slot(key, 0);
}

/* An address that belongs to services alone must not be routed: nobody has it, and packets would go in circles. */
static __always_inline bool is_unserved(const struct addr *address)
{
	struct lb_service *entry;
	struct lb_key key = {};

	if (!(config.flags & CONFIG_UNSERVED_DROP))
		return false;
	addr_copy(&key.address, address);
	entry = lb_slot(&key, 0);
	return entry && (entry->flags & LB_SVC_UNSERVED);
}

/* loadBalancerSourceRanges: who may, or with the deny policy who may not. */
subprogram source_allowed(const struct packet *p, __u32 rev_nat_id, __u32 flags)
{
	struct lb_source_range_key key = { .prefixlen = 160, .rev_nat_id = (__u16)rev_nat_id };
	bool listed;

	if (!p)
		return 0;
	addr_copy(&key.address, &p->saddr);
	listed = bpf_map_lookup_elem(&lb_source_ranges, &key) != NULL;
	return listed != !!(flags & LB_SVC_SOURCE_RANGE_DENY);
}

/* Where a service is not for everybody outside. 0 or -DROP_*. */
static __always_inline int may_dial(const struct packet *p, const struct lb_service *service)
{
	if (!(service->flags & LB_SVC_ROUTABLE) && !(config.flags & CONFIG_EXTERNAL_CLUSTER_IP))
		return -DROP_NO_SERVICE;
	if ((service->flags & LB_SVC_SOURCE_RANGE) && !source_allowed(p, service->rev_nat_id, service->flags))
		return -DROP_NOT_IN_SOURCE_RANGE;
	return 0;
}

/* Bob Jenkins' one-at-a-time over words (public domain): the same flow has the same number on every node. */
static __always_inline __u32 hash_word(__u32 hash, __u32 word)
{
	hash += word;
	hash += hash << 10;
	return hash ^ (hash >> 6);
}

static __always_inline __u32 flow_hash(const struct packet *p)
{
	__u32 hash = config.maglev_seed;

#pragma unroll
	for (int i = 0; i < 4; i++) {
		hash = hash_word(hash, p->saddr.words[i]);
		hash = hash_word(hash, p->daddr.words[i]);
	}
	hash = hash_word(hash, ((__u32)p->sport << 16) | p->dport);
	hash = hash_word(hash, p->proto);
	hash += hash << 3;
	hash ^= hash >> 11;
	return hash + (hash << 15);
}

/* By the flow's hash: every node chooses the same, so the client may come in by another one. 0: the table is not there yet. */
static __always_inline __u32 maglev_backend(const struct packet *p, __u16 rev_nat_id)
{
	void *inner = bpf_map_lookup_elem(&lb_maglev, &rev_nat_id);
	__u32 zero = 0, index;
	__u32 *table;

	if (!inner)
		return 0;
	table = bpf_map_lookup_elem(inner, &zero);
	if (!table)
		return 0;
	index = flow_hash(p) % config.maglev_size;
	return index < config.maglev_size ? table[index] : 0;
}

/* For a flow that has no backend yet. A frame of its own: the stack is short. */
subprogram select_backend(struct packet *p, struct lb_key *key, struct lb_service *service)
{
	struct lb_affinity_key client = {};
	__u32 id = 0;

	if (!p || !key || !service)
		return 0;
	if (service->flags & LB_SVC_AFFINITY) {
		addr_copy(&client.client, &p->saddr);
		client.rev_nat_id = service->rev_nat_id;
		client.scope = key->scope;
		id = affinity_backend(service, &client);
		if (id)
			return (int)id;
	}
	if ((service->flags & LB_SVC_MAGLEV) && !key->scope && service->count)
		id = maglev_backend(p, service->rev_nat_id);
	if (!id)
		id = random_backend(key, service);
	if (id && (service->flags & LB_SVC_AFFINITY))
		affinity_remember(&client, id);
	return (int)id;
}

static __always_inline bool begins_connection(const struct packet *p)
{
	return p->proto != IPPROTO_UDP && (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/*
 * Where the flow went before is where it goes on, whatever has become of the service's backends meanwhile. Except: a new connection by
 * a tuple that an old one had; datagrams, when their backend has left the service; and everything when nobody has the address any more.
 */
static __always_inline bool keeps_target(const struct packet *p, const struct ct_service_entry *entry, const struct lb_service *service)
{
	struct lb_backend *backend = backend_of(entry->backend_id);
	struct ipcache_entry *known;

	/* The number may be another backend's by now. */
	if (backend && backend->port == entry->backend_port && addr_equal(&entry->backend_address, &backend->address)) {
		/* Not ready: a datagram may be a question to somebody who answers no more. */
		if (backend->flags & LB_BACKEND_MAINTENANCE)
			return !begins_connection(p) && p->proto != IPPROTO_UDP;
		return !begins_connection(p) || !is_leaving(backend) || !service->count;
	}
	if (begins_connection(p) || p->proto == IPPROTO_UDP)
		return false;
	known = ipcache_lookup(&entry->backend_address);
	return !known || known->identity != IDENTITY_UNMANAGED;
}

static __always_inline void renew_service_flow(struct packet *p, struct ct_service_entry *entry)
{
	__u16 flags = (__u16)closing_flags(p, false, entry->flags);
	__u32 expires = now_seconds() + ct_lifetime(p, flags);

	if (flags != entry->flags || expires != entry->expires) {
		entry->flags = flags;
		entry->expires = expires;
		p->flags |= PACKET_RENEWED;
	}
}

/* The CT_SERVICE entry of a flow: its lifetime is prolonged as that of the others. */
static __always_inline struct ct_service_entry *service_flow(struct packet *p, struct ct_key *key)
{
	struct ct_service_entry *entry;

	ct_key_of(p, key, CT_SERVICE);
	entry = bpf_map_lookup_elem(&ct, key);
	if (entry)
		renew_service_flow(p, entry);
	return entry;
}

/* A backend for a flow that has none, remembered. 0: there is none. A frame of its own: the stack is short. */
subprogram begin_service_flow(struct packet *p, struct ct_key *flow, struct lb_key *key, struct lb_service *service)
{
	struct ct_service_entry entry = {};
	struct lb_backend *backend;

	if (!p || !flow || !key || !service)
		return 0;
	entry.rev_nat_id = service->rev_nat_id;
	entry.backend_id = (__u32)select_backend(p, key, service);
	backend = backend_of(entry.backend_id);
	if (!backend)
		return 0;
	addr_copy(&entry.backend_address, &backend->address);
	entry.backend_port = backend->port;
	/* A FIN or RST that begins it ends it: XDP may have it made by the same packet that tc then renews it by. */
	entry.flags = (__u16)closing_flags(p, false, 0);
	entry.expires = now_seconds() + ct_lifetime(p, entry.flags);
	p->flags |= PACKET_RENEWED;
	return bpf_map_update_elem(&ct, flow, &entry, BPF_ANY) == 0;
}

/* Where the flow goes: as before, or to a backend chosen now. NULL: there is none. */
static __always_inline struct ct_service_entry *lb_target(struct packet *p, struct lb_key *key, struct lb_service *service)
{
	struct ct_service_entry *entry;
	struct ct_key flow;

	entry = service_flow(p, &flow);
	if (entry && entry->rev_nat_id == service->rev_nat_id && keeps_target(p, entry, service))
		return entry;
	return begin_service_flow(p, &flow, key, service) ? bpf_map_lookup_elem(&ct, &flow) : NULL;
}

static __always_inline bool lb_may_apply(const struct packet *p)
{
	return (p->flags & PACKET_HAS_PORTS) && (p->proto == IPPROTO_TCP || p->proto == IPPROTO_UDP || p->proto == IPPROTO_SCTP);
}

/* The source that the flow's packets have towards a backend elsewhere. What is the node's on any device need not be looked up again. */
static __always_inline void flow_source(const struct packet *p, struct ct_service_entry *flow, struct addr *source)
{
	source_of(p->family, flow->nat_ifindex, source);
	if (!flow->nat_port && addr_equal(source, p->family == 4 ? &config.node_ipv4 : &config.node_ipv6))
		flow->nat_ifindex = 0;
}
