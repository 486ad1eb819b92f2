/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
/* The map ABI of load balancing: see types.h. */
#include "types.h"

/* slot 0 is the master: count and flags; slots 1..count name a backend each. proto is an IPPROTO_* number, never 0. */
struct lb_key {
	struct addr address;
	__be16 dport;
	__u16 backend_slot;
	__u8 proto;
	__u8 scope; /* 0 external, 1 internal (as seen from inside the cluster, when the two differ), 2 past a local redirect */
	__u8 pad[2];
};
_Static_assert(sizeof(struct lb_key) == 24, "map ABI: a new layout needs a new map name (_v2)");

enum lb_service_flags {
	LB_SVC_CLUSTER_IP = 1,
	LB_SVC_NODE_PORT = 2,
	LB_SVC_EXTERNAL_IP = 4,
	LB_SVC_LOAD_BALANCER = 8,
	LB_SVC_HOST_PORT = 16,
	LB_SVC_AFFINITY = 32,
	LB_SVC_SOURCE_RANGE = 64,
	LB_SVC_EXT_LOCAL_SCOPE = 128, /* externalTrafficPolicy: Local */
	LB_SVC_INT_LOCAL_SCOPE = 256, /* internalTrafficPolicy: Local */
	LB_SVC_ROUTABLE = 512,	      /* reachable from outside the node */
	LB_SVC_TWO_SCOPES = 1024,     /* scope 1 has other slots than scope 0: look there from inside the cluster */
	LB_SVC_SOURCE_RANGE_DENY = 2048, /* lb_source_ranges lists who may not; without it, who may */
	LB_SVC_DSR = 4096,	      /* the backend's node answers the client itself */
	LB_SVC_MAGLEV = 8192,	      /* slots are chosen by lb_maglev */
	LB_SVC_UNSERVED = 16384,      /* the entry of port 0, protocol 0: what no other entry serves is dropped */
	LB_SVC_LOCAL_REDIRECT = 32768,
	LB_SVC_DELEGATED = 131072, /* to a backend of this node: left to the node's stack as it came, for a proxy there */
};

struct lb_service {
	__u32 backend_id; /* slot > 0: key of lb_backends; master: affinity timeout in seconds */
	__u16 count;	  /* master: slots that take new flows */
	__u16 qcount; /* master: further slots after count, terminating backends that take new flows only when count is 0 */
	__u16 rev_nat_id;
	__u16 pad;
	__u32 flags; /* enum lb_service_flags */
};
_Static_assert(sizeof(struct lb_service) == 16, "map ABI");

enum lb_backend_flags {
	LB_BACKEND_MANAGED = 1, /* an endpoint of ours, here or on another node: reachable by redirect or overlay */
	LB_BACKEND_LOCAL = 2,	/* on this node */
	LB_BACKEND_TERMINATING = 4,
	LB_BACKEND_QUARANTINED = 8, /* fails its health checks: keeps its flows, takes new ones only when all do */
	LB_BACKEND_MAINTENANCE = 16, /* keeps its flows, takes no new ones */
};

struct lb_backend {
	struct addr address;
	__be16 port;
	__u8 proto;
	__u8 flags; /* enum lb_backend_flags */
	__u32 pad;
};
_Static_assert(sizeof(struct lb_backend) == 24, "map ABI");

struct lb_revnat {
	struct addr address;
	__be16 port;
	__u8 pad[2];
};
_Static_assert(sizeof(struct lb_revnat) == 20, "map ABI");

/* sessionAffinity: ClientIP. A client is an address at tc and XDP; at the socket it is its network namespace. */
struct lb_affinity_key {
	struct addr client; /* words[0..1] hold the cookie when by_cookie */
	__u16 rev_nat_id;
	__u8 by_cookie;
	__u8 scope; /* as of lb_key: what a client got from one set of backends says nothing about another */
};
_Static_assert(sizeof(struct lb_affinity_key) == 20, "map ABI");

struct lb_affinity {
	__u32 last_used; /* seconds of bpf_ktime_get_ns */
	__u32 backend_id;
};

/* Which backends an affinity may name: an entry that points elsewhere is stale. */
struct lb_affinity_match {
	__u32 backend_id;
	__u16 rev_nat_id;
	__u8 pad[2];
};

/* loadBalancerSourceRanges of the service; prefixlen counts 32 for the first words, then bits of the 16-byte address. */
struct lb_source_range_key {
	__u32 prefixlen;
	__u16 rev_nat_id;
	__u8 pad[2];
	struct addr address;
};
_Static_assert(sizeof(struct lb_source_range_key) == 24, "map ABI");

struct lb_source_range {
	__u8 present;
};

/* A pod to which the redirect of this frontend does not apply: its sockets by their cookie, its packets by its endpoint. */
struct lb_skip_key {
	__u64 netns_cookie; /* 0: by endpoint_id */
	struct addr address; /* the frontend's */
	__be16 port;
	__u8 proto;
	__u8 pad;
	__u16 endpoint_id; /* 0: by netns_cookie */
	__u8 pad2[2];
};
_Static_assert(sizeof(struct lb_skip_key) == 32, "map ABI");

struct lb_skip {
	__u8 present;
};

/*
 * What a backend of this node may answer as when another node has forwarded to it without replacing the client's address (DSR): one of its
 * services' frontends. A NodePort has one entry for every node's address, that of 0.0.0.0 or ::.
 */
struct lb_dsr_key {
	struct addr frontend;
	struct addr backend;
	__be16 port; /* the frontend's */
	__u8 proto;
	__u8 pad;
};
_Static_assert(sizeof(struct lb_dsr_key) == 36, "map ABI");

struct lb_dsr {
	__be16 backend_port;
};

/* What a UDP socket dialled, by what was sent to: recvmsg and getpeername give it back. */
struct lb_sock_revnat_key {
	__u64 cookie; /* bpf_get_socket_cookie */
	struct addr address; /* the backend's */
	__be16 port;
	__u8 proto;
	__u8 pad[5];
};
_Static_assert(sizeof(struct lb_sock_revnat_key) == 32, "map ABI");

struct lb_sock_revnat {
	struct addr address; /* the frontend's */
	__be16 port;
	__u16 rev_nat_id;
};

/* What a TCP socket dialled, and what its packets go to since. */
struct lb_dialled {
	struct addr address;
	struct addr backend_address;
	__be16 port;
	__be16 backend_port;
	__u16 rev_nat_id;
	__u16 pad;
};
_Static_assert(sizeof(struct lb_dialled) == 40, "map ABI");
