/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
/*
 * A pod's only neighbour is its router. The datapath answers ARP (RFC 826) and neighbour solicitations (RFC 4861) for any
 * address with the lxc device's MAC, so nothing is flooded and no proxy_arp is needed.
 */
#include "icmp.h"

struct arp_ipv4 {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_length;
	__u8 protocol_length;
	__be16 operation;
	__u8 sender_mac[6];
	__be32 sender_ip;
	__u8 target_mac[6];
	__be32 target_ip;
} __attribute__((packed));

static __always_inline int answer_arp(struct __sk_buff *skb)
{
	struct endpoint_entry *ep;
	struct arp_ipv4 arp;
	struct addr sender;
	__be32 asked;
	int ret;

	if (bpf_skb_load_bytes(skb, ETH_HLEN_, &arp, sizeof(arp)) < 0)
		return -DROP_INVALID;
	if (arp.operation != bpf_htons(1))
		return TC_ACT_SHOT;
	addr_set_v4(&sender, arp.sender_ip);
	ep = endpoint_lookup(&sender);
	if (!ep || ep->ifindex != skb->ifindex)
		return -DROP_INVALID_SIP;
	if (arp.target_ip == arp.sender_ip)
		return TC_ACT_SHOT; /* gratuitous: its own address */
	asked = arp.target_ip;
	arp.operation = bpf_htons(2);
	__builtin_memcpy(arp.target_mac, arp.sender_mac, 6);
	arp.target_ip = arp.sender_ip;
	__builtin_memcpy(arp.sender_mac, ep->node_mac, 6);
	arp.sender_ip = asked;
	ret = set_macs(skb, ep->mac, ep->node_mac);
	if (ret < 0 || bpf_skb_store_bytes(skb, ETH_HLEN_, &arp, sizeof(arp), BPF_F_RECOMPUTE_CSUM) < 0)
		return -DROP_WRITE_ERROR;
	return bpf_redirect(skb->ifindex, 0);
}

struct neighbour_advertisement {
	struct ipv6hdr ip;
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be32 flags; /* router, solicited, override */
	struct in6_addr target;
	__u8 option_type;
	__u8 option_length;
	__u8 mac[6];
};

static __always_inline int answer_solicitation(struct __sk_buff *skb, const struct packet *p, const struct endpoint_entry *ep)
{
	struct neighbour_advertisement na = {};
	__be32 length = bpf_htonl(32);
	__be32 next = bpf_htonl(IPPROTO_ICMPV6);
	__s64 sum;
	int ret;

	if (bpf_skb_load_bytes(skb, p->l4_offset + 8, &na.target, 16) < 0)
		return -DROP_INVALID;
	na.ip.version = 6;
	na.ip.hop_limit = 255;
	na.ip.nexthdr = IPPROTO_ICMPV6;
	na.ip.payload_len = bpf_htons(32);
	na.ip.saddr = na.target;
	__builtin_memcpy(&na.ip.daddr, &p->saddr, 16);
	na.type = 136;
	na.flags = bpf_htonl(0xe0000000);
	na.option_type = 2;
	na.option_length = 1;
	__builtin_memcpy(na.mac, ep->node_mac, 6);
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&na.ip.saddr, 32, 0);
	sum = bpf_csum_diff(NULL, 0, &length, 4, (__u32)sum);
	sum = bpf_csum_diff(NULL, 0, &next, 4, (__u32)sum);
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&na.type, 32, (__u32)sum);
	na.checksum = fold(sum);
	ret = set_macs(skb, ep->mac, ep->node_mac);
	if (ret < 0 || bpf_skb_change_tail(skb, ETH_HLEN_ + sizeof(na), 0) < 0 ||
	    bpf_skb_store_bytes(skb, ETH_HLEN_, &na, sizeof(na), BPF_F_RECOMPUTE_CSUM) < 0)
		return -DROP_WRITE_ERROR;
	return bpf_redirect(skb->ifindex, 0);
}
