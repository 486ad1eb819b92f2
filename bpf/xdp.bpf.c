// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* On native devices whose driver can, before the stack has seen a packet. What is not forwarded here goes on to tc. */
#include "lib/xdp_nodeport.h"

SEC("xdp")
int xdp_netdev(struct xdp_md *ctx)
{
	struct cursor c = cursor_of(ctx);
	struct packet p;
	int ret;

	/* A filter of unwanted sources would stand here, before anything is looked up. */
	if (!xdp_parse(&c, &p))
		return XDP_PASS;
	ret = is_overlay_to_us(&p) ? xdp_from_overlay(ctx, &c, &p) : xdp_arrive(ctx, &p);
	return xdp_finish(ctx, ret, p.length);
}
