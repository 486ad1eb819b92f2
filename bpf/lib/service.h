/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
/* What the socket programs and tc share: finding a service, and which of its backends a new flow gets. */
#include "addr.h"

static __always_inline struct lb_service *lb_slot(struct lb_key *key, __u16 slot)
{
	key->backend_slot = slot;
	return bpf_map_lookup_elem(&lb_services, key);
}

static __always_inline struct lb_backend *backend_of(__u32 id)
{
	return id ? bpf_map_lookup_elem(&lb_backends, &id) : NULL;
}

/* Clients inside the cluster: where outsiders get only backends of this node, they get all. `key` follows to the scope. */
static __always_inline struct lb_service *lb_inside(struct lb_key *key, struct lb_service *service)
{
	if (!service || !(service->flags & LB_SVC_TWO_SCOPES))
		return service;
	key->scope = 1;
	return lb_slot(key, 0);
}

/* A backend that takes no new flows while others do. */
static __always_inline bool is_leaving(const struct lb_backend *backend)
{
	return backend->flags & (LB_BACKEND_TERMINATING | LB_BACKEND_QUARANTINED | LB_BACKEND_MAINTENANCE);
}

/* A random slot; quarantined backends only when nothing else is there. */
static __always_inline __u32 random_backend(struct lb_key *key, const struct lb_service *service)
{
	__u16 count = service->count ? service->count : service->qcount;
	struct lb_service *slot;

	if (!count)
		return 0;
	slot = lb_slot(key, (__u16)(bpf_get_prandom_u32() % count) + 1);
	return slot ? slot->backend_id : 0;
}

/* The backend that the client had, if it came back in time and the backend still takes new flows of the service. 0: none. */
static __always_inline __u32 affinity_backend(const struct lb_service *service, const struct lb_affinity_key *client)
{
	struct lb_affinity *known = bpf_map_lookup_elem(&lb_affinity, client);
	struct lb_affinity_match match = {};
	__u32 now = now_seconds();

	if (!known || now - known->last_used >= service->backend_id) /* of the master: the timeout */
		return 0;
	match.backend_id = known->backend_id;
	match.rev_nat_id = service->rev_nat_id;
	/* Only those that take new flows of this service are there. */
	if (!bpf_map_lookup_elem(&lb_affinity_match, &match) || !backend_of(known->backend_id))
		return 0;
	known->last_used = now;
	return known->backend_id;
}

static __always_inline void affinity_remember(const struct lb_affinity_key *client, __u32 backend_id)
{
	struct lb_affinity value = {
		.last_used = now_seconds(),
		.backend_id = backend_id,
	};

	bpf_map_update_elem(&lb_affinity, client, &value, BPF_ANY);
}
