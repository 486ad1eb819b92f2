/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
/* The map ABI of flows, that is conntrack and source NAT: see types.h. */
#include "types.h"

enum ct_direction { CT_EGRESS = 0, CT_INGRESS = 1, CT_SERVICE = 2 };

/* ICMP: both ports carry the identifier of an echo; an error is looked up by the packet that it quotes. */
struct ct_key {
	struct addr daddr;
	struct addr saddr;
	__be16 dport;
	__be16 sport;
	__u8 proto;
	__u8 direction; /* enum ct_direction */
	__u8 pad[2];
};
_Static_assert(sizeof(struct ct_key) == 40, "map ABI");

enum ct_flags {
	CT_RX_CLOSING = 1,
	CT_TX_CLOSING = 2,
	CT_SEEN_NON_SYN = 4,
	CT_NODE_PORT = 8,
	CT_LOOPBACK = 16,
	CT_DSR = 32, /* CT_SERVICE: goes to another node with the client's address. CT_INGRESS: replies' source is in nat */
	CT_REPLIED = 64,
	CT_DSR_TOLD = 128, /* CT_SERVICE: a packet of the flow has told the backend's node the frontend */
};

struct ct_entry {
	__u64 packets;
	__u64 bytes;
	__u32 expires; /* seconds of bpf_ktime_get_ns */
	__u32 backend_id;
	__u32 peer_identity; /* of who is not the endpoint, when policy allowed the flow */
	__u16 rev_nat_id;
	__u16 flags;   /* enum ct_flags */
	__u32 ifindex; /* CT_NODE_PORT: device on which the client's packets come in */
	__u32 policy_revision; /* endpoint_entry.policy_revision under which the flow was allowed; 0: never judged */
};
_Static_assert(sizeof(struct ct_entry) == 40, "map ABI");

/*
 * The same entry with CT_SERVICE: where the flow goes, also when the backend has left the service, and the source that it goes with. Not
 * counted. Its other half is what a reply finds: CT_INGRESS or CT_EGRESS of the backend's tuple, or with nat_port the NAT_INGRESS entry.
 */
struct ct_service_entry {
	struct addr backend_address;
	__u32 expires; /* seconds of bpf_ktime_get_ns */
	__u32 backend_id;
	__u32 mtu; /* CT_DSR: of the way to the backend; 0: not known */
	__u16 rev_nat_id;
	__u16 flags; /* enum ct_flags */
	__be16 backend_port;
	__be16 nat_port; /* 0: the backend sees the client */
	__u32 nat_ifindex; /* the source address is this device's; 0: the node's */
};
_Static_assert(sizeof(struct ct_service_entry) == sizeof(struct ct_entry), "map ABI");
_Static_assert(__builtin_offsetof(struct ct_service_entry, expires) == __builtin_offsetof(struct ct_entry, expires), "map ABI");
_Static_assert(__builtin_offsetof(struct ct_service_entry, backend_id) == __builtin_offsetof(struct ct_entry, backend_id), "map ABI");
_Static_assert(__builtin_offsetof(struct ct_service_entry, rev_nat_id) == __builtin_offsetof(struct ct_entry, rev_nat_id), "map ABI");
_Static_assert(__builtin_offsetof(struct ct_service_entry, flags) == __builtin_offsetof(struct ct_entry, flags), "map ABI");

enum nat_direction { NAT_EGRESS = 0, NAT_INGRESS = 1 };

/* Key: the tuple as it is before translation; NAT_INGRESS entries are the reply's tuple. Same shape as struct ct_key. */
struct nat_key {
	struct addr daddr;
	struct addr saddr;
	__be16 dport;
	__be16 sport;
	__u8 proto;
	__u8 direction; /* enum nat_direction */
	__u8 pad[2];
};
_Static_assert(sizeof(struct nat_key) == 40, "map ABI");

struct nat_entry {
	struct addr to_address; /* egress: new source; ingress: new destination */
	__be16 to_port;
	__u16 rev_nat_id; /* ingress: the reply's source is this frontend; 0: no service */
	__u32 expires; /* seconds of bpf_ktime_get_ns */
	__u32 created;
	__u32 flags;
};
_Static_assert(sizeof(struct nat_entry) == 32, "map ABI");

/* IPv4 and IPv6 fragments follow their first: its ports, by (addresses, id, proto). */
struct frag_key {
	struct addr daddr;
	struct addr saddr;
	__be32 id;
	__u8 proto;
	__u8 pad[3];
};
struct frag_ports {
	__be16 sport;
	__be16 dport;
};
