// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Garbage collection inside the kernel: user space runs these by BPF_PROG_RUN, they walk a map and delete what has expired. Nothing
 * is copied out, so a pass over 100,000 entries takes milliseconds.
 */
#include "lib/addr.h"

struct bpf_map;

/* The coarse clock is not for programs of this type. It is behind this one by a tick at most. */
static __always_inline __u32 now(void)
{
	return (__u32)(bpf_ktime_get_ns() / 1000000000ULL);
}

struct gc_pass {
	__u32 now;
	__u32 alive;
	__u32 deleted;
};

#define CT_CLOSED (CT_RX_CLOSING | CT_TX_CLOSING)

static __always_inline bool lives(const __u32 *expires, __u32 now)
{
	return expires && *expires >= now;
}

/* The frontend that a flow dialled: the destination in the key of its CT_SERVICE entry. */
static __always_inline bool service_half_lives(const struct addr *client, __be16 port, __u8 proto, __u16 rev_nat_id, __u32 now)
{
	struct lb_revnat *frontend = bpf_map_lookup_elem(&lb_revnat, &rev_nat_id);
	struct ct_key key = { .sport = port, .proto = proto, .direction = CT_SERVICE };
	struct ct_entry *entry;

	if (!frontend)
		return false;
	addr_copy(&key.saddr, client);
	addr_copy(&key.daddr, &frontend->address);
	key.dport = frontend->port;
	entry = bpf_map_lookup_elem(&ct, &key);
	return entry && lives(&entry->expires, now);
}

/* What a reply of the service's flow would find: the entry of its translation, or that of the backend's own tuple. */
static __always_inline bool reply_half_lives(const struct ct_key *key, const struct ct_service_entry *flow, __u32 now)
{
	struct netdev_key device_key = { .ifindex = flow->nat_ifindex };
	struct netdev_entry *device = flow->nat_ifindex ? bpf_map_lookup_elem(&netdevs, &device_key) : NULL;
	bool v4 = addr_is_v4(&key->saddr);
	struct ct_key own = { .sport = key->sport, .dport = flow->backend_port, .proto = key->proto, .direction = CT_INGRESS };
	struct nat_key reply = { .sport = flow->backend_port, .dport = flow->nat_port, .proto = key->proto, .direction = NAT_INGRESS };
	struct ct_entry *entry;
	struct nat_entry *translation;

	if (flow->nat_port) {
		addr_copy(&reply.saddr, &flow->backend_address);
		if (device)
			addr_copy(&reply.daddr, v4 ? &device->ipv4 : &device->ipv6);
		else
			addr_copy(&reply.daddr, v4 ? &config.node_ipv4 : &config.node_ipv6);
		translation = bpf_map_lookup_elem(&nat, &reply);
		return translation && lives(&translation->expires, now);
	}
	/* A pod that reaches itself by a service has the hairpin's address in its own tuple. */
	if (addr_equal(&key->saddr, &flow->backend_address))
		addr_copy(&own.saddr, v4 ? &config.hairpin_ipv4 : &config.hairpin_ipv6);
	else
		addr_copy(&own.saddr, &key->saddr);
	addr_copy(&own.daddr, &flow->backend_address);
	entry = bpf_map_lookup_elem(&ct, &own);
	if (!entry) {
		own.direction = CT_EGRESS;
		entry = bpf_map_lookup_elem(&ct, &own);
	}
	return entry && lives(&entry->expires, now);
}

/*
 * A flow of a service is two entries, and each direction prolongs the life of one: a stream that only comes back must not lose the choice
 * of its backend, nor one that only goes out its way back. When a side has closed, the half for replies has seen how far the other is.
 * Partners are looked up only where it matters: a lookup counts as use in an LRU map.
 */
static __always_inline bool ct_entry_lives(const struct ct_key *key, const struct ct_entry *entry, __u32 now)
{
	bool expired = entry->expires < now;
	bool closed = (entry->flags & CT_CLOSED) == CT_CLOSED;
	bool hairpin;

	/* Replies pass another node: there is no other half. */
	if (key->direction == CT_SERVICE && (entry->flags & CT_DSR))
		return !expired;
	if (key->direction == CT_SERVICE && !closed && (expired || (entry->flags & CT_CLOSED)))
		return reply_half_lives(key, (const struct ct_service_entry *)entry, now);
	if (!expired || closed || !entry->rev_nat_id)
		return !expired;
	hairpin = addr_equal(&key->saddr, &config.hairpin_ipv4) || addr_equal(&key->saddr, &config.hairpin_ipv6);
	return service_half_lives(hairpin ? &key->daddr : &key->saddr, key->sport, key->proto, entry->rev_nat_id, now);
}

static long ct_entry_gc(struct bpf_map *map, struct ct_key *key, struct ct_entry *entry, struct gc_pass *pass)
{
	if (ct_entry_lives(key, entry, pass->now)) {
		pass->alive++;
		return 0;
	}
	pass->deleted++;
	bpf_map_delete_elem(map, key);
	return 0;
}

/* The other half of a translation: see lib/nat.h for what the two are keyed by. */
static __always_inline void partner_of(const struct nat_key *key, const struct nat_entry *entry, struct nat_key *partner)
{
	bool egress = key->direction == NAT_EGRESS;

	partner->proto = key->proto;
	partner->direction = egress ? NAT_INGRESS : NAT_EGRESS;
	addr_copy(&partner->saddr, egress ? &key->daddr : &entry->to_address);
	addr_copy(&partner->daddr, egress ? &entry->to_address : &key->saddr);
	partner->sport = egress ? key->dport : entry->to_port;
	partner->dport = egress ? entry->to_port : key->sport;
}

/*
 * A translation lives as long as one of its halves: a stream that only comes in touches the reply's half alone, and losing the other
 * would give its next packet out another port. Only for expired entries, because a lookup counts as use in an LRU map.
 */
static __always_inline bool partner_lives(const struct nat_key *key, const struct nat_entry *entry, __u32 now)
{
	struct nat_key partner = {};
	struct nat_entry *other;

	if (entry->rev_nat_id)
		return (entry->flags & CT_CLOSED) != CT_CLOSED &&
		       service_half_lives(&entry->to_address, entry->to_port, key->proto, entry->rev_nat_id, now);
	partner_of(key, entry, &partner);
	other = bpf_map_lookup_elem(&nat, &partner);
	return other && lives(&other->expires, now);
}

static long nat_entry_gc(struct bpf_map *map, struct nat_key *key, struct nat_entry *entry, struct gc_pass *pass)
{
	if (entry->expires >= pass->now || partner_lives(key, entry, pass->now)) {
		pass->alive++;
		return 0;
	}
	pass->deleted++;
	bpf_map_delete_elem(map, key);
	return 0;
}

SEC("syscall")
int ct_gc(struct gc_args *args)
{
	struct gc_pass pass = { .now = now() };

	bpf_for_each_map_elem(&ct, ct_entry_gc, &pass, 0);
	args->alive = pass.alive;
	args->deleted = pass.deleted;
	return 0;
}

SEC("syscall")
int nat_gc(struct gc_args *args)
{
	struct gc_pass pass = { .now = now() };

	bpf_for_each_map_elem(&nat, nat_entry_gc, &pass, 0);
	args->alive = pass.alive;
	args->deleted = pass.deleted;
	return 0;
}
