/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
/* Counters for every packet, an event for every drop. */
#include "parse.h"

#define CAPTURE_MAX 128

struct drop_event {
	struct event_header header;
	__u8 packet[CAPTURE_MAX];
};

/* Every packet pays for this: an array, which the verifier turns into an address. */
static __always_inline void count_forwarded(struct __sk_buff *skb, __u8 direction, __u8 source)
{
	__u32 index = source * FORWARDED_DIRECTIONS + direction;
	struct metrics_entry *entry = bpf_map_lookup_elem(&forwarded, &index);

	if (!entry)
		return;
	entry->packets += 1;
	entry->bytes += skb->len;
}

static __always_inline void count(struct __sk_buff *skb, __u8 reason, __u8 direction, __u8 source)
{
	struct metrics_key key = { .reason = reason, .direction = direction, .source = source };
	struct metrics_entry *entry = bpf_map_lookup_elem(&metrics, &key);

	if (entry) {
		entry->packets += 1;
		entry->bytes += skb->len;
	} else {
		struct metrics_entry first = { .packets = 1, .bytes = skb->len };

		bpf_map_update_elem(&metrics, &key, &first, BPF_NOEXIST);
	}
}

/* To be called when the ring buffer has no room for a record. */
static __always_inline void lose_event(void)
{
	__u32 zero = 0;
	struct events_lost *lost = bpf_map_lookup_elem(&events_lost, &zero);

	if (lost)
		lost->count += 1;
}

subprogram send_drop_event(struct __sk_buff *skb, __u8 reason, __u8 source, __u32 identity)
{
	struct drop_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	__u32 captured = skb->len;

	if (!event) {
		lose_event();
		return 0;
	}
	__builtin_memset(&event->header, 0, sizeof(event->header));
	event->header.type = EVENT_DROP;
	event->header.subtype = reason;
	event->header.source = source;
	event->header.family = skb->protocol == bpf_htons(ETH_P_IP) ? 4 : skb->protocol == bpf_htons(ETH_P_IPV6) ? 6 : 0;
	event->header.hash = skb->hash;
	event->header.timestamp = bpf_ktime_get_ns();
	event->header.packet_length = skb->len;
	event->header.src_identity = identity;
	event->header.ifindex = skb->ifindex;
	if (captured > CAPTURE_MAX)
		captured = CAPTURE_MAX;
	if (captured < 1 || bpf_skb_load_bytes(skb, 0, event->packet, captured) < 0)
		captured = 0;
	event->header.captured = captured;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

/* The one exit of every program: turns -DROP_* into a counted, reported TC_ACT_SHOT. */
static __always_inline int finish(struct __sk_buff *skb, int ret, __u8 direction, __u8 source, __u32 identity)
{
	if (ret >= 0) {
		count_forwarded(skb, direction, source);
		return ret;
	}
	count(skb, (__u8)-ret, direction, source);
	send_drop_event(skb, (__u8)-ret, source, identity);
	return TC_ACT_SHOT;
}
