/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
/* Counters for every packet, an event for every drop. */
#include "counters.h"
#include "parse.h"

static __always_inline void count(struct __sk_buff *skb, __u8 reason, __u8 direction, __u8 source)
{
	add_counted(skb->len, reason, direction, source);
}

subprogram send_drop_event(struct __sk_buff *skb, __u8 reason, __u8 source, __u32 identity)
{
	struct drop_event *event = begin_drop_event(skb->len, reason, source, (__be16)skb->protocol);
	__u32 captured = skb->len;

	if (!event)
		return 0;
	event->header.hash = skb->hash;
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
		add_forwarded(skb->len, direction, source);
		return ret;
	}
	count(skb, (__u8)-ret, direction, source);
	send_drop_event(skb, (__u8)-ret, source, identity);
	return TC_ACT_SHOT;
}
