/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
/*
 * skipRedirectFromBackend: pods that a local redirect does not apply to, because they are its own backends. What they dial is served
 * as it would be without the redirect: by the service's own backends, or, for an address that is no service, by whoever has it.
 */
#include "service.h"

/* Key of lb_services, third scope: what a redirected frontend serves to those that the redirect lets pass. */
#define SCOPE_NOT_REDIRECTED 2

/* `client` names the pod: by its cookie at the socket, by its endpoint at tc. NULL: the address is to be dialled as it is. */
static __always_inline struct lb_service *lb_past_redirect(struct lb_key *key, struct lb_service *service, struct lb_skip_key *client)
{
	if (!service || !(service->flags & LB_SVC_LOCAL_REDIRECT))
		return service;
	addr_copy(&client->address, &key->address);
	client->port = key->dport;
	client->proto = key->proto;
	if (!bpf_map_lookup_elem(&lb_skip, client))
		return service;
	key->scope = SCOPE_NOT_REDIRECTED;
	return lb_slot(key, 0);
}
