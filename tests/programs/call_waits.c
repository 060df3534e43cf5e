/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call_waits: threads that wait for descriptors, files and a child for known times, and say for how long.
 *
 * `early` and `never` wait for pipes from the beginning. Once a line comes on stdin, six threads wait for
 * one thing each; then `early` gets what it waits for, and `late` begins to wait for what never comes.
 * Prints "waited NAME NS" for each of the six, "early", and waits for the end of stdin.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))

static int pipes[2], pair[2], server, file, early_pipe[2], never_pipe[2];
static struct sockaddr_in address = { .sin_family = AF_INET };
static pid_t child;
static char buf[16];

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void check(int ok)
{
	if (!ok)
		abort();
}

static _Atomic int tids[16], n_tids;

/* Until n threads are in their waits, as the kernel says. */
static void await_sleepers(int n)
{
	for (int asleep = 0; asleep < n;) {
		usleep(10000);
		asleep = 0;
		for (int i = 0; i < n_tids; i++) {
			char path[64], text[64] = "";
			FILE *file;

			if (!tids[i]) /* it is just being noted */
				continue;
			snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", tids[i]);
			file = fopen(path, "r");
			check(file && fgets(text, sizeof(text), file));
			fclose(file);
			asleep += text[0] != 'r'; /* "running" */
		}
	}
	for (int i = 0; i < n; i++)
		tids[i] = 0;
	n_tids = 0;
}

static NOINLINE int from_pipe(void)
{
	return read(pipes[0], buf, 1) == 1;
}

static NOINLINE int from_socket(void)
{
	return recv(pair[0], buf, 1, 0) == 1;
}

static NOINLINE int from_server(void)
{
	return accept(server, NULL, NULL) >= 0;
}

static NOINLINE int for_file(void)
{
	return flock(file, LOCK_EX) == 0;
}

static NOINLINE int for_child(void)
{
	return waitpid(child, NULL, 0) == child;
}

static NOINLINE int for_fifo(void)
{
	return open("fifo", O_RDONLY) >= 0;
}

static struct one {
	const char *name;
	int (*wait)(void);
	uint64_t ns;
} all[] = {
	{ "read", from_pipe, 0 },    { "recv", from_socket, 0 }, { "accept", from_server, 0 },
	{ "flock", for_file, 0 },    { "waitpid", for_child, 0 }, { "open", for_fifo, 0 },
};
enum { N = sizeof(all) / sizeof(all[0]) };

static void *waiter(void *arg)
{
	struct one *one = arg;
	uint64_t start;

	prctl(PR_SET_NAME, one->name);
	tids[n_tids++] = gettid();
	start = now_ns();
	check(one->wait());
	one->ns = now_ns() - start;
	return NULL;
}

static NOINLINE void wait_early(void)
{
	check(read(early_pipe[0], buf, 1) == 1);
}

static void *early(void *arg)
{
	prctl(PR_SET_NAME, "early");
	tids[n_tids++] = gettid();
	wait_early();
	printf("early\n");
	return NULL;
}

static NOINLINE int wait_for_ever(void)
{
	return read(never_pipe[0], buf, 1) == 1;
}

static void *never(void *arg)
{
	prctl(PR_SET_NAME, arg);
	tids[n_tids++] = gettid();
	check(wait_for_ever());
	return NULL;
}

static void let_go(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	check(write(pipes[1], buf, 1) == 1);
	usleep(20000);
	check(send(pair[1], buf, 1, 0) == 1);
	usleep(20000);
	check(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	check(open("fifo", O_WRONLY) >= 0);
}

int main(int argc, char **argv)
{
	char directory[] = "/tmp/call-waits-XXXXXX";
	socklen_t size = sizeof(address);
	pthread_t threads[N], thread;
	int holder;

	alarm(120);
	setvbuf(stdout, NULL, _IONBF, 0);
	check(mkdtemp(directory) && !chdir(directory) && !pipe(pipes) && !pipe(early_pipe) && !pipe(never_pipe));
	check(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair) && !mkfifo("fifo", 0600));
	server = socket(AF_INET, SOCK_STREAM, 0);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	check(!bind(server, (struct sockaddr *)&address, size) && !listen(server, 5));
	getsockname(server, (struct sockaddr *)&address, &size);
	file = open("file", O_CREAT | O_RDWR, 0600);
	holder = open("file", O_RDWR);
	check(flock(holder, LOCK_EX) == 0);
	pthread_create(&thread, NULL, early, NULL);
	pthread_create(&thread, NULL, never, "never");
	await_sleepers(2);
	printf("ready\n");
	check(fgets(buf, sizeof(buf), stdin) != NULL);
	child = fork();
	if (!child) {
		sleep(100);
		_exit(0);
	}
	for (int i = 0; i < N; i++)
		pthread_create(&threads[i], NULL, waiter, &all[i]);
	await_sleepers(N);
	usleep(300000);
	check(flock(holder, LOCK_UN) == 0);
	let_go();
	check(kill(child, SIGKILL) == 0);
	for (int i = 0; i < N; i++) {
		pthread_join(threads[i], NULL);
		printf("waited %s %lu\n", all[i].name, all[i].ns);
	}
	check(write(early_pipe[1], buf, 1) == 1);
	pthread_create(&thread, NULL, never, "late");
	check(!unlink("file") && !unlink("fifo") && !rmdir(directory));
	while (getchar() != EOF)
		;
	return 0;
}
