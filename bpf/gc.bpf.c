// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Garbage collection inside the kernel: user space runs these by BPF_PROG_RUN, they walk a map and delete what has expired. Nothing
 * is copied out, so a pass over 100,000 entries takes milliseconds.
 */
#include "lib/addr.h"

struct bpf_map;

struct gc_pass {
	__u32 now;
	__u32 alive;
	__u32 deleted;
};

static long ct_entry_gc(struct bpf_map *map, struct ct_key *key, struct ct_entry *entry, struct gc_pass *pass)
{
	if (entry->expires >= pass->now) {
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

	partner_of(key, entry, &partner);
	other = bpf_map_lookup_elem(&nat, &partner);
	return other && other->expires >= now;
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
	struct gc_pass pass = { .now = now_seconds() };

	bpf_for_each_map_elem(&ct, ct_entry_gc, &pass, 0);
	args->alive = pass.alive;
	args->deleted = pass.deleted;
	return 0;
}

SEC("syscall")
int nat_gc(struct gc_args *args)
{
	struct gc_pass pass = { .now = now_seconds() };

	bpf_for_each_map_elem(&nat, nat_entry_gc, &pass, 0);
	args->alive = pass.alive;
	args->deleted = pass.deleted;
	return 0;
}
