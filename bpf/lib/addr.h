/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
/* struct addr: one type for both families. */
#include "common.h"

static __always_inline void addr_set_v4(struct addr *to, __be32 v4)
{
	to->words[0] = 0;
	to->words[1] = 0;
	to->words[2] = bpf_htonl(0xffff);
	to->words[3] = v4;
}

static __always_inline void addr_copy(struct addr *to, const volatile struct addr *from)
{
	to->words[0] = from->words[0];
	to->words[1] = from->words[1];
	to->words[2] = from->words[2];
	to->words[3] = from->words[3];
}

static __always_inline bool addr_equal(const struct addr *a, const volatile struct addr *b)
{
	return a->words[0] == b->words[0] && a->words[1] == b->words[1] && a->words[2] == b->words[2] &&
	       a->words[3] == b->words[3];
}

static __always_inline bool addr_is_zero(const volatile struct addr *a)
{
	return !(a->words[0] | a->words[1] | a->words[2] | a->words[3]);
}

static __always_inline bool addr_is_v4(const struct addr *a)
{
	return !a->words[0] && !a->words[1] && a->words[2] == bpf_htonl(0xffff);
}

/*
 * Multicast, broadcast and IPv6 link-local destinations: never masqueraded, never balanced, never sent on. IPv4 link-local ones are not
 * among them: services are there that pods reach through their node, as the metadata of clouds and node-local DNS.
 */
static __always_inline bool addr_is_local_scope(const struct addr *a)
{
	if (addr_is_v4(a)) {
		__u32 v4 = bpf_ntohl(a->words[3]);

		return v4 >> 28 == 0xe || v4 == 0xffffffff;
	}
	return a->bytes[0] == 0xff || (a->bytes[0] == 0xfe && (a->bytes[1] & 0xc0) == 0x80);
}
