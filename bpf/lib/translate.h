/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
/* Translations applied to packets at tc. */
#include "dsr.h"
#include "rewrite.h"

/* Gives the packet `source` as source address and a port that belongs to this flow alone. */
subprogram snat(struct __sk_buff *skb, struct packet *p, const struct addr *source)
{
	struct tuple out;
	int ret;

	if (!p || !source)
		return -DROP_INVALID;
	if (!(p->flags & PACKET_HAS_PORTS))
		return -DROP_NAT_UNSUPP_PROTO;
	tuple_of(p, &out);
	addr_copy(&out.saddr, source);
	ret = nat_outgoing(p, &out);
	return ret < 0 ? ret : rewrite(skb, p, SOURCE, source, out.sport);
}

/*
 * Whose flow a packet answers that came to an address and port of ours: nobody's, a masqueraded pod's, a client's of a service. Or it is an
 * error about what a service has answered.
 */
enum answered { ANSWERS_NOTHING, ANSWERS_POD, ANSWERS_CLIENT, ANSWERS_SERVICE };

/* Undoes source NAT on a reply, and gives it its frontend back when the flow was a service's. */
subprogram reverse_snat(struct __sk_buff *skb, struct packet *p, enum answered *found)
{
	struct lb_revnat *frontend = NULL;
	struct nat_entry *entry;
	struct tuple to;
	__u16 id;

	if (!p || !found)
		return -DROP_INVALID;
	entry = nat_reply(p);
	if (!entry)
		return 0;
	id = entry->rev_nat_id;
	*found = id ? ANSWERS_CLIENT : ANSWERS_POD;
	tuple_of(p, &to);
	addr_copy(&to.daddr, &entry->to_address);
	to.dport = entry->to_port;
	if (id)
		frontend = bpf_map_lookup_elem(&lb_revnat, &id);
	if (frontend) {
		addr_copy(&to.saddr, &frontend->address);
		to.sport = frontend->port;
	}
	return rewrite_tuple(skb, p, &to);
}

/* The source of a reply whose flow came by another node with the client's address (DSR): nat has what was dialled. */
subprogram restore_dsr(struct __sk_buff *skb, struct packet *p)
{
	struct nat_entry *entry;
	struct nat_key key;

	if (!p)
		return -DROP_INVALID;
	nat_key_of(p, &key, NAT_EGRESS);
	entry = bpf_map_lookup_elem(&nat, &key);
	if (!entry)
		return -DROP_NAT_NO_MAPPING;
	nat_touch(entry, p, closing_flags(p, true, entry->flags));
	return rewrite(skb, p, SOURCE, &entry->to_address, entry->to_port);
}

/* The frontend is the source again. 0: the flow has none. */
static __always_inline int restore_frontend(struct __sk_buff *skb, struct packet *p, const struct ct_entry *flow)
{
	__u16 id = flow->rev_nat_id;
	struct lb_revnat *frontend;

	if (flow->flags & CT_DSR)
		return restore_dsr(skb, p);
	frontend = id ? bpf_map_lookup_elem(&lb_revnat, &id) : NULL;
	return frontend ? rewrite(skb, p, SOURCE, &frontend->address, frontend->port) : 0;
}

/* Gives a reply of a translated flow its frontend back as source. True in *found when the flow is tracked at all. */
static __always_inline int reverse_service(struct __sk_buff *skb, struct packet *p, __u8 direction, bool *found)
{
	struct ct_entry *entry;

	if (!(p->flags & PACKET_HAS_PORTS) || !tracks(direction))
		return 0;
	entry = ct_lookup(p, direction, true);
	if (!entry)
		return 0;
	*found = true;
	return restore_frontend(skb, p, entry);
}
