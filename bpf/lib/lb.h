/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
/* Services at tc: what the socket programs have not translated already, and all that comes from outside. */
#include "policy.h"

static __always_inline struct lb_service *lb_slot(struct lb_key *key, __u16 slot)
{
	key->backend_slot = slot;
	return bpf_map_lookup_elem(&lb_services, key);
}

/* The master of the frontend that the packet dials. `key` stays for its slots. */
static __always_inline struct lb_service *lb_lookup(const struct packet *p, struct lb_key *key)
{
	__builtin_memset(key, 0, sizeof(*key));
	addr_copy(&key->address, &p->daddr);
	key->dport = p->dport;
	key->proto = p->proto;
	return lb_slot(key, 0);
}

/* A random slot; terminating backends only when nothing else is there. Issue 3 adds Maglev and affinity here. */
static __always_inline __u32 select_backend(struct lb_key *key, const struct lb_service *service)
{
	__u16 count = service->count ? service->count : service->qcount;
	struct lb_service *slot;

	if (!count)
		return 0;
	slot = lb_slot(key, (__u16)(bpf_get_prandom_u32() % count) + 1);
	return slot ? slot->backend_id : 0;
}

static __always_inline struct lb_backend *backend_of(__u32 id)
{
	return id ? bpf_map_lookup_elem(&lb_backends, &id) : NULL;
}

/* The backend that the flow has, or a new one, remembered by a CT_SERVICE entry. NULL: there is none. */
static __always_inline struct lb_backend *lb_backend_for(struct __sk_buff *skb, struct packet *p, struct lb_key *key,
							 const struct lb_service *service)
{
	struct ct_entry *entry = ct_lookup(skb, p, CT_SERVICE, false);
	struct lb_backend *backend;
	__u16 rev_nat_id = service->rev_nat_id;
	__u32 id;

	if (entry && entry->rev_nat_id == rev_nat_id) {
		backend = backend_of(entry->backend_id);
		if (backend)
			return backend;
	}
	id = select_backend(key, service);
	backend = backend_of(id);
	if (backend && ct_create(skb, p, CT_SERVICE, rev_nat_id, id, 0) < 0)
		return NULL;
	return backend;
}

static __always_inline bool lb_may_apply(const struct packet *p)
{
	return (p->flags & PACKET_HAS_PORTS) && (p->proto == IPPROTO_TCP || p->proto == IPPROTO_UDP || p->proto == IPPROTO_SCTP);
}
