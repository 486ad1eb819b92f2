/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
/*
 * Source NAT, for tc and XDP alike: which port a flow has; rewriting is the caller's. The entry that a reply finds (NAT_INGRESS, keyed by
 * the reply as it will come) is made first and only if nobody has it (BPF_NOEXIST), so two flows never share a port towards the same
 * peer; ports are taken from a range that the host's own sockets do not use. The other half, for the flow's own packets: of
 * masqueraded pods a NAT_EGRESS entry keyed by the packet as it was, of services their CT_SERVICE entry.
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

/* Whether the reply's entry that stands in the way of a new one is this very flow's: its other half went first. */
static __always_inline bool nat_belongs_to(const struct nat_entry *entry, const struct packet *p, __u32 rev_nat_id)
{
	return entry->rev_nat_id == rev_nat_id && entry->to_port == p->sport && addr_equal(&p->saddr, &entry->to_address);
}

static __always_inline __u16 nat_port(__u32 seed)
{
	__u32 range = (__u32)config.snat_port_max - config.snat_port_min + 1;

	return bpf_htons((__u16)(config.snat_port_min + seed % range));
}

/* The reply to a packet that leaves as `out`. */
static __always_inline void nat_reply_key_of(const struct tuple *out, __u8 proto, struct nat_key *key)
{
	__builtin_memset(key, 0, sizeof(*key));
	addr_copy(&key->saddr, &out->daddr);
	addr_copy(&key->daddr, &out->saddr);
	key->sport = out->dport;
	key->dport = out->sport;
	key->proto = proto;
	key->direction = NAT_INGRESS;
}

static __always_inline void nat_reply_of(const struct packet *p, __u32 rev_nat_id, struct nat_entry *entry)
{
	__builtin_memset(entry, 0, sizeof(*entry));
	addr_copy(&entry->to_address, &p->saddr);
	entry->to_port = p->sport;
	entry->rev_nat_id = (__u16)rev_nat_id;
	entry->created = now_seconds();
	entry->flags = closing_flags(p, false, 0);
	entry->expires = entry->created + ct_lifetime(p, entry->flags);
}

/* Finds out->sport, which nobody has from out->saddr to that peer, and keeps it by the entry that replies will find. 0 or -DROP_NAT_NO_MAPPING. */
subprogram nat_claim(const struct packet *p, struct tuple *out, __u32 rev_nat_id)
{
	struct nat_entry entry, *other;
	struct nat_key key;
	__u32 seed;

	if (!p || !out)
		return -DROP_INVALID;
	seed = bpf_ntohs(p->sport);
	nat_reply_of(p, rev_nat_id, &entry);
	nat_reply_key_of(out, p->proto, &key);
	for (int i = 0; i < NAT_TRIES; i++) {
		key.dport = nat_port(seed);
		out->sport = key.dport;
		if (!bpf_map_update_elem(&nat, &key, &entry, BPF_NOEXIST))
			return 0;
		other = bpf_map_lookup_elem(&nat, &key);
		if (other && nat_belongs_to(other, p, rev_nat_id))
			return 0;
		seed = bpf_get_prandom_u32();
	}
	return -DROP_NAT_NO_MAPPING;
}

/* Keeps the reply's entry as long as the packet's own: both ends of a one-way flow live equally long. False: it is gone. */
static __always_inline bool nat_keep(const struct packet *p, struct nat_entry *egress, const struct tuple *out)
{
	struct nat_entry *entry;
	struct nat_key reply;

	nat_reply_key_of(out, p->proto, &reply);
	entry = bpf_map_lookup_elem(&nat, &reply);
	if (!entry)
		return false;
	nat_touch(entry, p, closing_flags(p, false, entry->flags));
	nat_touch(egress, p, entry->flags);
	return true;
}

/* out->sport, with which the packet leaves: that of its flow, or a new one. 0 or -DROP_NAT_NO_MAPPING. */
subprogram nat_outgoing(const struct packet *p, struct tuple *out)
{
	struct nat_entry fresh, *entry;
	struct nat_key key;
	int ret;

	if (!p || !out)
		return -DROP_INVALID;
	nat_key_of(p, &key, NAT_EGRESS);
	entry = bpf_map_lookup_elem(&nat, &key);
	if (entry && addr_equal(&out->saddr, &entry->to_address)) {
		out->sport = entry->to_port;
		if (nat_keep(p, entry, out))
			return 0;
	}
	ret = nat_claim(p, out, 0);
	if (ret < 0)
		return ret;
	nat_reply_of(p, 0, &fresh);
	addr_copy(&fresh.to_address, &out->saddr);
	fresh.to_port = out->sport;
	/* On failure the reply's entry stays until it expires: nothing else can have its port meanwhile. */
	return bpf_map_update_elem(&nat, &key, &fresh, BPF_ANY) < 0 ? -DROP_NAT_NO_MAPPING : 0;
}

/* The flow's reply entry, made longer; made again with the same port when it was evicted. False: another flow has the port by now. */
subprogram nat_renew(const struct packet *p, struct ct_service_entry *flow, const struct tuple *out)
{
	struct nat_entry fresh, *entry;
	struct nat_key key;

	if (!p || !flow || !out)
		return false;
	nat_reply_key_of(out, p->proto, &key);
	entry = bpf_map_lookup_elem(&nat, &key);
	if (!entry) {
		nat_reply_of(p, flow->rev_nat_id, &fresh);
		return !bpf_map_update_elem(&nat, &key, &fresh, BPF_NOEXIST);
	}
	if (!nat_belongs_to(entry, p, flow->rev_nat_id))
		return false;
	nat_touch(entry, p, closing_flags(p, false, entry->flags));
	flow->flags |= (__u16)(entry->flags & CT_CLOSING);
	flow->expires = entry->expires;
	return true;
}

/* out->sport of a service's flow towards a backend elsewhere, kept in flow->nat_port. 0 or -DROP_NAT_NO_MAPPING. */
subprogram nat_service(const struct packet *p, struct ct_service_entry *flow, struct tuple *out)
{
	int ret;

	if (!p || !flow || !out)
		return -DROP_INVALID;
	out->sport = flow->nat_port;
	if (flow->nat_port && (!(p->flags & PACKET_RENEWED) || nat_renew(p, flow, out)))
		return 0;
	ret = nat_claim(p, out, flow->rev_nat_id);
	if (ret >= 0)
		flow->nat_port = out->sport;
	return ret;
}

/* The peer's RST is the last packet of the flow: nothing else would shorten the life of the entry for the way out. */
static __always_inline void nat_forget(const struct packet *p, struct nat_key *key, const struct nat_entry *reply)
{
	struct nat_entry *entry;

	addr_copy(&key->saddr, &reply->to_address);
	addr_copy(&key->daddr, &p->saddr);
	key->sport = reply->to_port;
	key->dport = p->sport;
	key->direction = NAT_EGRESS;
	entry = bpf_map_lookup_elem(&nat, key);
	if (entry)
		nat_touch(entry, p, CT_CLOSING);
}

/* Only ports of the range are ever given away, so what comes to others need not be looked up. */
static __always_inline bool nat_may_know(const struct packet *p)
{
	__u16 port = bpf_ntohs(p->dport);

	return (p->flags & PACKET_HAS_PORTS) && port >= config.snat_port_min && port <= config.snat_port_max;
}

/* The entry of the flow that the packet answers, as it is. */
static __always_inline struct nat_entry *nat_find_reply(const struct packet *p, struct nat_key *key)
{
	if (!nat_may_know(p))
		return NULL;
	nat_key_of(p, key, NAT_INGRESS);
	return bpf_map_lookup_elem(&nat, key);
}

/* The same, its lifetime prolonged. */
static __always_inline struct nat_entry *nat_reply(const struct packet *p)
{
	struct nat_key key;
	struct nat_entry *entry = nat_find_reply(p, &key);

	if (!entry)
		return NULL;
	nat_touch(entry, p, closing_flags(p, true, entry->flags));
	if ((p->tcp_flags & TCP_RST) && !entry->rev_nat_id)
		nat_forget(p, &key, entry);
	return entry;
}
