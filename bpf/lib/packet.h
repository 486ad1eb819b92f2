/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
/* What is read of a packet, by tc or XDP: the tuple that every table is asked with. Later fragments get it from their first. */
#include "addr.h"

enum packet_flags {
	PACKET_FRAGMENT = 1,   /* any fragment */
	PACKET_NO_L4 = 2,      /* a later fragment: no L4 header, ports come from the frag map */
	PACKET_ICMP_ERROR = 4, /* quotes another packet */
	PACKET_HAS_PORTS = 8,  /* sport and dport are meaningful (ICMP echo: the identifier) */
	PACKET_CSUM_ZERO = 16, /* UDP over IPv4 without checksum */
	PACKET_RENEWED = 32,   /* its CT_SERVICE entry is new or lives longer by it: the entry's other half must follow */
	PACKET_DELEGATED = 64, /* for a service whose backends of this node have it as it came */
	PACKET_CSUM_PARTIAL = 128, /* XDP: its L4 checksum covers the pseudo-header alone, the rest was left to a device that is none */
};

struct packet {
	struct addr saddr;
	struct addr daddr;
	__be16 sport;
	__be16 dport;
	__u16 l4_offset;
	__u8 proto;
	__u8 family; /* 4 or 6 */
	__u8 flags;  /* enum packet_flags */
	__u8 ttl;
	__u8 tcp_flags; /* byte 13 of the header: FIN 1 SYN 2 RST 4 ACK 16; SCTP: SYN with an INIT chunk */
	__u8 icmp_type;
	__u32 fragment_id;
	__u32 length; /* from the Ethernet header on */
	__u32 ifindex; /* of the hook */
};

/* Addresses and ports that a packet has, or shall have. Laid out as in struct packet. */
struct tuple {
	struct addr saddr;
	struct addr daddr;
	__be16 sport;
	__be16 dport;
};

static __always_inline void tuple_of(const struct packet *p, struct tuple *to)
{
	addr_copy(&to->saddr, &p->saddr);
	addr_copy(&to->daddr, &p->daddr);
	to->sport = p->sport;
	to->dport = p->dport;
}

#define TCP_FIN 1
#define TCP_SYN 2
#define TCP_RST 4
#define TCP_ACK 16
#define SCTP_CHUNK_INIT 1

static __always_inline bool packet_is_icmp(const struct packet *p)
{
	return p->proto == IPPROTO_ICMP || p->proto == IPPROTO_ICMPV6;
}

static __always_inline void fragment_key(const struct packet *p, struct frag_key *key)
{
	__builtin_memset(key, 0, sizeof(*key));
	addr_copy(&key->saddr, &p->saddr);
	addr_copy(&key->daddr, &p->daddr);
	key->id = p->fragment_id;
	key->proto = p->proto;
}

/* Later fragments carry no ports: the first has left them in the frag map. */
static __always_inline int fragment_ports(struct packet *p)
{
	struct frag_key key;
	struct frag_ports *ports;

	fragment_key(p, &key);
	if (!(p->flags & PACKET_NO_L4)) {
		struct frag_ports first = { .sport = p->sport, .dport = p->dport };

		bpf_map_update_elem(&frag, &key, &first, BPF_ANY);
		return 0;
	}
	ports = bpf_map_lookup_elem(&frag, &key);
	if (!ports)
		return -DROP_FRAG_NOT_FOUND;
	p->sport = ports->sport;
	p->dport = ports->dport;
	p->flags |= PACKET_HAS_PORTS;
	return 0;
}
