/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
/* Conntrack, for the flows that need it alone: what translation or a reply from outside has to remember. */
#include "packet.h"

static __always_inline void ct_key_of(const struct packet *p, struct ct_key *key, __u8 direction)
{
	__builtin_memset(key, 0, sizeof(*key));
	addr_copy(&key->saddr, &p->saddr);
	addr_copy(&key->daddr, &p->daddr);
	key->sport = p->sport;
	key->dport = p->dport;
	key->proto = p->proto;
	key->direction = direction;
}

/* The key under which the flow was made whose reply this packet is. */
static __always_inline void ct_reply_key_of(const struct packet *p, struct ct_key *key, __u8 direction)
{
	__builtin_memset(key, 0, sizeof(*key));
	addr_copy(&key->saddr, &p->daddr);
	addr_copy(&key->daddr, &p->saddr);
	key->sport = p->dport;
	key->dport = p->sport;
	key->proto = p->proto;
	key->direction = direction;
}

/* Second bit of datapath_state.ingress_tracked, whose first is any such flow. */
#define INGRESS_TO_HOST 2
#define CT_CLOSING (CT_RX_CLOSING | CT_TX_CLOSING)

/* What has been seen of a TCP flow's end; a new SYN begins it again. Other protocols have no end. */
static __always_inline __u32 closing_flags(const struct packet *p, bool reply, __u32 flags)
{
	if (p->proto != IPPROTO_TCP)
		return flags;
	if (p->tcp_flags & TCP_RST)
		return flags | CT_CLOSING;
	if (p->tcp_flags & TCP_FIN)
		return flags | (reply ? CT_RX_CLOSING : CT_TX_CLOSING);
	return (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN ? flags & ~CT_CLOSING : flags;
}

/* One side closed: the other may still send, and each packet lengthens the life. The last ACK must not make it long again. */
static __always_inline __u32 ct_lifetime(const struct packet *p, __u32 flags)
{
	if (p->proto == IPPROTO_TCP) {
		if ((flags & CT_CLOSING) == CT_CLOSING)
			return config.ct_tcp_closing;
		if (flags & CT_CLOSING)
			return config.ct_tcp_syn;
		return (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN ? config.ct_tcp_syn : config.ct_tcp_established;
	}
	return p->proto == IPPROTO_UDP ? config.ct_udp : config.ct_other;
}

/* Lifetimes are written at most once a second, so that a busy flow does not fight over its cache line. */
static __always_inline void ct_touch(struct ct_entry *entry, const struct packet *p, bool reply)
{
	__u16 flags = (__u16)closing_flags(p, reply, entry->flags) | (reply ? CT_REPLIED : 0);
	__u32 expires = now_seconds() + ct_lifetime(p, flags);

	if (flags != entry->flags)
		entry->flags = flags;
	if (expires != entry->expires)
		entry->expires = expires;
	entry->packets += 1;
	entry->bytes += p->length;
}

static __always_inline struct ct_entry *ct_find(const struct packet *p, __u8 direction, bool reply)
{
	struct ct_key key;

	if (reply)
		ct_reply_key_of(p, &key, direction);
	else
		ct_key_of(p, &key, direction);
	return bpf_map_lookup_elem(&ct, &key);
}

static __always_inline struct ct_entry *ct_lookup(const struct packet *p, __u8 direction, bool reply)
{
	struct ct_entry *entry = ct_find(p, direction, reply);

	if (entry)
		ct_touch(entry, p, reply);
	return entry;
}

/* An entry that is there keeps its counters, and what policy has written into it. */
static __always_inline int ct_create(const struct packet *p, __u8 direction, __u16 rev_nat_id, __u16 flags)
{
	struct ct_entry entry = {
		.packets = 1,
		.bytes = p->length,
		.rev_nat_id = rev_nat_id,
		.flags = flags,
		.ifindex = p->ifindex,
	};
	struct datapath_state *seen = state();
	struct ct_entry *existing;
	struct ct_key key;

	ct_key_of(p, &key, direction);
	existing = bpf_map_lookup_elem(&ct, &key);
	if (existing) {
		existing->rev_nat_id = rev_nat_id;
		existing->flags |= flags;
		ct_touch(existing, p, false);
		return 0;
	}
	entry.expires = now_seconds() + ct_lifetime(p, 0);
	if (bpf_map_update_elem(&ct, &key, &entry, BPF_ANY) < 0)
		return -DROP_CT_CREATE_FAILED;
	if (seen && direction == CT_EGRESS && !seen->egress_tracked)
		seen->egress_tracked = 1;
	if (seen && direction == CT_INGRESS && !seen->ingress_tracked)
		seen->ingress_tracked = 1;
	return 0;
}

static __always_inline bool tracks(__u8 direction)
{
	struct datapath_state *seen = state();

	return seen && (direction == CT_EGRESS ? seen->egress_tracked : seen->ingress_tracked);
}
