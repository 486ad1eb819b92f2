// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* On ciliate_vxlan: what other nodes send us, with the sender's identity in the VNI. */
#include "lib/nodeport.h"

subprogram tunnel_identity(struct __sk_buff *skb, __u32 *identity)
{
	struct bpf_tunnel_key key = {};

	if (!identity || bpf_skb_get_tunnel_key(skb, &key, sizeof(key), 0) < 0)
		return -DROP_NO_TUNNEL_KEY;
	*identity = key.tunnel_id;
	return 0;
}

static __always_inline int handle(struct __sk_buff *skb, __u32 *identity)
{
	struct packet p;
	int ret = tunnel_identity(skb, identity);

	if (ret < 0)
		return ret;
	ret = parse(skb, &p);
	if (ret < 0)
		return ret;
	*identity = overlay_identity(*identity, &p.saddr);
	ret = arrive(skb, &p, *identity);
	return ret == TC_ACT_UNSPEC ? -DROP_UNKNOWN_TARGET : ret;
}

SEC("tc")
int from_overlay(struct __sk_buff *skb)
{
	__u32 identity = IDENTITY_UNKNOWN;
	int ret = handle(skb, &identity);

	return finish(skb, ret, METRIC_INGRESS, FROM_OVERLAY, identity);
}
