/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
/*
 * The map ABI: every layout that the kernel side and user space share. TypeScript is generated from the BTF of these
 * types (packages/abi/src/gen), so a constant that user space needs is an enum, not a #define. Ports and addresses are
 * in network byte order (__be16, __be32), everything else in host order. Services are in types_lb.h, flows in types_flow.h.
 */
#include <linux/types.h>

/* IPv6, or IPv4 written as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2). Aligned to 4 so that it can follow an LPM prefix length. */
struct addr {
	union {
		__u8 bytes[16];
		__be32 words[4];
	};
};

enum verdict_source { FROM_CONTAINER = 1, TO_CONTAINER /* not in use */, FROM_NETDEV, TO_NETDEV, FROM_OVERLAY, FROM_HOST, XDP_NETDEV };

enum reserved_identity {
	IDENTITY_UNKNOWN = 0,
	IDENTITY_HOST = 1,
	IDENTITY_WORLD = 2,
	IDENTITY_UNMANAGED = 3,
	IDENTITY_HEALTH = 4,
	IDENTITY_INIT = 5,
	IDENTITY_REMOTE_NODE = 6,
	IDENTITY_KUBE_APISERVER = 7,
	IDENTITY_INGRESS = 8,
	IDENTITY_WORLD_IPV4 = 9,
	IDENTITY_WORLD_IPV6 = 10,
};

/* The numbers are the ones that the field's tools print (0 forwarded … 133 policy denied …). */
enum drop_reason {
	REASON_FORWARDED = 0,
	DROP_INVALID_SMAC = 130,
	DROP_INVALID_DMAC = 131,
	DROP_INVALID_SIP = 132,
	DROP_POLICY = 133,
	DROP_INVALID = 134,
	DROP_CT_INVALID_HDR = 135,
	DROP_FRAG_NEEDED = 136,
	DROP_CT_UNKNOWN_PROTO = 137,
	DROP_UNKNOWN_L3 = 139,
	DROP_MISSED_TAIL_CALL = 140,
	DROP_WRITE_ERROR = 141,
	DROP_UNKNOWN_L4 = 142,
	DROP_UNKNOWN_ICMP_CODE = 143,
	DROP_UNKNOWN_ICMP_TYPE = 144,
	DROP_UNKNOWN_ICMP6_CODE = 145,
	DROP_UNKNOWN_ICMP6_TYPE = 146,
	DROP_NO_TUNNEL_KEY = 147,
	DROP_NO_TUNNEL_ENDPOINT = 160,
	DROP_UNKNOWN_TARGET = 150,
	DROP_UNROUTABLE = 151,
	DROP_CSUM_L3 = 153,
	DROP_CSUM_L4 = 154,
	DROP_CT_CREATE_FAILED = 155,
	DROP_INVALID_EXTHDR = 156,
	DROP_FRAG_NOSUPPORT = 157,
	DROP_NO_SERVICE = 158,
	DROP_NAT_NO_MAPPING = 161,
	DROP_NAT_UNSUPP_PROTO = 162,
	DROP_NO_FIB = 169,
	DROP_TTL_EXCEEDED = 196,
	DROP_NO_EGRESS_GATEWAY = 194,
	DROP_FRAG_NOT_FOUND = 159,
	DROP_POLICY_DENY = 181,
	DROP_NOT_IN_SOURCE_RANGE = 177,
	DROP_DSR_ENCAP_FAILED = 178,
	DROP_NO_SOURCE_ENDPOINT = 204,
	DROP_FORGED_OVERLAY = 205, /* encapsulated, and not from a node */
};

/* ---- who is where ---- */

/* prefixlen counts bits of the 16-byte address: IPv4 /24 is 96 + 24. */
struct ipcache_key {
	__u32 prefixlen;
	struct addr address;
};
_Static_assert(sizeof(struct ipcache_key) == 20, "map ABI");

enum ipcache_flags {
	IPCACHE_IN_CLUSTER = 1,	 /* pods and nodes: never masqueraded */
	IPCACHE_SKIP_TUNNEL = 2, /* route natively, even in tunnel mode */
};

struct ipcache_entry {
	__u32 identity;
	struct addr tunnel_endpoint; /* address of the node that owns it; all zero: none, route normally */
	__u32 flags;		     /* enum ipcache_flags */
};
_Static_assert(sizeof(struct ipcache_entry) == 24, "map ABI");

struct endpoint_key {
	struct addr address;
};

enum endpoint_flags {
	ENDPOINT_HOST = 1,   /* an address of this node itself */
	ENDPOINT_ROUTER = 2, /* the router address (on ciliate_host) */
	ENDPOINT_HEALTH = 4,
	ENDPOINT_POLICY_INGRESS = 8, /* its policy map judges what comes in; flows are tracked */
	ENDPOINT_POLICY_EGRESS = 16,
	ENDPOINT_POLICY_CLASS = 32, /* some rule names address blocks that pods may be in: policy_classes is asked too */
	ENDPOINT_POLICY_AUDIT = 64, /* what policy would drop is reported and let through */
	ENDPOINT_FOREIGN = 256, /* a pod of this node that another CNI has wired: the node's routes lead to it */
	ENDPOINT_POLICY_LOCKDOWN = 128, /* its policy does not fit the map: everything new is dropped */
};

struct endpoint_entry {
	__u32 ifindex; /* host side of the veth; 0 for ENDPOINT_HOST */
	__u32 identity;
	__u16 id;
	__u16 flags;	  /* enum endpoint_flags */
	__u8 mac[6];	  /* the pod's own */
	__u8 node_mac[6]; /* the lxc device's: what the pod takes for its router */
	__u32 policy_group;    /* key of policy; 0: none */
	__u32 policy_revision; /* grows with each change of the group's map: flows allowed before are judged again */
};
_Static_assert(sizeof(struct endpoint_entry) == 32, "map ABI");

/* ---- policy ---- */

enum policy_direction { POLICY_INGRESS = 0, POLICY_EGRESS = 1 };

/*
 * In the inner maps of policy. prefixlen: 40 = identity and direction, any protocol; 48 = and protocol, any port; 48 + n = and the
 * first n bits of the port. Identity 0 stands for everybody. ICMP: dport is the type. The compiler leaves out what a broader deny of
 * the same identity covers, so the longest match is right for one identity; of several lookups (peer, its class, everybody) a deny wins.
 */
struct policy_key {
	__u32 prefixlen;
	__u32 identity;
	__u8 direction; /* enum policy_direction */
	__u8 proto;
	__be16 dport;
};
_Static_assert(sizeof(struct policy_key) == 12, "map ABI");

enum policy_flags {
	POLICY_DENY = 1,
	POLICY_AUDIT = 2, /* with POLICY_DENY: reported as audit and let through */
	POLICY_LOG = 4,
	POLICY_DEFAULT = 8, /* no rule: what an isolated direction does with the rest (deny), or a free one (allow) */
	POLICY_KNOWN = 16, /* with POLICY_DEFAULT, where a rule denies identities: lets through only whom the policy maps know */
};

struct policy_entry {
	__u32 rule_id; /* names policy and rule; what every verdict event carries */
	__u16 proxy_port;
	__u8 flags; /* enum policy_flags */
	__u8 pad;
	__u64 packets; /* of flows that this entry decided; their first packets alone */
	__u64 bytes;
};
_Static_assert(sizeof(struct policy_entry) == 24, "map ABI");

/*
 * What policies ask of addresses beside the identity, as a number that the policy maps know like one. policy_classes: address blocks of
 * NetworkPolicy, which may hold pods, by prefix. node_classes: nodes by label, by address, and only for who has a node's identity.
 */
struct policy_class {
	__u32 identity;
};

enum netdev_flags {
	NETDEV_BRIDGE = 1,	/* netfilter may have seen its packets before we do (bridge-nf-call-iptables) */
	NETDEV_XDP_XMIT = 2,	/* takes frames that XDP redirects to it */
	NETDEV_XDP_XMIT_SG = 4, /* also such that are in several buffers */
	NETDEV_XDP_TX = 8,	/* XDP_TX sends back; without it a redirect to the device itself does */
};

/* Native devices: what masquerade and NodePort SNAT use as source on the way out. All zero: no address of that family. */
struct netdev_key {
	__u32 ifindex;
};
struct netdev_entry {
	struct addr ipv4;
	struct addr ipv6;
	__u8 mac[6];
	__u8 l3; /* 1: no Ethernet header (tun, wireguard) */
	__u8 flags; /* enum netdev_flags */
};

struct node_key {
	struct addr address;
};
struct node_entry {
	__u16 id;
	__u8 pad[2];
	__u32 flags;
};

/*
 * Kinds of tracked flows that exist or existed: while a field is 0 no program needs to look one up, so a node without such
 * flows pays nothing for them. Set by programs, never cleared by them.
 */
struct datapath_state {
	__u32 egress_tracked;  /* services translated at tc for local pods and the node: enum ct_direction CT_EGRESS */
	__u32 ingress_tracked; /* NodePort, and outside straight to a pod: CT_INGRESS */
};

/* ---- seen ---- */

enum metric_direction { METRIC_INGRESS = 1, METRIC_EGRESS = 2, METRIC_SERVICE = 3 };

struct metrics_key {
	__u8 reason; /* enum drop_reason; 0 forwarded */
	__u8 direction; /* enum metric_direction */
	__u8 source; /* enum verdict_source */
	__u8 pad;
};
struct metrics_entry {
	__u64 packets;
	__u64 bytes;
};

/* Index of forwarded, which counts what every packet costs: verdict_source * FORWARDED_DIRECTIONS + metric_direction. */
enum forwarded_index { FORWARDED_DIRECTIONS = 4, FORWARDED_SIZE = 32 };

enum verdict_match { MATCH_NONE = 0, MATCH_PEER = 1, MATCH_CLASS = 2, MATCH_ANY = 3, MATCH_UNKNOWN_PEER = 4 };

enum verdict_action { VERDICT_ALLOW = 0, VERDICT_DENY = 1, VERDICT_AUDIT = 2 };

enum event_type { EVENT_DROP = 1, EVENT_TRACE = 4, EVENT_POLICY_VERDICT = 9, EVENT_DEBUG = 2, EVENT_TRACE_SOCK = 11 };

/* Of each CPU: records that found no room in the ring buffer. */
struct events_lost {
	__u64 count;
};

/* Head of every record in the ring buffer; captured bytes of the packet follow, from its Ethernet header. */
struct event_header {
	__u8 type;    /* enum event_type */
	__u8 subtype; /* drop: enum drop_reason; trace: observation point */
	__u8 source;  /* enum verdict_source */
	__u8 family;  /* 4, 6, 0 unknown */
	__u32 hash;
	__u64 timestamp; /* nanoseconds of bpf_ktime_get_ns */
	__u32 packet_length;
	__u32 captured; /* bytes that follow this header */
	__u32 src_identity;
	__u32 dst_identity;
	__u32 ifindex;
	__u16 endpoint_id;
	__u16 line; /* source line of a drop */
};
_Static_assert(sizeof(struct event_header) == 40, "event ABI");

/* EVENT_POLICY_VERDICT: follows event_header, before the packet. */
struct policy_verdict {
	__u32 rule_id;
	__u32 peer_identity;
	__be16 dport;
	__u8 proto;
	__u8 direction; /* enum policy_direction */
	__u8 action;	/* enum verdict_action */
	__u8 match;	/* enum verdict_match */
	__u8 log;	/* the rule asks for a record of each flow */
	__u8 pad;
};
_Static_assert(sizeof(struct policy_verdict) == 16, "event ABI");

/* Argument of the garbage collectors: what one pass left and removed. */
struct gc_args {
	__u32 alive;
	__u32 deleted;
};

/* ---- configuration: one .rodata object, set before load ---- */

enum routing_mode { ROUTING_NATIVE = 0, ROUTING_VXLAN = 1 };

enum config_flags {
	CONFIG_IPV4 = 1,
	CONFIG_IPV6 = 2,
	CONFIG_MASQUERADE_IPV4 = 4,
	CONFIG_MASQUERADE_IPV6 = 8,
	CONFIG_NODE_PORT = 16,
	CONFIG_SOCKET_LB = 32,
	CONFIG_TRACE = 64, /* an event for each forwarded packet, not only for drops */
	CONFIG_HOST_FIREWALL = 128,
	CONFIG_NO_BACKEND_DROP = 256, /* a service without backends drops; else it answers with a reject */
	CONFIG_DSR = 512,	      /* services with LB_SVC_DSR are forwarded without the client's address being replaced */
	CONFIG_DSR_IPIP = 1024,	      /* DSR by encapsulation; else by IPv4 option and IPv6 extension header */
	CONFIG_SERVICE_ONLY = 2048,   /* pods belong to another CNI: no endpoint devices, no overlay of ours */
	CONFIG_POLICY_VERDICTS = 4096, /* an event for each new flow that policy judged, not only for denied ones */
	CONFIG_DUAL_STACK_WORLD = 8192, /* world-ipv4 and world-ipv6 instead of world */
	CONFIG_UNSERVED_DROP = 16384,	/* ports that a service address does not serve are dropped */
	CONFIG_EXTERNAL_CLUSTER_IP = 32768, /* ClusterIPs answer from outside as well */
};

/* All addresses that are not set are zero. */
struct datapath_config {
	__u32 abi_version;
	__u32 flags;	    /* enum config_flags */
	__u32 routing_mode; /* enum routing_mode */
	__u32 host_ifindex; /* ciliate_host */
	__u32 overlay_ifindex; /* ciliate_vxlan, 0 when native */
	__u32 direct_ifindex; /* the device to other nodes */
	struct addr node_ipv4; /* this node's own, primary */
	struct addr node_ipv6;
	struct addr router_ipv4;
	struct addr router_ipv6;
	struct addr hairpin_ipv4; /* source of a pod that reaches itself through a service: 169.254.42.1 */
	struct addr hairpin_ipv6;
	__u8 host_mac[6]; /* of ciliate_host */
	__u16 mtu;	  /* what a pod may send towards other nodes */
	__u16 node_port_min;
	__u16 node_port_max;
	__u16 snat_port_min; /* outside the host's own ephemeral range */
	__u16 snat_port_max;
	__u32 ct_tcp_established; /* seconds, these and the following */
	__u32 ct_tcp_syn;
	__u32 ct_tcp_closing;
	__u32 ct_udp;
	__u32 ct_other;
	__u32 maglev_size; /* entries of each inner map of lb_maglev */
	__u32 maglev_seed; /* of the hash that picks an entry */
	__u16 tunnel_port; /* host order */
	__u16 pad;
	__u64 host_netns_cookie; /* sock programs: sockets of the node itself; 0 unknown */
};

enum abi_version { ABI_VERSION = 1 };
