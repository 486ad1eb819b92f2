/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
/*
 * The map ABI: every layout that the kernel side and user space share. TypeScript is generated from the BTF of these
 * types (packages/abi/src/gen), so a constant that user space needs is an enum, not a #define. Ports and addresses are
 * in network byte order (__be16, __be32), everything else in host order.
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

/* ---- load balancing ---- */

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
	LB_SVC_HOST_PORT_LOOPBACK = 65536, /* hostIP 127.0.0.1: this node alone */
	LB_SVC_DELEGATED = 131072,	   /* to a backend of this node: left to the node's stack as it came, for a proxy there */
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

/* ---- conntrack and NAT ---- */

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
