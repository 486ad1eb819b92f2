// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Garbage collection inside the kernel: user space runs these by BPF_PROG_RUN, they walk a map and delete what has expired. Nothing
 * is copied out, so a pass over 100,000 entries takes milliseconds.
 */
#include "lib/common.h"

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

static long nat_entry_gc(struct bpf_map *map, struct nat_key *key, struct nat_entry *entry, struct gc_pass *pass)
{
	if (entry->expires >= pass->now) {
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
