/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
/* What every object starts from: kernel headers, the ABI, the configuration. */
#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/icmpv6.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "maps.h"

/* Set by user space before load; the verifier then knows it as constant and drops what is switched off. */
const volatile struct datapath_config config SEC(".rodata") = { .abi_version = ABI_VERSION };

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#ifndef AF_INET
#define AF_INET 2
#define AF_INET6 10
#endif

#define ETH_HLEN_ 14
#define PACKET_HOST 0

/* RFC 792; <linux/icmp.h> drags libc headers in, which have no eBPF flavour. */
enum { ICMP_ECHOREPLY = 0, ICMP_DEST_UNREACH = 3, ICMP_ECHO = 8, ICMP_TIME_EXCEEDED = 11, ICMP_PARAMETERPROB = 12 };
enum { ICMP_PORT_UNREACH = 3, ICMP_FRAG_NEEDED = 4 };

struct icmphdr {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be16 id;
	__be16 sequence;
};

/* A function of its own in the program, so that the verifier and the 512-byte stack see it once; not every object uses each. */
#define subprogram static __noinline __attribute__((unused)) int

/*
 * The same, verified once and for all callers: what it has found out about the packet does not multiply the paths after it. It may take
 * the context, numbers and memory, and what memory holds afterwards is unknown.
 */
#define global_subprogram __attribute__((noinline, unused)) int

/* Seconds of CLOCK_MONOTONIC as of the last tick: cheap, and lifetimes need no more. */
static __always_inline __u32 now_seconds(void)
{
	return (__u32)(bpf_ktime_get_coarse_ns() / 1000000000ULL);
}

static __always_inline struct datapath_state *state(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&datapath_state, &zero);
}
