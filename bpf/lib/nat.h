/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
/*
 * Source NAT. A translation is two entries of one map: NAT_EGRESS keyed by the packet as it was, NAT_INGRESS keyed by the reply
 * as it will come. The second is made first and only if nobody has it (BPF_NOEXIST), so two flows never share a port towards
 * the same peer; ports are taken from a range that the host's own sockets do not use.
 */
#include "ct.h"

#define NAT_TRIES 32

static __always_inline void nat_key_of(const struct packet *p, struct nat_key *key, __u8 direction)
{
	__builtin_memset(key, 0, sizeof(*key));
	addr_copy(&key->saddr, &p->saddr);
	addr_copy(&key->daddr, &p->daddr);
	key->sport = p->sport;
	key->dport = p->dport;
	key->proto = p->proto;
	key->direction = direction;
}

/* `flags`: closing flags of enum ct_flags, as the whole flow has them. */
static __always_inline void nat_touch(struct nat_entry *entry, const struct packet *p, __u32 flags)
{
	__u32 expires = now_seconds() + ct_lifetime(p, flags);

	if (flags != entry->flags)
		entry->flags = flags;
	if (expires != entry->expires)
		entry->expires = expires;
}

/* Whether the reply's entry that stands in the way of a new one is this very flow's: its packet's own entry went first. */
static __always_inline bool nat_belongs_to(const struct nat_key *reply, const struct packet *p)
{
	struct nat_entry *entry = bpf_map_lookup_elem(&nat, reply);

	return entry && entry->to_port == p->sport && addr_equal(&p->saddr, &entry->to_address);
}

static __always_inline __u16 nat_port(__u32 seed)
{
	__u32 range = (__u32)config.snat_port_max - config.snat_port_min + 1;

	return bpf_htons((__u16)(config.snat_port_min + seed % range));
}

/* Finds a free port towards the peer and records both directions. 0 or -DROP_NAT_NO_MAPPING. */
subprogram nat_allocate(struct packet *p, const struct addr *source, __u16 *port)
{
	struct nat_entry entry = {};
	struct nat_key key = {};
	__u32 seed;

	if (!p || !source || !port)
		return -DROP_INVALID;
	seed = bpf_ntohs(p->sport);
	addr_copy(&key.saddr, &p->daddr);
	addr_copy(&key.daddr, source);
	key.sport = p->dport;
	key.proto = p->proto;
	key.direction = NAT_INGRESS;
	addr_copy(&entry.to_address, &p->saddr);
	entry.to_port = p->sport;
	entry.created = now_seconds();
	entry.expires = entry.created + ct_lifetime(p, 0);
	for (int i = 0; i < NAT_TRIES; i++) {
		key.dport = nat_port(seed);
		if (!bpf_map_update_elem(&nat, &key, &entry, BPF_NOEXIST) || nat_belongs_to(&key, p)) {
			*port = key.dport;
			entry.to_port = key.dport;
			addr_copy(&entry.to_address, source);
			nat_key_of(p, &key, NAT_EGRESS);
			/* On failure the reply's entry stays until it expires: nothing else can have its port meanwhile. */
			return bpf_map_update_elem(&nat, &key, &entry, BPF_ANY) < 0 ? -DROP_NAT_NO_MAPPING : 0;
		}
		seed = bpf_get_prandom_u32();
	}
	return -DROP_NAT_NO_MAPPING;
}

/* Keeps the reply's entry as long as the packet's own: both ends of a one-way flow live equally long. False: it is gone. */
static __always_inline bool nat_keep(const struct packet *p, struct nat_entry *egress)
{
	struct nat_key reply = {};
	struct nat_entry *entry;

	addr_copy(&reply.saddr, &p->daddr);
	addr_copy(&reply.daddr, &egress->to_address);
	reply.sport = p->dport;
	reply.dport = egress->to_port;
	reply.proto = p->proto;
	reply.direction = NAT_INGRESS;
	entry = bpf_map_lookup_elem(&nat, &reply);
	if (!entry)
		return false;
	nat_touch(entry, p, closing_flags(p, false, entry->flags));
	nat_touch(egress, p, entry->flags);
	return true;
}

/* Gives the packet `source` as source address and a port that belongs to this flow alone. */
subprogram snat(struct __sk_buff *skb, struct packet *p, const struct addr *source)
{
	struct nat_entry *entry;
	struct nat_key key;
	__u16 port = 0;
	int ret;

	if (!p || !source)
		return -DROP_INVALID;
	if (!(p->flags & PACKET_HAS_PORTS))
		return -DROP_NAT_UNSUPP_PROTO;
	nat_key_of(p, &key, NAT_EGRESS);
	entry = bpf_map_lookup_elem(&nat, &key);
	if (entry && addr_equal(source, &entry->to_address) && nat_keep(p, entry)) {
		port = entry->to_port;
	} else {
		ret = nat_allocate(p, source, &port);
		if (ret < 0)
			return ret;
	}
	return rewrite(skb, p, SOURCE, source, port);
}

/* The peer's RST is the last packet of the flow: nothing else would shorten the life of the entry for the way out. */
static __always_inline void nat_forget(const struct packet *p, struct nat_key *key, const struct addr *client, __be16 port)
{
	struct nat_entry *entry;

	addr_copy(&key->saddr, client);
	addr_copy(&key->daddr, &p->saddr);
	key->sport = port;
	key->dport = p->sport;
	key->direction = NAT_EGRESS;
	entry = bpf_map_lookup_elem(&nat, key);
	if (entry)
		nat_touch(entry, p, CT_CLOSING);
}

/* Undoes snat() on a reply. *found tells whether the packet was one. */
subprogram reverse_snat(struct __sk_buff *skb, struct packet *p, bool *found)
{
	struct nat_entry *entry;
	struct nat_key key;
	struct addr to;
	__u16 port;

	if (!p || !found)
		return -DROP_INVALID;
	if (!(p->flags & PACKET_HAS_PORTS))
		return 0;
	nat_key_of(p, &key, NAT_INGRESS);
	entry = bpf_map_lookup_elem(&nat, &key);
	if (!entry)
		return 0;
	*found = true;
	nat_touch(entry, p, closing_flags(p, true, entry->flags));
	addr_copy(&to, &entry->to_address);
	port = entry->to_port;
	if (p->tcp_flags & TCP_RST)
		nat_forget(p, &key, &to, port);
	return rewrite(skb, p, DESTINATION, &to, port);
}
