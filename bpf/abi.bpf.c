// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Never loaded: compiled so that its BTF names every shared type, map and constant for tools/gen-abi.ts.
 * A type reaches BTF only when something refers to it, hence the variables.
 */
#include "lib/maps.h"

const volatile struct datapath_config config SEC(".rodata") = {};

struct abi_types {
	struct event_header event;
	struct gc_args gc_args;
	enum verdict_source verdict_source;
	enum reserved_identity reserved_identity;
	enum drop_reason drop_reason;
	enum lb_service_flags lb_service_flags;
	enum lb_backend_flags lb_backend_flags;
	enum ct_direction ct_direction;
	enum ct_flags ct_flags;
	enum nat_direction nat_direction;
	enum ipcache_flags ipcache_flags;
	enum endpoint_flags endpoint_flags;
	enum netdev_flags netdev_flags;
	enum metric_direction metric_direction;
	enum forwarded_index forwarded_index;
	enum event_type event_type;
	enum routing_mode routing_mode;
	enum config_flags config_flags;
	enum abi_version abi_version;
	enum policy_direction policy_direction;
	enum policy_flags policy_flags;
	enum verdict_match verdict_match;
	enum verdict_action verdict_action;
	struct policy_verdict policy_verdict;
	struct policy_key policy_key;
	struct policy_entry policy_entry;
	struct ct_service_entry ct_service_entry;
};
struct abi_types abi_types SEC(".data");

char LICENSE[] SEC("license") = "Dual BSD/GPL";
