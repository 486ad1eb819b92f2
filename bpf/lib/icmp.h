/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
/*
 * ICMP errors quote the packet that caused them (RFC 792, RFC 4443). When that flow is translated, the quoted header and the
 * outer address are translated too, else the sender would not know its own packet. And the errors that we send ourselves:
 * port unreachable, for a service without backends, and too big, for what we would make too big.
 */
#include "forward.h"

/* The quoted packet's tuple into `q`. Only a first fragment has ports. A frame of its own: the stack is short. */
subprogram parse_quoted(struct __sk_buff *skb, const struct packet *p, struct packet *q)
{
	__be16 ports[4];
	__u16 offset;
	bool icmp;

	if (!p || !q)
		return -DROP_INVALID;
	offset = p->l4_offset + 8;
	__builtin_memset(q, 0, sizeof(*q));
	q->family = p->family;
	if (p->family == 4) {
		struct iphdr ip;

		if (bpf_skb_load_bytes(skb, offset, &ip, sizeof(ip)) < 0 || ip.ihl < 5)
			return -DROP_INVALID;
		addr_set_v4(&q->saddr, ip.saddr);
		addr_set_v4(&q->daddr, ip.daddr);
		q->proto = ip.protocol;
		q->l4_offset = offset + ip.ihl * 4;
	} else {
		struct ipv6hdr ip;

		if (bpf_skb_load_bytes(skb, offset, &ip, sizeof(ip)) < 0)
			return -DROP_INVALID;
		__builtin_memcpy(&q->saddr, &ip.saddr, 16);
		__builtin_memcpy(&q->daddr, &ip.daddr, 16);
		q->proto = ip.nexthdr;
		q->l4_offset = offset + sizeof(ip);
	}
	if (bpf_skb_load_bytes(skb, q->l4_offset, ports, sizeof(ports)) < 0)
		return -DROP_INVALID;
	icmp = packet_is_icmp(q);
	q->sport = icmp ? ports[2] : ports[0];
	q->dport = icmp ? 0 : ports[1];
	q->flags = PACKET_HAS_PORTS;
	return 0;
}

/*
 * The quoted header's side gets another address and port, and the outer ICMP checksum follows. IPv4: a change of address and the
 * quoted header checksum's change cancel out in the outer sum. The quoted L4 checksum is left: it may be cut off, and nobody
 * checks it.
 */
static __always_inline int rewrite_quoted(struct __sk_buff *skb, const struct packet *p, const struct packet *q, enum side side,
					  const struct addr *to, __be16 port)
{
	int csum = p->l4_offset + 2;
	__u16 ip_offset = p->l4_offset + 8;
	const struct addr *old = side == SOURCE ? &q->saddr : &q->daddr;
	__be16 old_port = side == SOURCE ? q->sport : q->dport;
	int port_offset = q->l4_offset + (packet_is_icmp(q) ? 4 : side == SOURCE ? 0 : 2);

	if (p->family == 4) {
		__be32 v4 = to->words[3];
		int offset = ip_offset + (side == SOURCE ? offsetof(struct iphdr, saddr) : offsetof(struct iphdr, daddr));

		if (bpf_l3_csum_replace(skb, ip_offset + offsetof(struct iphdr, check), old->words[3], v4, 4) < 0 ||
		    bpf_skb_store_bytes(skb, offset, &v4, 4, 0) < 0)
			return -DROP_WRITE_ERROR;
	} else {
		int offset = ip_offset + (side == SOURCE ? offsetof(struct ipv6hdr, saddr) : offsetof(struct ipv6hdr, daddr));
		__s64 diff = bpf_csum_diff((__be32 *)old->words, 16, (__be32 *)to->words, 16, 0);

		if (bpf_l4_csum_replace(skb, csum, 0, diff, 0) < 0 || bpf_skb_store_bytes(skb, offset, to, 16, 0) < 0)
			return -DROP_WRITE_ERROR;
	}
	if (old_port == port || (packet_is_icmp(q) && side == DESTINATION))
		return 0;
	if (bpf_l4_csum_replace(skb, csum, old_port, port, 2) < 0 || bpf_skb_store_bytes(skb, port_offset, &port, 2, 0) < 0)
		return -DROP_WRITE_ERROR;
	return 0;
}

/* The client knows the frontend, not the backend: in what is quoted, and as the sender when it is the backend itself. */
static __always_inline int restore_quoted_frontend(struct __sk_buff *skb, struct packet *p, const struct packet *q,
						   const struct addr *frontend, __be16 port)
{
	int ret = rewrite_quoted(skb, p, q, DESTINATION, frontend, port);

	if (ret < 0 || !addr_equal(&p->saddr, &q->daddr))
		return ret;
	return rewrite(skb, p, SOURCE, frontend, 0);
}

/* The same for an error that reverse_snat_error() has turned back: one call for both would be too much for the stack. */
subprogram restore_error_frontend(struct __sk_buff *skb, struct packet *p, __u32 rev_nat_id)
{
	__u16 id = (__u16)rev_nat_id;
	struct lb_revnat *frontend = bpf_map_lookup_elem(&lb_revnat, &id);
	struct packet q;

	if (!p)
		return -DROP_INVALID;
	if (!frontend || parse_quoted(skb, p, &q) < 0)
		return 0;
	return restore_quoted_frontend(skb, p, &q, &frontend->address, frontend->port);
}

/*
 * An error about a packet that we have sent out with another source: back to the one who really sent it. Gives the rev_nat_id of its flow,
 * 0 without a service, or -DROP_*.
 */
subprogram reverse_snat_error(struct __sk_buff *skb, struct packet *p, enum answered *found)
{
	struct nat_key key = { .direction = NAT_INGRESS };
	struct nat_entry *entry;
	struct packet q;
	struct addr to;
	__be16 port;
	__u16 id;
	int ret;

	if (!p || !found)
		return -DROP_INVALID;
	if (parse_quoted(skb, p, &q) < 0)
		return 0; /* none of ours, and maybe the host's */
	addr_copy(&key.saddr, &q.daddr);
	addr_copy(&key.daddr, &q.saddr);
	key.sport = q.dport;
	key.dport = q.sport;
	key.proto = q.proto;
	entry = bpf_map_lookup_elem(&nat, &key);
	if (!entry)
		return 0;
	addr_copy(&to, &entry->to_address);
	port = entry->to_port;
	id = entry->rev_nat_id;
	*found = id ? ANSWERS_CLIENT : ANSWERS_POD;
	ret = rewrite_quoted(skb, p, &q, SOURCE, &to, port);
	if (ret >= 0)
		ret = rewrite(skb, p, DESTINATION, &to, 0);
	return ret < 0 ? ret : id;
}

/* An error about a packet that a service has translated. */
subprogram reverse_service_error(struct __sk_buff *skb, struct packet *p, __u32 direction)
{
	struct lb_revnat frontend;
	struct ct_entry *entry;
	struct ct_key key;
	struct packet q;

	if (!p)
		return -DROP_INVALID;
	if (!tracks(direction))
		return 0;
	if (parse_quoted(skb, p, &q) < 0)
		return 0; /* none of ours, and maybe the host's */
	ct_key_of(&q, &key, direction);
	entry = bpf_map_lookup_elem(&ct, &key);
	if (!entry || !dialled(&q, entry, &frontend))
		return 0;
	return restore_quoted_frontend(skb, p, &q, &frontend.address, frontend.port);
}

static __always_inline __u16 fold(__s64 sum)
{
	__u32 s = (__u32)sum;

	s = (s & 0xffff) + (s >> 16);
	s = (s & 0xffff) + (s >> 16);
	return ~s;
}

/* An error as we send it: its first eight bytes. */
struct icmp_error {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be32 info; /* too big: the MTU, of IPv4 in the lower half */
};

struct answer_v4 {
	struct iphdr ip;
	struct icmp_error icmp;
	__u8 quoted[28];
};

struct answer_v6 {
	struct ipv6hdr ip;
	struct icmp_error icmp;
	__u8 quoted[48];
};

static __always_inline int answer_ipv4(struct __sk_buff *skb, const struct packet *p, const struct icmp_error *error)
{
	struct answer_v4 r = {};

	if (bpf_skb_load_bytes(skb, ETH_HLEN_, r.quoted, sizeof(r.quoted)) < 0)
		return -DROP_INVALID;
	r.ip.version = 4;
	r.ip.ihl = 5;
	r.ip.ttl = 64;
	r.ip.protocol = IPPROTO_ICMP;
	r.ip.tot_len = bpf_htons(sizeof(r));
	r.ip.saddr = p->daddr.words[3];
	r.ip.daddr = p->saddr.words[3];
	r.ip.check = fold(bpf_csum_diff(NULL, 0, (__be32 *)&r.ip, sizeof(r.ip), 0));
	r.icmp = *error;
	r.icmp.checksum = fold(bpf_csum_diff(NULL, 0, (__be32 *)&r.icmp, sizeof(r.icmp) + sizeof(r.quoted), 0));
	if (bpf_skb_change_tail(skb, ETH_HLEN_ + sizeof(r), 0) < 0)
		return -DROP_INVALID;
	return bpf_skb_store_bytes(skb, ETH_HLEN_, &r, sizeof(r), BPF_F_RECOMPUTE_CSUM) < 0 ? -DROP_WRITE_ERROR : 0;
}

static __always_inline int answer_ipv6(struct __sk_buff *skb, const struct packet *p, const struct icmp_error *error)
{
	struct answer_v6 r = {};
	__be32 length = bpf_htonl(sizeof(r.icmp) + sizeof(r.quoted));
	__be32 next = bpf_htonl(IPPROTO_ICMPV6);
	__s64 sum;

	if (bpf_skb_load_bytes(skb, ETH_HLEN_, r.quoted, sizeof(r.quoted)) < 0)
		return -DROP_INVALID;
	r.ip.version = 6;
	r.ip.hop_limit = 64;
	r.ip.nexthdr = IPPROTO_ICMPV6;
	r.ip.payload_len = bpf_htons(sizeof(r.icmp) + sizeof(r.quoted));
	__builtin_memcpy(&r.ip.saddr, &p->daddr, 16);
	__builtin_memcpy(&r.ip.daddr, &p->saddr, 16);
	r.icmp = *error;
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&r.ip.saddr, 32, 0);
	sum = bpf_csum_diff(NULL, 0, &length, 4, (__u32)sum);
	sum = bpf_csum_diff(NULL, 0, &next, 4, (__u32)sum);
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&r.icmp, sizeof(r.icmp) + sizeof(r.quoted), (__u32)sum);
	r.icmp.checksum = fold(sum);
	if (bpf_skb_change_tail(skb, ETH_HLEN_ + sizeof(r), 0) < 0)
		return -DROP_INVALID;
	return bpf_skb_store_bytes(skb, ETH_HLEN_, &r, sizeof(r), BPF_F_RECOMPUTE_CSUM) < 0 ? -DROP_WRITE_ERROR : 0;
}

/* Out of the device that the packet came in by, in the name of its destination. Counted as `reason`. */
static __always_inline int answer(struct __sk_buff *skb, struct packet *p, const struct icmp_error *error, __u8 reason)
{
	int ret = p->family == 4 ? answer_ipv4(skb, p, error) : answer_ipv6(skb, p, error);
	__u8 macs[12];

	if (ret < 0)
		return -reason;
	if (bpf_skb_load_bytes(skb, 0, macs, sizeof(macs)) < 0)
		return -DROP_INVALID;
	ret = set_macs(skb, macs + 6, macs);
	count(skb, reason, METRIC_SERVICE, FROM_NETDEV);
	return ret < 0 ? ret : (int)bpf_redirect(skb->ifindex, 0);
}

/* Port unreachable: connect(2) then fails with ECONNREFUSED at once. */
subprogram reject(struct __sk_buff *skb, struct packet *p)
{
	struct icmp_error error = { .type = ICMP_DEST_UNREACH, .code = ICMP_PORT_UNREACH };

	if (!p)
		return -DROP_INVALID;
	if (config.flags & CONFIG_NO_BACKEND_DROP)
		return -DROP_NO_SERVICE;
	if (p->family == 6) {
		error.type = ICMPV6_DEST_UNREACH;
		error.code = ICMPV6_PORT_UNREACH;
	}
	return answer(skb, p, &error, DROP_NO_SERVICE);
}

/* Fragmentation needed, packet too big: `mtu` fits. */
subprogram answer_too_big(struct __sk_buff *skb, struct packet *p, __u32 mtu)
{
	struct icmp_error error = { .type = ICMP_DEST_UNREACH, .code = ICMP_FRAG_NEEDED, .info = bpf_htonl(mtu) };

	if (!p)
		return -DROP_INVALID;
	if (p->family == 6) {
		error.type = ICMPV6_PKT_TOOBIG;
		error.code = 0;
	}
	return answer(skb, p, &error, DROP_FRAG_NEEDED);
}
