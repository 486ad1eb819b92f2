// SPDX-License-Identifier: Apache-2.0
/*
 * Watches a verdict: datagrams from one network namespace to another, one every INTERVAL microseconds.
 *   probe CLIENT_NETNS SERVER_NETNS ADDRESS PORT INTERVAL     -> a line for each change of the verdict
 * `allow NANOSECONDS`: the first datagram that arrived; `deny NANOSECONDS`: the first one of those that no longer arrive. The time is when that
 * datagram was sent (CLOCK_MONOTONIC): it is judged within the call. Starts with the verdict it finds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* As many in a row have to be lost to call it denied: one alone may be late. */
#define LOST 20
#define RECENT 4096

enum verdict { UNKNOWN, ALLOW, DENY };

static uint64_t sent_at[RECENT];

static void die(const char *what)
{
	fprintf(stderr, "probe: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

/* A socket belongs to the namespace it was made in. */
static int udp_socket(const char *netns)
{
	int fd = open(netns, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || setns(fd, CLONE_NEWNET))
		die(netns);
	close(fd);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	if (fd < 0)
		die("socket");
	return fd;
}

/* The largest number that has arrived, or `last` when none has. */
static uint64_t received(int server, uint64_t last)
{
	uint64_t number;

	while (recv(server, &number, sizeof(number), 0) == sizeof(number))
		if (number > last)
			last = number;
	return last;
}

static void say(enum verdict verdict, uint64_t number)
{
	printf("%s %llu\n", verdict == ALLOW ? "allow" : "deny", (unsigned long long)sent_at[number % RECENT]);
}

static enum verdict judge(enum verdict before, uint64_t number, uint64_t last, uint64_t first_allowed)
{
	if (before != ALLOW && last >= first_allowed && last > 0) {
		say(ALLOW, last);
		return ALLOW;
	}
	if (before != DENY && number - last >= LOST) {
		say(DENY, last + 1);
		return DENY;
	}
	return before;
}

static void watch(int client, int server, uint64_t interval)
{
	enum verdict verdict = UNKNOWN, before;
	uint64_t last = 0, from = 1;
	uint64_t next = now();

	for (uint64_t number = 1;; number++) {
		struct timespec until;

		sent_at[number % RECENT] = now();
		/* A refusal is an answer of the policy too, and nothing to stop for. */
		send(client, &number, sizeof(number), 0);
		last = received(server, last);
		before = verdict;
		verdict = judge(verdict, number, last, from);
		if (verdict == DENY && before != DENY)
			from = last + 1;
		next += interval;
		if (next < now())
			next = now();
		until = (struct timespec){ .tv_sec = (time_t)(next / 1000000000), .tv_nsec = (long)(next % 1000000000) };
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	int client, server;

	if (argc != 6) {
		fprintf(stderr, "usage: probe CLIENT_NETNS SERVER_NETNS ADDRESS PORT INTERVAL\n");
		return 2;
	}
	setlinebuf(stdout);
	address.sin_port = htons((uint16_t)atoi(argv[4]));
	server = udp_socket(argv[2]);
	address.sin_addr.s_addr = htonl(INADDR_ANY);
	if (bind(server, (struct sockaddr *)&address, sizeof(address)))
		die("bind");
	client = udp_socket(argv[1]);
	if (inet_pton(AF_INET, argv[3], &address.sin_addr) != 1 ||
	    connect(client, (struct sockaddr *)&address, sizeof(address)))
		die(argv[3]);
	watch(client, server, strtoull(argv[5], NULL, 10) * 1000);
}
