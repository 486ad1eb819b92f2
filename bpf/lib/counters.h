/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
/* Counters and the head of events, for tc and XDP alike. */
#include "common.h"

#define CAPTURE_MAX 128

struct drop_event {
	struct event_header header;
	__u8 packet[CAPTURE_MAX];
};

/* Every packet pays for this: an array, which the verifier turns into an address. */
static __always_inline void add_forwarded(__u32 length, __u8 direction, __u8 source)
{
	__u32 index = source * FORWARDED_DIRECTIONS + direction;
	struct metrics_entry *entry = bpf_map_lookup_elem(&forwarded, &index);

	if (!entry)
		return;
	entry->packets += 1;
	entry->bytes += length;
}

static __always_inline void add_counted(__u32 length, __u8 reason, __u8 direction, __u8 source)
{
	struct metrics_key key = { .reason = reason, .direction = direction, .source = source };
	struct metrics_entry *entry = bpf_map_lookup_elem(&metrics, &key);

	if (entry) {
		entry->packets += 1;
		entry->bytes += length;
	} else {
		struct metrics_entry first = { .packets = 1, .bytes = length };

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

/* A record with its head but for what only the hook knows; NULL: no room. */
static __always_inline struct drop_event *begin_drop_event(__u32 length, __u8 reason, __u8 source, __be16 protocol)
{
	struct drop_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event) {
		lose_event();
		return NULL;
	}
	__builtin_memset(&event->header, 0, sizeof(event->header));
	event->header.type = EVENT_DROP;
	event->header.subtype = reason;
	event->header.source = source;
	event->header.family = protocol == bpf_htons(ETH_P_IP) ? 4 : protocol == bpf_htons(ETH_P_IPV6) ? 6 : 0;
	event->header.timestamp = bpf_ktime_get_ns();
	event->header.packet_length = length;
	return event;
}
