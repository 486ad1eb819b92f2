/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
/* Counters and drop events at XDP. What is passed on is not counted: tc does that. */
#include "counters.h"
#include "xdp_parse.h"

/* The packet's beginning; gives the number of bytes. */
static __always_inline __u32 xdp_capture(struct xdp_md *ctx, __u8 *to)
{
	__u8 *at = xdp_data(ctx), *end = xdp_end(ctx);
	__u32 captured = 0;

	if (at + CAPTURE_MAX <= end) {
		__builtin_memcpy(to, at, CAPTURE_MAX);
		return CAPTURE_MAX;
	}
#pragma clang loop unroll(disable)
	for (; captured < CAPTURE_MAX; captured++) {
		if (at + captured + 1 > end)
			break;
		to[captured] = at[captured];
	}
	return captured;
}

static __always_inline __be16 xdp_protocol(struct xdp_md *ctx)
{
	struct ethhdr *eth = xdp_data(ctx);

	return (void *)(eth + 1) > xdp_end(ctx) ? 0 : eth->h_proto;
}

subprogram xdp_drop_event(struct xdp_md *ctx, __u32 length, __u8 reason)
{
	struct drop_event *event = begin_drop_event(length, reason, XDP_NETDEV, xdp_protocol(ctx));

	if (!event)
		return 0;
	event->header.src_identity = IDENTITY_WORLD;
	event->header.ifindex = ctx->ingress_ifindex;
	event->header.captured = xdp_capture(ctx, event->packet);
	bpf_ringbuf_submit(event, 0);
	return 0;
}

/* The one exit: turns -DROP_* into a counted, reported XDP_DROP. */
static __always_inline int xdp_finish(struct xdp_md *ctx, int ret, __u32 length)
{
	if (ret == XDP_PASS)
		return ret;
	if (ret >= 0) {
		add_forwarded(length, METRIC_INGRESS, XDP_NETDEV);
		return ret;
	}
	add_counted(length, (__u8)-ret, METRIC_INGRESS, XDP_NETDEV);
	xdp_drop_event(ctx, length, (__u8)-ret);
	return XDP_DROP;
}
