// SPDX-License-Identifier: Apache-2.0
/*
 * Small datagrams as fast as one CPU can send them.
 *   flood sink PORT                              binds and never reads: what does not fit its buffer ends there, without an ICMP error
 *   flood send HOST PORT SECONDS FLOWS           -> {"sent":N,"seconds":S}
 * The sender runs on the last CPU but one, as the client of load does.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64
#define SIZE 18 /* 60 bytes of Ethernet frame */
#define MAX_FLOWS 1024

static void die(const char *what)
{
	fprintf(stderr, "flood: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static void pin(void)
{
	int cpu = (int)sysconf(_SC_NPROCESSORS_ONLN) - 2;
	cpu_set_t set;

	if (cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static int udp_socket(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (fd < 0)
		die("socket");
	return fd;
}

static void sink(int port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	int fd = udp_socket(), small = 4096;

	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)))
		die("bind");
	for (;;)
		pause();
}

static void flood(const char *host, int port, double seconds, int flows)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	static char payload[SIZE];
	static int fds[MAX_FLOWS];
	struct iovec part = { .iov_base = payload, .iov_len = SIZE };
	struct mmsghdr batch[BATCH] = { 0 };
	uint64_t sent = 0, begin, end;

	if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
		die(host);
	for (int i = 0; i < BATCH; i++)
		batch[i].msg_hdr = (struct msghdr){ .msg_iov = &part, .msg_iovlen = 1 };
	for (int i = 0; i < flows; i++) {
		fds[i] = udp_socket();
		if (connect(fds[i], (struct sockaddr *)&address, sizeof(address)))
			die("connect");
	}
	begin = now();
	end = begin + (uint64_t)(seconds * 1e9);
	for (int i = 0; now() < end; i = (i + 1) % flows) {
		int n = sendmmsg(fds[i], batch, BATCH, 0);

		if (n > 0)
			sent += (uint64_t)n;
	}
	printf("{\"sent\":%llu,\"seconds\":%.4f}\n", (unsigned long long)sent, (double)(now() - begin) / 1e9);
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "sink")) {
		sink(atoi(argv[2]));
	} else if (argc == 6 && !strcmp(argv[1], "send") && atoi(argv[5]) > 0 && atoi(argv[5]) <= MAX_FLOWS) {
		pin();
		flood(argv[2], atoi(argv[3]), atof(argv[4]), atoi(argv[5]));
	} else {
		fprintf(stderr, "usage: flood sink PORT | flood send HOST PORT SECONDS FLOWS\n");
		return 2;
	}
	return 0;
}
