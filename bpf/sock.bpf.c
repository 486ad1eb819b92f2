// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Load balancing at the socket: the destination of connect(2) and sendmsg(2) becomes a backend before there is a packet, so no
 * packet is ever translated and no conntrack entry made. recvmsg(2) and getpeername(2) give the dialled address back.
 * Context fields: user_ip4/user_ip6 and user_port are in network byte order.
 */
#include <bpf/bpf_core_read.h>
#include "lib/skip.h"

#define ALLOW 1
#define REFUSE 0
#define EADDRINUSE 98
#define ECONNREFUSED 111

struct dialled {
	struct addr address;
	__be16 port;
	__u8 proto;
	__u8 pad;
};

static __always_inline bool endpoint_is_host(const struct addr *address)
{
	struct endpoint_entry *entry;
	struct endpoint_key key;

	addr_copy(&key.address, address);
	entry = bpf_map_lookup_elem(&endpoints, &key);
	return entry && (entry->flags & ENDPOINT_HOST);
}

static __always_inline bool is_remote_node(const struct addr *address)
{
	struct ipcache_key key = { .prefixlen = 128 };
	struct ipcache_entry *entry;

	addr_copy(&key.address, address);
	entry = bpf_map_lookup_elem(&ipcache, &key);
	return entry && (entry->identity == IDENTITY_REMOTE_NODE || entry->identity == IDENTITY_KUBE_APISERVER);
}

static __always_inline bool is_loopback(const struct addr *address)
{
	if (addr_is_v4(address))
		return address->bytes[12] == 127;
	return !address->words[0] && !address->words[1] && !address->words[2] && address->words[3] == bpf_htonl(1);
}

/* Loopback of a pod is the pod's own, whatever the node has there. */
static __always_inline bool is_loopback_of_other(struct bpf_sock_addr *ctx, const struct addr *address)
{
	return is_loopback(address) && bpf_get_netns_cookie(ctx) != config.host_netns_cookie;
}

/*
 * A NodePort may be dialled on any node's address, and on loopback by the node itself; a hostPort has its addresses, and loopback too:
 * the frontend of 0.0.0.0 or :: stands for all.
 */
static __always_inline struct lb_service *wildcard(struct bpf_sock_addr *ctx, struct lb_key *key, const struct dialled *to)
{
	__u16 port = bpf_ntohs(to->port);
	bool in_range = port >= config.node_port_min && port <= config.node_port_max;
	bool loopback = is_loopback(&to->address);
	struct lb_service *service;

	if (is_loopback_of_other(ctx, &to->address))
		return NULL;
	if (!loopback && (!in_range || (!endpoint_is_host(&to->address) && !is_remote_node(&to->address))))
		return NULL;
	key->address.words[3] = 0;
	if (!addr_is_v4(&to->address)) {
		key->address.words[0] = 0;
		key->address.words[1] = 0;
		key->address.words[2] = 0;
	}
	service = lb_slot(key, 0);
	return service && (in_range || (service->flags & LB_SVC_HOST_PORT)) ? service : NULL;
}

/* At the socket a client of affinity is a network namespace: its pod has one address of each family, the node may have many. */
static __always_inline struct lb_backend *choose(struct bpf_sock_addr *ctx, struct lb_key *key, const struct lb_service *service)
{
	struct lb_affinity_key client = { .by_cookie = 1, .rev_nat_id = service->rev_nat_id, .scope = key->scope };
	__u64 cookie;
	__u32 id = 0;

	if (service->flags & LB_SVC_AFFINITY) {
		cookie = bpf_get_netns_cookie(ctx);
		client.client.words[0] = (__u32)(cookie >> 32);
		client.client.words[1] = (__u32)cookie;
		id = affinity_backend(service, &client);
	}
	if (!id) {
		id = random_backend(key, service);
		if (id && (service->flags & LB_SVC_AFFINITY))
			affinity_remember(&client, id);
	}
	return backend_of(id);
}

/* Of a pod that the frontend's redirect does not apply to: as it is without the redirect. */
static __always_inline struct lb_service *past_redirect(struct bpf_sock_addr *ctx, struct lb_key *key, struct lb_service *service)
{
	struct lb_skip_key client = {};

	if (service && (service->flags & LB_SVC_LOCAL_REDIRECT))
		client.netns_cookie = bpf_get_netns_cookie(ctx);
	return lb_past_redirect(key, service, &client);
}

/* A TCP socket has one peer, whatever it has dialled before. */
static __always_inline void remember_peer(struct bpf_sock_addr *ctx, const struct dialled *to, const struct lb_backend *backend, __u16 id)
{
	struct lb_dialled *value = ctx->sk ? bpf_sk_storage_get(&lb_dialled, ctx->sk, NULL, BPF_SK_STORAGE_GET_F_CREATE) : NULL;

	if (!value)
		return;
	addr_copy(&value->address, &to->address);
	addr_copy(&value->backend_address, &backend->address);
	value->port = to->port;
	value->backend_port = backend->port;
	value->rev_nat_id = id;
}

/* Other sockets may send to many. */
static __always_inline void remember(struct bpf_sock_addr *ctx, const struct dialled *to, const struct lb_backend *backend, __u16 id)
{
	struct lb_sock_revnat_key key = {};
	struct lb_sock_revnat value = {};

	key.cookie = bpf_get_socket_cookie(ctx);
	addr_copy(&key.address, &backend->address);
	key.port = backend->port;
	key.proto = to->proto;
	addr_copy(&value.address, &to->address);
	value.port = to->port;
	value.rev_nat_id = id;
	bpf_map_update_elem(&lb_sock_revnat, &key, &value, BPF_ANY);
}

enum translation { NOT_A_SERVICE, TRANSLATED, NO_BACKEND };

/* Turns what is dialled into a backend. */
subprogram translate(struct bpf_sock_addr *ctx, struct dialled *to)
{
	struct lb_service *service;
	struct lb_backend *backend;
	struct lb_key key = {};

	if (!to)
		return NOT_A_SERVICE;
	addr_copy(&key.address, &to->address);
	key.dport = to->port;
	key.proto = to->proto;
	service = lb_slot(&key, 0);
	if (!service)
		service = wildcard(ctx, &key, to);
	else if (is_loopback_of_other(ctx, &to->address))
		return NOT_A_SERVICE;
	service = past_redirect(ctx, &key, lb_inside(&key, service));
	if (!service)
		return NOT_A_SERVICE;
	backend = choose(ctx, &key, service);
	if (!backend)
		return NO_BACKEND;
	if (to->proto == IPPROTO_TCP)
		remember_peer(ctx, to, backend, service->rev_nat_id);
	else
		remember(ctx, to, backend, service->rev_nat_id);
	addr_copy(&to->address, &backend->address);
	to->port = backend->port;
	return TRANSLATED;
}

/* bpf_set_retval is there since Linux 5.18; before, what is refused gets EPERM. */
static __always_inline int refuse_with(int error)
{
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_set_retval))
		bpf_set_retval(-error);
	return REFUSE;
}

/* The error that a closed port would give. When the cluster wants silence, the packet goes out and tc drops it. */
static __always_inline int no_backend(void)
{
	return config.flags & CONFIG_NO_BACKEND_DROP ? ALLOW : refuse_with(ECONNREFUSED);
}

static __always_inline void dialled_v4(struct bpf_sock_addr *ctx, struct dialled *to)
{
	addr_set_v4(&to->address, ctx->user_ip4);
	to->port = (__be16)ctx->user_port;
	to->proto = (__u8)ctx->protocol;
	to->pad = 0;
}

static __always_inline void dialled_v6(struct bpf_sock_addr *ctx, struct dialled *to)
{
	to->address.words[0] = ctx->user_ip6[0];
	to->address.words[1] = ctx->user_ip6[1];
	to->address.words[2] = ctx->user_ip6[2];
	to->address.words[3] = ctx->user_ip6[3];
	to->port = (__be16)ctx->user_port;
	to->proto = (__u8)ctx->protocol;
	to->pad = 0;
}

static __always_inline int dial_v4(struct bpf_sock_addr *ctx)
{
	struct dialled to;
	int result;

	dialled_v4(ctx, &to);
	result = translate(ctx, &to);
	if (result == NO_BACKEND)
		return no_backend();
	if (result == TRANSLATED) {
		ctx->user_ip4 = to.address.words[3];
		ctx->user_port = to.port;
	}
	return ALLOW;
}

/* v4-in-v6 needs nothing of its own: ::ffff:a.b.c.d is how a struct addr writes IPv4. */
static __always_inline int dial_v6(struct bpf_sock_addr *ctx)
{
	struct dialled to;
	int result;

	dialled_v6(ctx, &to);
	result = translate(ctx, &to);
	if (result == NO_BACKEND)
		return no_backend();
	if (result == TRANSLATED) {
		ctx->user_ip6[0] = to.address.words[0];
		ctx->user_ip6[1] = to.address.words[1];
		ctx->user_ip6[2] = to.address.words[2];
		ctx->user_ip6[3] = to.address.words[3];
		ctx->user_port = to.port;
	}
	return ALLOW;
}

/* A frontend that was removed names nobody any more: its id has gone, or belongs to another. */
static __always_inline bool frontend_exists(__u16 id, __be16 port)
{
	struct lb_revnat *frontend = bpf_map_lookup_elem(&lb_revnat, &id);

	return frontend && frontend->port == port;
}

static __always_inline bool recall_peer(struct bpf_sock_addr *ctx, struct dialled *peer)
{
	struct lb_dialled *value = ctx->sk ? bpf_sk_storage_get(&lb_dialled, ctx->sk, NULL, 0) : NULL;

	if (!value || value->backend_port != peer->port || !addr_equal(&peer->address, &value->backend_address))
		return false;
	if (!frontend_exists(value->rev_nat_id, value->port))
		return false;
	addr_copy(&peer->address, &value->address);
	peer->port = value->port;
	return true;
}

/* What the application dialled, by what the kernel sees; false when this socket dialled no service that still exists. */
static __always_inline bool recall(struct bpf_sock_addr *ctx, struct dialled *peer)
{
	struct lb_sock_revnat_key key = {};
	struct lb_sock_revnat *value;

	if (peer->proto == IPPROTO_TCP)
		return recall_peer(ctx, peer);
	key.cookie = bpf_get_socket_cookie(ctx);
	addr_copy(&key.address, &peer->address);
	key.port = peer->port;
	key.proto = peer->proto;
	value = bpf_map_lookup_elem(&lb_sock_revnat, &key);
	if (!value)
		return false;
	if (!frontend_exists(value->rev_nat_id, value->port)) {
		bpf_map_delete_elem(&lb_sock_revnat, &key);
		return false;
	}
	addr_copy(&peer->address, &value->address);
	peer->port = value->port;
	return true;
}

static __always_inline void restore_v4(struct bpf_sock_addr *ctx)
{
	struct dialled peer;

	dialled_v4(ctx, &peer);
	if (!recall(ctx, &peer))
		return;
	ctx->user_ip4 = peer.address.words[3];
	ctx->user_port = peer.port;
}

static __always_inline void restore_v6(struct bpf_sock_addr *ctx)
{
	struct dialled peer;

	dialled_v6(ctx, &peer);
	if (!recall(ctx, &peer))
		return;
	ctx->user_ip6[0] = peer.address.words[0];
	ctx->user_ip6[1] = peer.address.words[1];
	ctx->user_ip6[2] = peer.address.words[2];
	ctx->user_ip6[3] = peer.address.words[3];
	ctx->user_port = peer.port;
}

SEC("cgroup/connect4")
int sock4_connect(struct bpf_sock_addr *ctx)
{
	return dial_v4(ctx);
}

SEC("cgroup/connect6")
int sock6_connect(struct bpf_sock_addr *ctx)
{
	return dial_v6(ctx);
}

SEC("cgroup/sendmsg4")
int sock4_sendmsg(struct bpf_sock_addr *ctx)
{
	return dial_v4(ctx);
}

SEC("cgroup/sendmsg6")
int sock6_sendmsg(struct bpf_sock_addr *ctx)
{
	return dial_v6(ctx);
}

SEC("cgroup/recvmsg4")
int sock4_recvmsg(struct bpf_sock_addr *ctx)
{
	restore_v4(ctx);
	return ALLOW;
}

SEC("cgroup/recvmsg6")
int sock6_recvmsg(struct bpf_sock_addr *ctx)
{
	restore_v6(ctx);
	return ALLOW;
}

SEC("cgroup/getpeername4")
int sock4_getpeername(struct bpf_sock_addr *ctx)
{
	restore_v4(ctx);
	return ALLOW;
}

SEC("cgroup/getpeername6")
int sock6_getpeername(struct bpf_sock_addr *ctx)
{
	restore_v6(ctx);
	return ALLOW;
}

static __always_inline bool is_node_port(const struct addr *any, __u16 port, __u8 proto)
{
	struct lb_service *service;
	struct lb_key key = {};

	addr_copy(&key.address, any);
	key.dport = bpf_htons(port);
	key.proto = proto;
	service = lb_slot(&key, 0);
	return service && (service->flags & LB_SVC_NODE_PORT);
}

/* A server of the node on a NodePort would never get a connection: better that it hears so at bind(2). src_port is in host order. */
static __always_inline int check_bind(struct bpf_sock *ctx)
{
	struct addr any = {};
	__u16 port = (__u16)ctx->src_port;
	__u8 proto = (__u8)ctx->protocol;

	if (port < config.node_port_min || port > config.node_port_max || !config.host_netns_cookie)
		return ALLOW;
	if (bpf_get_netns_cookie(ctx) != config.host_netns_cookie)
		return ALLOW;
	if (is_node_port(&any, port, proto))
		return refuse_with(EADDRINUSE);
	addr_set_v4(&any, 0);
	return is_node_port(&any, port, proto) ? refuse_with(EADDRINUSE) : ALLOW;
}

SEC("cgroup/post_bind4")
int sock4_post_bind(struct bpf_sock *ctx)
{
	return check_bind(ctx);
}

SEC("cgroup/post_bind6")
int sock6_post_bind(struct bpf_sock *ctx)
{
	return check_bind(ctx);
}
