// SPDX-License-Identifier: Apache-2.0
/*
 * Load generator: fixed requests of 64 bytes, answered by 64 bytes, over TCP. One thread and one epoll on each side.
 *   load server PORT
 *   load client rr|crr|stream HOST PORT[,PORT...] SECONDS CONNECTIONS      -> one line of JSON
 * Of several ports each connection takes one at random, as a service with several endpoints would.
 * The first byte of the first request names the mode: 'r' is answered, 's' is discarded with all that follows it.
 * crr closes with a reset after each answer, so that TIME_WAIT does not fill the ports.
 * Servers run on the last CPU, clients on the one before it: where the scheduler puts them would matter more than what is measured.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE 64
#define CHUNK (256 * 1024)
#define MAX_FD 4096
#define MAX_SAMPLES (4 * 1024 * 1024)
#define MAX_TARGETS 16

enum mode { RR, CRR, STREAM };

struct flow {
	int fd;
	int got;	/* bytes of the current message */
	int discard;
	uint64_t since;	/* ns: when the operation began */
};

static char chunk[CHUNK];
static uint32_t samples[MAX_SAMPLES]; /* ns / 10 */
static struct flow served[MAX_FD];
static const struct addrinfo *targets[MAX_TARGETS];
static unsigned int target_count;

static void die(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

/* Time the whole machine was busy, in microseconds: /proc/stat counts ticks of user nice system idle iowait irq softirq. */
static double busy_us(void)
{
	unsigned long long v[8] = { 0 };
	FILE *file = fopen("/proc/stat", "r");
	int n;

	if (!file)
		return 0;
	n = fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6],
		   &v[7]);
	fclose(file);
	if (n < 7)
		return 0;
	return (double)(v[0] + v[1] + v[2] + v[5] + v[6]) * 1e6 / (double)sysconf(_SC_CLK_TCK);
}

/* `from_last`: 0 is the last CPU. With one CPU, or a mask that forbids it, nothing is pinned. */
static void pin(int from_last)
{
	int cpu = (int)sysconf(_SC_NPROCESSORS_ONLN) - 1 - from_last;
	cpu_set_t set;

	if (cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/*
 * Reno everywhere: with BBR, which some machines have as default, the rate is what its pacing once measured, not what the path could do.
 */
static void prepare(int fd)
{
	int one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
}

static void watch(int poll, int fd, uint32_t events, void *data)
{
	struct epoll_event event = { .events = events, .data.ptr = data };

	if (epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event))
		die("epoll_ctl");
}

/* Gives 0 when the connection is over. */
static int serve(struct flow *flow)
{
	ssize_t n = recv(flow->fd, chunk, flow->discard ? CHUNK : MESSAGE - flow->got, MSG_DONTWAIT);

	if (n <= 0)
		return n < 0 && errno == EAGAIN;
	if (flow->discard)
		return 1;
	if (flow->got == 0 && chunk[0] == 's') {
		flow->discard = 1;
		return 1;
	}
	flow->got += (int)n;
	if (flow->got < MESSAGE)
		return 1;
	flow->got = 0;
	return send(flow->fd, chunk, MESSAGE, MSG_NOSIGNAL | MSG_DONTWAIT) == MESSAGE;
}

static void server(int port)
{
	struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
	int listener = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0), poll = epoll_create1(0), one = 1, zero = 0;
	struct epoll_event events[64];

	if (listener < 0 || poll < 0)
		die("socket");
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 4096))
		die("listen");
	watch(poll, listener, EPOLLIN, NULL);
	for (;;) {
		int count = epoll_wait(poll, events, 64, -1);

		for (int i = 0; i < count; i++) {
			struct flow *flow = events[i].data.ptr;
			int fd;

			if (flow) {
				if (!serve(flow))
					close(flow->fd);
				continue;
			}
			fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
			if (fd < 0)
				continue;
			if (fd >= MAX_FD) {
				close(fd);
				continue;
			}
			prepare(fd);
			served[fd] = (struct flow){ .fd = fd };
			watch(poll, fd, EPOLLIN, &served[fd]);
		}
	}
}

/* Xorshift: the same sequence in each run. */
static const struct addrinfo *any_target(void)
{
	static uint32_t state = 2463534242u;

	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return targets[state % target_count];
}

/* Connects, blocking; -1 on failure. */
static int dial(void)
{
	const struct addrinfo *to = any_target();
	struct timeval limit = { .tv_sec = 3 };
	int fd = socket(to->ai_family, SOCK_STREAM, 0);

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	prepare(fd);
	if (connect(fd, to->ai_addr, to->ai_addrlen)) {
		close(fd);
		return -1;
	}
	return fd;
}

static void reset(int fd)
{
	struct linger linger = { .l_onoff = 1, .l_linger = 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(fd);
}

struct result {
	uint64_t operations, bytes, errors;
};

/* One connection after the other: latency of connect, request, answer, close. */
static void run_crr(uint64_t end, struct result *result)
{
	char message[MESSAGE] = { 'r' };

	for (uint64_t since = now(); since < end; since = now()) {
		int fd = dial();

		if (fd < 0) {
			result->errors++;
			continue;
		}
		if (send(fd, message, MESSAGE, MSG_NOSIGNAL) != MESSAGE || recv(fd, message, MESSAGE, MSG_WAITALL) != MESSAGE)
			result->errors++;
		else if (result->operations++ < MAX_SAMPLES)
			samples[result->operations - 1] = (uint32_t)((now() - since) / 10);
		message[0] = 'r';
		reset(fd);
	}
}

static int step(enum mode mode, struct flow *flow, struct result *result)
{
	static char message[MESSAGE] = { 'r' };
	ssize_t n;

	if (mode == STREAM) {
		n = send(flow->fd, chunk, CHUNK, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n > 0) {
			result->bytes += (uint64_t)n;
			result->operations++;
		}
		return n > 0 || errno == EAGAIN;
	}
	n = recv(flow->fd, chunk, MESSAGE - flow->got, MSG_DONTWAIT);
	if (n <= 0)
		return n < 0 && errno == EAGAIN;
	flow->got += (int)n;
	if (flow->got < MESSAGE)
		return 1;
	if (result->operations++ < MAX_SAMPLES)
		samples[result->operations - 1] = (uint32_t)((now() - flow->since) / 10);
	flow->got = 0;
	flow->since = now();
	return send(flow->fd, message, MESSAGE, MSG_NOSIGNAL) == MESSAGE;
}

static void run_open(enum mode mode, uint64_t end, int connections, struct result *result)
{
	static struct flow flows[MAX_FD];
	struct epoll_event events[64];
	int poll = epoll_create1(0), open = 0;

	memset(chunk, mode == STREAM ? 's' : 'r', CHUNK);
	for (int i = 0; i < connections; i++) {
		int fd = dial();

		if (fd < 0) {
			result->errors++;
			continue;
		}
		open++;
		flows[i] = (struct flow){ .fd = fd, .since = now() };
		watch(poll, fd, mode == STREAM ? EPOLLOUT : EPOLLIN, &flows[i]);
		if (mode == RR && send(fd, chunk, MESSAGE, MSG_NOSIGNAL) != MESSAGE)
			result->errors++;
	}
	while (open > 0 && now() < end) {
		int count = epoll_wait(poll, events, 64, 100);

		for (int i = 0; i < count; i++) {
			struct flow *flow = events[i].data.ptr;

			if (step(mode, flow, result))
				continue;
			result->errors++;
			close(flow->fd);
			open--;
		}
	}
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static double quantile(uint64_t count, double q)
{
	return count ? samples[(uint64_t)((double)(count - 1) * q)] / 100.0 : 0;
}

/* `ports` is cut at its commas. */
static void resolve(const char *host, char *ports)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV };

	for (char *port = strtok(ports, ","); port; port = strtok(NULL, ",")) {
		struct addrinfo *to;

		if (target_count == MAX_TARGETS || getaddrinfo(host, port, &hints, &to))
			die(host);
		targets[target_count++] = to;
	}
	if (!target_count)
		die("PORT");
}

static void client(const char *mode_name, double seconds, int connections)
{
	enum mode mode = !strcmp(mode_name, "rr") ? RR : !strcmp(mode_name, "crr") ? CRR : STREAM;
	struct result result = { 0 };
	double busy = busy_us(), took;
	uint64_t begin = now(), kept, end = begin + (uint64_t)(seconds * 1e9);

	if (mode == CRR)
		run_crr(end, &result);
	else
		run_open(mode, end, connections, &result);
	took = (double)(now() - begin) / 1e9;
	busy = busy_us() - busy;
	kept = mode == STREAM ? 0 : result.operations < MAX_SAMPLES ? result.operations : MAX_SAMPLES;
	qsort(samples, kept, sizeof(samples[0]), by_value);
	printf("{\"operations\":%llu,\"rate\":%.1f,\"p50_us\":%.2f,\"p99_us\":%.2f,\"bytes_per_second\":%.0f,"
	       "\"errors\":%llu,\"cpu_us_per_op\":%.3f}\n",
	       (unsigned long long)result.operations, (double)result.operations / took, quantile(kept, 0.5),
	       quantile(kept, 0.99), (double)result.bytes / took, (unsigned long long)result.errors,
	       result.operations ? busy / (double)result.operations : 0);
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "server")) {
		pin(0);
		server(atoi(argv[2]));
	} else if (argc == 7 && !strcmp(argv[1], "client") &&
		   (!strcmp(argv[2], "rr") || !strcmp(argv[2], "crr") || !strcmp(argv[2], "stream"))) {
		int connections = atoi(argv[6]);

		if (connections < 1 || connections > MAX_FD)
			die("CONNECTIONS");
		pin(1);
		resolve(argv[3], argv[4]);
		client(argv[2], atof(argv[5]), connections);
	} else {
		fprintf(stderr, "usage: load server PORT | load client rr|crr|stream HOST PORT[,PORT...] SECONDS CONNECTIONS\n");
		return 2;
	}
	return 0;
}
