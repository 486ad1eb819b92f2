/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
/*
 * Network policy. A flow is judged by its first packet and remembered in `ct` with the revision of the policy and the peer's identity
 * under which it was allowed: when either differs the next packet is judged again, so a change takes effect on established flows at once.
 * Replies of a flow that was allowed pass. An endpoint that no policy selects is not tracked at all.
 */
#include "icmp.h"

#define POLICY_ANY (ENDPOINT_POLICY_INGRESS | ENDPOINT_POLICY_EGRESS | ENDPOINT_POLICY_LOCKDOWN)
#define IDENTITY_CLUSTER_SCOPE 256 /* below are the reserved ones */
#define IDENTITY_LOCAL_SCOPE 0x01000000 /* identities from here on mean something on this node alone */

/*
 * The host is tracked from the start where it has a firewall: its first policy must not cut connections that it has open, the agent's
 * watches before all.
 */
static __always_inline bool policed(const struct endpoint_entry *ep)
{
	if (!ep)
		return false;
	return (ep->flags & POLICY_ANY) || ((ep->flags & ENDPOINT_HOST) && (config.flags & CONFIG_HOST_FIREWALL));
}

static __always_inline __u32 world_identity(const struct addr *address)
{
	if (!(config.flags & CONFIG_DUAL_STACK_WORLD))
		return IDENTITY_WORLD;
	return addr_is_v4(address) ? IDENTITY_WORLD_IPV4 : IDENTITY_WORLD_IPV6;
}

/* What nobody has an identity for is the world's. */
static __always_inline __u32 identity_of(const struct addr *address)
{
	struct ipcache_entry *entry = ipcache_lookup(address);

	if (!entry || entry->identity == IDENTITY_UNKNOWN || entry->identity == IDENTITY_WORLD)
		return world_identity(address);
	return entry->identity;
}

static __always_inline __u32 peer_of(const struct endpoint_entry *ep, const struct addr *address)
{
	return ep ? ep->identity : identity_of(address);
}

/* The destination port; for ICMP the type, because policy names types. */
static __always_inline __be16 judged_port(const struct packet *p)
{
	return packet_is_icmp(p) ? bpf_htons(p->icmp_type) : p->dport;
}

/* The longest match for one identity. */
static __always_inline struct policy_entry *policy_match(void *group, const struct policy_verdict *v, __u32 identity)
{
	struct policy_key key = {
		.prefixlen = 64,
		.identity = identity,
		.direction = v->direction,
		.proto = v->proto,
		.dport = v->dport,
	};

	return bpf_map_lookup_elem(group, &key);
}

static __always_inline bool is_node_identity(__u32 identity)
{
	return identity == IDENTITY_HOST || identity == IDENTITY_REMOTE_NODE || identity == IDENTITY_KUBE_APISERVER;
}

/* A node's address alone does not make a node of the sender: outsiders come with it from the node that has balanced them. */
static __always_inline struct policy_entry *class_match(void *group, const struct policy_verdict *v, const struct addr *peer)
{
	struct ipcache_key key = { .prefixlen = 128 };
	struct policy_class *class = NULL;

	addr_copy(&key.address, peer);
	if (is_node_identity(v->peer_identity))
		class = bpf_map_lookup_elem(&node_classes, &key.address);
	if (!class)
		class = bpf_map_lookup_elem(&policy_classes, &key);
	return class && class->identity ? policy_match(group, v, class->identity) : NULL;
}

/* A deny that is only tried out does not win over others: it stands where something is allowed, and says that it would deny it. */
static __always_inline bool is_deny(const struct policy_entry *entry)
{
	return entry && (entry->flags & (POLICY_DENY | POLICY_DEFAULT | POLICY_AUDIT)) == POLICY_DENY;
}

static __always_inline bool is_allow(const struct policy_entry *entry)
{
	return entry && (!(entry->flags & POLICY_DENY) || (entry->flags & (POLICY_DEFAULT | POLICY_AUDIT)) == POLICY_AUDIT);
}

/*
 * False: somebody of whom this node has not heard, or heard so lately that its policy maps do not know him yet. The ipcache gets an identity
 * after the policy maps, so what it says is known.
 */
static __always_inline bool is_known(const struct policy_verdict *v, const struct addr *peer)
{
	struct ipcache_entry *entry;

	if (v->peer_identity < IDENTITY_CLUSTER_SCOPE)
		return v->peer_identity != IDENTITY_UNMANAGED;
	entry = ipcache_lookup(peer);
	return entry && entry->identity == v->peer_identity;
}

/* Whatever decides counts the packet, and names itself in the verdict. */
static __always_inline int decided(struct __sk_buff *skb, const struct endpoint_entry *ep, struct policy_verdict *v,
				   struct policy_entry *entry, __u8 match)
{
	__sync_fetch_and_add(&entry->packets, 1);
	__sync_fetch_and_add(&entry->bytes, skb->len);
	v->rule_id = entry->rule_id;
	v->match = match;
	v->action = VERDICT_ALLOW;
	v->log = !!(entry->flags & POLICY_LOG);
	if (!(entry->flags & POLICY_DENY))
		return 0;
	if ((entry->flags & POLICY_AUDIT) || (ep->flags & ENDPOINT_POLICY_AUDIT)) {
		v->action = VERDICT_AUDIT;
		return 0;
	}
	v->action = VERDICT_DENY;
	return entry->flags & POLICY_DEFAULT ? -DROP_POLICY : -DROP_POLICY_DENY;
}

/*
 * One lookup each for the peer, the address block that it is in, and everybody: a deny in any of them wins, then an allow in any, then
 * the default of the direction. 0 or -DROP_POLICY*; `v` says what was asked and gets the answer.
 */
subprogram judge(struct __sk_buff *skb, struct endpoint_entry *ep, struct policy_verdict *v, const struct addr *peer)
{
	struct policy_entry *own, *class = NULL, *any;
	__u32 id;
	void *group;

	if (!ep || !v || !peer)
		return -DROP_INVALID;
	v->action = VERDICT_DENY;
	if (ep->flags & ENDPOINT_POLICY_LOCKDOWN)
		return -DROP_POLICY;
	if (!(ep->flags & (v->direction == POLICY_INGRESS ? ENDPOINT_POLICY_INGRESS : ENDPOINT_POLICY_EGRESS))) {
		v->action = VERDICT_ALLOW;
		return 0;
	}
	id = ep->policy_group;
	group = bpf_map_lookup_elem(&policy, &id);
	if (!group)
		return -DROP_POLICY;
	own = policy_match(group, v, v->peer_identity);
	if (is_deny(own))
		return decided(skb, ep, v, own, MATCH_PEER);
	if (ep->flags & ENDPOINT_POLICY_CLASS)
		class = class_match(group, v, peer);
	if (is_deny(class))
		return decided(skb, ep, v, class, MATCH_CLASS);
	any = policy_match(group, v, 0);
	if (is_deny(any))
		return decided(skb, ep, v, any, MATCH_ANY);
	if (is_allow(own))
		return decided(skb, ep, v, own, MATCH_PEER);
	if (is_allow(class))
		return decided(skb, ep, v, class, MATCH_CLASS);
	if (any && (any->flags & POLICY_KNOWN) && !own && !class && !is_known(v, peer)) {
		v->match = MATCH_UNKNOWN_PEER;
		return -DROP_POLICY;
	}
	return any ? decided(skb, ep, v, any, MATCH_ANY) : -DROP_POLICY;
}

struct verdict_event {
	struct event_header header;
	struct policy_verdict verdict;
	__u8 packet[CAPTURE_MAX];
};

subprogram send_verdict(struct __sk_buff *skb, const struct endpoint_entry *ep, const struct policy_verdict *v)
{
	struct verdict_event *event;
	__u32 captured = skb->len;
	bool ingress;

	if (!ep || !v)
		return 0;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		lose_event();
		return 0;
	}
	__builtin_memset(&event->header, 0, sizeof(event->header));
	ingress = v->direction == POLICY_INGRESS;
	event->header.type = EVENT_POLICY_VERDICT;
	event->header.subtype = v->action;
	event->header.family = skb->protocol == bpf_htons(ETH_P_IP) ? 4 : 6;
	event->header.hash = skb->hash;
	event->header.timestamp = bpf_ktime_get_ns();
	event->header.packet_length = skb->len;
	event->header.src_identity = ingress ? v->peer_identity : ep->identity;
	event->header.dst_identity = ingress ? ep->identity : v->peer_identity;
	event->header.ifindex = skb->ifindex;
	event->header.endpoint_id = ep->id;
	event->verdict = *v;
	if (captured > CAPTURE_MAX)
		captured = CAPTURE_MAX;
	if (captured < 1 || bpf_skb_load_bytes(skb, 0, event->packet, captured) < 0)
		captured = 0;
	event->header.captured = captured;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

static __always_inline bool still_allowed(const struct ct_entry *entry, const struct endpoint_entry *ep, __u32 peer)
{
	return entry->policy_revision == ep->policy_revision && entry->peer_identity == peer;
}

/*
 * An ICMP error belongs to the flow that it quotes: `in` if the endpoint gets it. The quoted packet is one that the endpoint has sent
 * (it gets the error) or got (it sends the error), of a flow that either side began.
 */
subprogram related(struct __sk_buff *skb, struct packet *p, struct endpoint_entry *ep, __u32 in)
{
	struct ct_entry *entry;
	struct ct_key key;
	struct packet q;

	if (!p || !ep || parse_quoted(skb, p, &q) < 0)
		return 0;
	ct_key_of(&q, &key, in ? CT_EGRESS : CT_INGRESS);
	entry = bpf_map_lookup_elem(&ct, &key);
	if (!entry) {
		ct_reply_key_of(&q, &key, in ? CT_INGRESS : CT_EGRESS);
		entry = bpf_map_lookup_elem(&ct, &key);
	}
	return entry && entry->policy_revision == ep->policy_revision;
}

/* Remembers under what a flow was allowed that nobody has an entry for. A frame of its own: the stack is short. */
subprogram allow_new_flow(struct __sk_buff *skb, struct packet *p, struct endpoint_entry *ep, const struct policy_verdict *v)
{
	struct ct_entry fresh = {};
	struct datapath_state *seen;
	struct ct_key key;
	__u8 direction;

	if (!p || !ep || !v)
		return -DROP_INVALID;
	direction = v->direction == POLICY_INGRESS ? CT_INGRESS : CT_EGRESS;
	fresh.packets = 1;
	fresh.bytes = skb->len;
	fresh.peer_identity = v->peer_identity;
	fresh.policy_revision = ep->policy_revision;
	fresh.ifindex = skb->ifindex;
	fresh.expires = now_seconds() + ct_lifetime(p, 0);
	ct_key_of(p, &key, direction);
	if (bpf_map_update_elem(&ct, &key, &fresh, BPF_ANY) < 0)
		return -DROP_CT_CREATE_FAILED;
	/* Masquerade must know replies to outsiders; flows inside the cluster need nobody else to look. */
	seen = state();
	if (seen && direction == CT_INGRESS && !seen->ingress_tracked && !in_cluster(&p->saddr))
		seen->ingress_tracked = 1;
	return 0;
}

/* The reply of a flow whose policy or peer has changed since: judged as the flow's own packets would be. */
static __always_inline int judge_reply(struct __sk_buff *skb, struct packet *p, struct endpoint_entry *ep, struct ct_entry *flow,
				       struct policy_verdict *v)
{
	bool in = v->direction == POLICY_INGRESS;
	int ret;

	v->direction = in ? POLICY_EGRESS : POLICY_INGRESS;
	v->dport = !packet_is_icmp(p) ? p->sport : bpf_htons(p->proto == IPPROTO_ICMP ? ICMP_ECHO : ICMPV6_ECHO_REQUEST);
	ret = judge(skb, ep, v, in ? &p->saddr : &p->daddr);
	if (ret < 0 || v->action == VERDICT_AUDIT)
		send_verdict(skb, ep, v);
	flow->policy_revision = ret < 0 ? 0 : ep->policy_revision;
	flow->peer_identity = v->peer_identity;
	if (ret >= 0)
		ct_touch(flow, p, true);
	return ret;
}

/*
 * Judges a packet that `ep` gets (POLICY_INGRESS) or sends (POLICY_EGRESS), with addresses as the endpoint's own flows have them: after a
 * service became a backend, before a reply gets its frontend back. 0 or -DROP_POLICY*.
 */
global_subprogram enforce(struct __sk_buff *skb, struct packet *p, struct endpoint_entry *ep, __u32 peer, __u32 direction)
{
	struct policy_verdict v = {};
	struct ct_entry *entry;
	struct ct_key key;
	bool in = direction == POLICY_INGRESS;
	int ret;

	if (!p || !ep)
		return -DROP_INVALID;
	v.peer_identity = peer;
	v.proto = p->proto;
	v.dport = judged_port(p);
	v.direction = (__u8)direction;
	if ((p->flags & PACKET_ICMP_ERROR) && related(skb, p, ep, in))
		return 0;
	ct_key_of(p, &key, in ? CT_INGRESS : CT_EGRESS);
	entry = bpf_map_lookup_elem(&ct, &key);
	if (entry && still_allowed(entry, ep, peer)) {
		ct_touch(entry, p, false);
		return 0;
	}
	if (!entry || !entry->policy_revision) {
		struct ct_entry *flow;

		ct_reply_key_of(p, &key, in ? CT_EGRESS : CT_INGRESS);
		flow = bpf_map_lookup_elem(&ct, &key);
		if (flow && still_allowed(flow, ep, peer)) {
			ct_touch(flow, p, true);
			return 0;
		}
		if (flow && flow->policy_revision)
			return judge_reply(skb, p, ep, flow, &v);
	}
	ret = judge(skb, ep, &v, in ? &p->saddr : &p->daddr);
	if (ret < 0 || v.action == VERDICT_AUDIT || v.log || (config.flags & CONFIG_POLICY_VERDICTS))
		send_verdict(skb, ep, &v);
	if (!entry)
		return ret < 0 ? ret : allow_new_flow(skb, p, ep, &v);
	/* An entry that translation has made stays what it is. */
	entry->peer_identity = peer;
	entry->policy_revision = ret < 0 ? 0 : ep->policy_revision;
	if (ret >= 0)
		ct_touch(entry, p, false);
	return ret < 0 ? ret : 0;
}

/* What came by the overlay says who sent it. Another node's host is a remote node here, or the API server; outsiders keep their own address's identity. */
static __always_inline __u32 overlay_identity(__u32 vni, const struct addr *from)
{
	__u32 identity;

	if (vni != IDENTITY_HOST && vni != IDENTITY_WORLD)
		return vni;
	identity = identity_of(from);
	if (vni == IDENTITY_HOST)
		return identity == IDENTITY_KUBE_APISERVER ? identity : IDENTITY_REMOTE_NODE;
	return is_node_identity(identity) ? world_identity(from) : identity;
}

/* Encapsulated packets are between nodes alone: from a pod, or from outside, they are forged. */
static __always_inline bool is_overlay_packet(const struct packet *p)
{
	return config.routing_mode == ROUTING_VXLAN && p->proto == IPPROTO_UDP && p->dport == bpf_htons(config.tunnel_port);
}
