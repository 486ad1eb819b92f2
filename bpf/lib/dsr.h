/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
/*
 * Direct server return, for tc and XDP alike: a service's packets go to a backend on another node with the client's address, and that
 * node answers the client itself. Here is what is decided and remembered; dsr_send.h and dsr_take.h change packets.
 *
 * The backend's node must know the frontend. Either a packet of the flow carries it behind the IP header (every datagram, and what begins a connection), or
 * each packet is encapsulated as it came, towards the backend's address. Layouts are those of Cilium.
 */
#include "lb.h"
#include "nat.h"

/* IPv4 option 26, copied into fragments. Port and address in the byte order of the host. */
#define DSR_OPTION_V4 0x9a

struct dsr_option {
	__u8 type;
	__u8 length;
	__u16 port;
	__u32 address;
};
_Static_assert(sizeof(struct dsr_option) == 8, "wire");

/* IPv6 destination options with this one alone: who does not know it skips it (RFC 8200, 4.2). */
#define DSR_OPTION_V6 0x1b

struct dsr_extension {
	__u8 next;
	__u8 length; /* in units of 8 bytes, without the first */
	__u8 type;
	__u8 option_length;
	struct addr address;
	__be16 port;
	__u8 pad[2];
};
_Static_assert(sizeof(struct dsr_extension) == 24, "wire");

static __always_inline __u16 ip_header_end(const struct packet *p)
{
	return ETH_HLEN_ + (p->family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr));
}

/* The backend's node is one of ours. Others know nothing of frontends: they get this node's address as source. */
static __always_inline bool dsr_backend(const struct ct_service_entry *flow)
{
	struct lb_backend *backend = backend_of(flow->backend_id);

	return backend && ((backend->flags & LB_BACKEND_MANAGED) || is_node(&backend->address));
}

/*
 * Whether the flow, whose backend is not of this node, goes there with the client's address: decided by its first packet. Pods and nodes,
 * which come here only past their sockets' balancing, do not: one beside the backend would be answered past the node.
 */
static __always_inline bool dsr_flow(const struct packet *p, struct ct_service_entry *flow, __u32 service_flags)
{
	if (!(config.flags & CONFIG_DSR))
		return false;
	if (flow->flags & CT_DSR)
		return true;
	if (flow->nat_port || !(service_flags & LB_SVC_DSR) || in_cluster(&p->saddr) || !dsr_backend(flow))
		return false;
	flow->flags |= CT_DSR;
	return true;
}

/* What goes by the overlay is encapsulated already, so the option does not meet anybody who minds. */
static __always_inline bool dsr_encapsulates(const struct ct_service_entry *flow)
{
	return (config.flags & CONFIG_DSR_IPIP) && !overlay_towards(&flow->backend_address);
}

/*
 * Whether the packet carries the option. Of connections (and associations): what begins one, and the first that this node sees of one that
 * began elsewhere. Datagrams: each, because any of them may be the first that arrives. Later fragments have no port that it could be about.
 */
static __always_inline bool dsr_tells(const struct packet *p, const struct ct_service_entry *flow)
{
	if (p->flags & PACKET_NO_L4)
		return false;
	return p->proto == IPPROTO_UDP || begins_connection(p) || !(flow->flags & CT_DSR_TOLD);
}

/* Bytes that the packet gets in addition. */
static __always_inline __u32 dsr_overhead(const struct packet *p, const struct ct_service_entry *flow, bool encapsulates)
{
	if (encapsulates)
		return p->family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	if (!dsr_tells(p, flow))
		return 0;
	return p->family == 4 ? sizeof(struct dsr_option) : sizeof(struct dsr_extension);
}

static __always_inline struct lb_dsr *dsr_lookup(const struct addr *frontend, __be16 port, __u8 proto, const struct addr *backend)
{
	struct lb_dsr_key key = { .port = port, .proto = proto };
	struct lb_dsr *known;

	addr_copy(&key.frontend, frontend);
	addr_copy(&key.backend, backend);
	known = bpf_map_lookup_elem(&lb_dsr, &key);
	if (known || !is_node(frontend))
		return known;
	/* A NodePort: every node's address is as good. */
	if (!addr_is_v4(frontend))
		__builtin_memset(&key.frontend, 0, sizeof(key.frontend));
	key.frontend.words[3] = 0;
	return bpf_map_lookup_elem(&lb_dsr, &key);
}

/* The entry by which replies of the flow that `p` (with the backend as destination) belongs to get their source. */
static __always_inline void dsr_nat_key(const struct packet *p, struct nat_key *key)
{
	__builtin_memset(key, 0, sizeof(*key));
	addr_copy(&key->saddr, &p->daddr);
	addr_copy(&key->daddr, &p->saddr);
	key->sport = p->dport;
	key->dport = p->sport;
	key->proto = p->proto;
	key->direction = NAT_EGRESS;
}

/* Replies to `p`, which is as the backend gets it, will have the frontend as source. 0 or -DROP_*. A frame of its own: the stack is short. */
subprogram dsr_remember(const struct packet *p, const struct lb_revnat *frontend)
{
	struct nat_entry entry = {};
	struct nat_entry *known;
	struct nat_key key;

	if (!p || !frontend)
		return -DROP_INVALID;
	dsr_nat_key(p, &key);
	known = bpf_map_lookup_elem(&nat, &key);
	if (known && known->to_port == frontend->port && addr_equal(&known->to_address, &frontend->address)) {
		nat_touch(known, p, closing_flags(p, false, known->flags));
	} else {
		addr_copy(&entry.to_address, &frontend->address);
		entry.to_port = frontend->port;
		entry.created = now_seconds();
		entry.expires = entry.created + ct_lifetime(p, 0);
		if (bpf_map_update_elem(&nat, &key, &entry, BPF_ANY) < 0)
			return -DROP_CT_CREATE_FAILED;
	}
	return ct_create(p, CT_INGRESS, 0, CT_NODE_PORT | CT_DSR);
}

/*
 * A packet for a backend of this node claims to have dialled the frontend. It need not come from a node, so the frontend must be one of the
 * backend's; and what goes on must not be turned to another one by a packet that begins nothing. 0 or -DROP_*.
 */
subprogram dsr_claim(const struct packet *p, const struct lb_revnat *frontend)
{
	struct ct_entry *entry;

	if (!p || !frontend)
		return -DROP_INVALID;
	if (p->proto != IPPROTO_UDP && !begins_connection(p)) {
		entry = ct_find(p, CT_INGRESS, false);
		if (entry && (entry->flags & CT_DSR))
			return 0;
	}
	if (!dsr_lookup(&frontend->address, frontend->port, p->proto, &p->daddr))
		return -DROP_NO_SERVICE;
	return dsr_remember(p, frontend);
}

/*
 * The port of the backend of this node that another node has chosen for the flow, which is as the client sent it: as before, also when the
 * backend has left the service, or as the service has it. 0: it is none of its backends.
 */
subprogram dsr_target_port(struct packet *p, const struct addr *backend)
{
	struct ct_service_entry entry = {};
	struct ct_service_entry *flow;
	struct lb_dsr *known;
	struct ct_key key;

	if (!p || !backend)
		return 0;
	flow = service_flow(p, &key);
	if (flow && addr_equal(backend, &flow->backend_address))
		return flow->backend_port;
	known = dsr_lookup(&p->daddr, p->dport, p->proto, backend);
	if (!known)
		return 0;
	addr_copy(&entry.backend_address, backend);
	entry.backend_port = known->backend_port;
	entry.expires = now_seconds() + ct_lifetime(p, 0);
	p->flags |= PACKET_RENEWED;
	return bpf_map_update_elem(&ct, &key, &entry, BPF_ANY) < 0 ? 0 : known->backend_port;
}

/* What the client of a flow has dialled; `p` is a packet of it as its backend gets it. A frame of its own: the stack is short. */
subprogram dialled(const struct packet *p, const struct ct_entry *flow, struct lb_revnat *frontend)
{
	struct lb_revnat *known;
	struct nat_entry *entry;
	struct nat_key key;
	__u16 id;

	if (!p || !flow || !frontend)
		return 0;
	if (flow->flags & CT_DSR) {
		dsr_nat_key(p, &key);
		entry = bpf_map_lookup_elem(&nat, &key);
		if (!entry)
			return 0;
		addr_copy(&frontend->address, &entry->to_address);
		frontend->port = entry->to_port;
		return 1;
	}
	id = flow->rev_nat_id;
	known = id ? bpf_map_lookup_elem(&lb_revnat, &id) : NULL;
	if (!known)
		return 0;
	*frontend = *known;
	return 1;
}

/* The client dials the backend itself by the tuple of a flow that it had with a frontend: its replies are no frontend's any more. */
static __always_inline void dialled_itself(const struct packet *p, struct ct_entry *entry)
{
	if (begins_connection(p))
		entry->rev_nat_id = 0;
	/* Each datagram of a service's flow would have said so. */
	if (begins_connection(p) || (p->proto == IPPROTO_UDP && !(p->flags & PACKET_NO_L4)))
		entry->flags &= (__u16)~CT_DSR;
}
