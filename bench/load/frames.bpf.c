// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Frames that were never an sk_buff: written anew each time, for BPF_PROG_TEST_RUN with live frames, and sent out of a device. */
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define FRAME_WORDS 15
#define SOURCE_PORT 34 /* behind Ethernet and IPv4 without options */

const volatile struct {
	__u32 ifindex;
	__u32 flows; /* a power of two; as many source ports */
	__u32 frame[FRAME_WORDS];
} flood;

__u32 sent;

SEC("xdp")
int send_frame(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 *word = data;

	if (data + FRAME_WORDS * 4 > end)
		return XDP_ABORTED;
	for (int i = 0; i < FRAME_WORDS; i++)
		word[i] = flood.frame[i];
	*(__be16 *)(data + SOURCE_PORT) = bpf_htons(20000 + (sent++ & (flood.flows - 1)));
	return bpf_redirect(flood.ifindex, 0);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
