/* SPDX-License-Identifier: Apache-2.0 */
/* LDLIBS: -lrt */
/*
 * 26 threads, each in another blocking call, again and again, none prepared for EINTR. Those calls that
 * a handler interrupts even with SA_RESTART are among them (signal(7)). Prints "ready"; at the end of
 * its standard input "<call> <times made> <times EINTR>" for each.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WAIT_MS = 40 };

static const struct timespec wait_time = { 0, WAIT_MS * 1000000 };
static int pair[2], feed[2], feedv[2], full[2], listener, epoll, queue, sems, locked;
static struct sockaddr_un busy;
static mqd_t mq;
static sem_t sem;
static aio_context_t aio;

static struct timespec later(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_nsec += WAIT_MS * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	return t;
}

static int do_nanosleep(void)
{
	return nanosleep(&wait_time, NULL);
}
static int do_clock_nanosleep(void)
{
	errno = clock_nanosleep(CLOCK_MONOTONIC, 0, &wait_time, NULL);
	return errno ? -1 : 0;
}
static int do_usleep(void)
{
	return usleep(WAIT_MS * 1000);
}
static int do_poll(void)
{
	return poll(NULL, 0, WAIT_MS);
}
static int do_ppoll(void)
{
	return ppoll(NULL, 0, &wait_time, NULL);
}
static int do_select(void)
{
	struct timeval t = { 0, WAIT_MS * 1000 };

	return select(0, NULL, NULL, NULL, &t);
}
static int do_pselect(void)
{
	return pselect(0, NULL, NULL, NULL, &wait_time, NULL);
}
static int do_epoll_wait(void)
{
	struct epoll_event e;

	return epoll_wait(epoll, &e, 1, WAIT_MS);
}
static int do_epoll_pwait(void)
{
	struct epoll_event e;

	return epoll_pwait(epoll, &e, 1, WAIT_MS, NULL);
}
static int do_futex(void)
{
	static int word;

	return (int)syscall(SYS_futex, &word, FUTEX_WAIT, 0, &wait_time, NULL, 0);
}
static int do_futex_bitset(void)
{
	static int word;
	struct timespec t = later();

	return (int)syscall(SYS_futex, &word, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, &t, NULL, -1);
}
static int do_sem_timedwait(void)
{
	struct timespec t = later();

	return sem_timedwait(&sem, &t);
}
static int do_read(void)
{
	char c;

	return (int)read(feed[0], &c, 1);
}
static int do_readv(void)
{
	char c;
	struct iovec v = { &c, 1 };

	return (int)readv(feedv[0], &v, 1);
}
static int do_recv(void)
{
	char c;

	return (int)recv(pair[0], &c, 1, 0);
}
static int do_recvmsg(void)
{
	char c;
	struct iovec v = { &c, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };

	return (int)recvmsg(pair[0], &m, 0);
}
static int do_recvmmsg(void)
{
	char c;
	struct iovec v = { &c, 1 };
	struct mmsghdr m = { .msg_hdr = { .msg_iov = &v, .msg_iovlen = 1 } };

	return recvmmsg(pair[0], &m, 1, 0, NULL);
}
static int do_accept(void)
{
	return accept(listener, NULL, NULL);
}
static int do_connect(void)
{
	struct timeval t = { 0, WAIT_MS * 1000 };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), r, keep;

	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t));
	r = connect(fd, (struct sockaddr *)&busy, sizeof(busy));
	keep = errno;
	close(fd);
	errno = keep;
	return r;
}
static int do_send(void)
{
	static char block[1 << 16];

	return (int)send(full[0], block, sizeof(block), 0);
}
static int do_msgrcv(void)
{
	struct {
		long type;
		char text[8];
	} m;

	return (int)msgrcv(queue, &m, sizeof(m.text), 0, 0);
}
static int do_semtimedop(void)
{
	struct sembuf op = { 0, -1, 0 };

	return semtimedop(sems, &op, 1, &wait_time);
}
static int do_sigtimedwait(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMAX);
	return sigtimedwait(&set, NULL, &wait_time);
}
static int do_mq_timedreceive(void)
{
	char text[64];
	struct timespec t = later();

	return mq < 0 ? usleep(WAIT_MS * 1000) : (int)mq_timedreceive(mq, text, sizeof(text), NULL, &t);
}
static int do_flock(void)
{
	int r = flock(locked, LOCK_EX), keep = errno;

	flock(locked, LOCK_UN);
	usleep(2000);
	errno = keep;
	return r;
}
static int do_io_getevents(void)
{
	struct io_event e;
	struct timespec t = wait_time;

	return (int)syscall(SYS_io_getevents, aio, 1, 1, &e, &t);
}
static int do_waitpid(void)
{
	pid_t pid = fork();

	if (!pid) {
		usleep(WAIT_MS * 1000);
		_exit(0);
	}
	return waitpid(pid, NULL, 0);
}

static struct call {
	const char *name;
	int (*make)(void);
	_Atomic unsigned long made, interrupted;
} calls[] = {
#define CALL(n) { .name = #n, .make = do_##n }
	CALL(nanosleep), CALL(clock_nanosleep), CALL(usleep), CALL(poll), CALL(ppoll), CALL(select),
	CALL(pselect), CALL(epoll_wait), CALL(epoll_pwait), CALL(futex), CALL(futex_bitset),
	CALL(sem_timedwait), CALL(read), CALL(readv), CALL(recv), CALL(recvmsg), CALL(recvmmsg),
	CALL(accept), CALL(connect), CALL(send), CALL(msgrcv), CALL(semtimedop), CALL(sigtimedwait),
	CALL(mq_timedreceive), CALL(flock), CALL(io_getevents), CALL(waitpid),
};
enum { CALLS = sizeof(calls) / sizeof(calls[0]) };

static void *again_and_again(void *arg)
{
	struct call *call = arg;

	for (;;) {
		errno = 0;
		if (call->make() < 0 && errno == EINTR)
			call->interrupted++;
		call->made++;
	}
	return NULL;
}

/* Ends the waits that have no time limit of their own. */
static void *feeder(void *arg)
{
	struct {
		long type;
		char text[8];
	} m = { 1, "" };
	int holder = open("/proc/self/exe", O_RDONLY);

	for (;;) {
		flock(holder, LOCK_EX);
		usleep(WAIT_MS * 1000);
		if (write(feed[1], "x", 1) != 1 || write(feedv[1], "x", 1) != 1)
			abort();
		msgsnd(queue, &m, sizeof(m.text), IPC_NOWAIT);
		flock(holder, LOCK_UN);
		usleep(1000);
	}
	return NULL;
}

static void limit(int fd, int option)
{
	struct timeval t = { 0, WAIT_MS * 1000 };

	setsockopt(fd, SOL_SOCKET, option, &t, sizeof(t));
}

static void make_objects(void)
{
	struct sockaddr_un own = { .sun_family = AF_UNIX };
	struct mq_attr attr = { .mq_maxmsg = 1, .mq_msgsize = 64 };
	char name[64];
	int fd;

	if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) || socketpair(AF_UNIX, SOCK_STREAM, 0, full) ||
	    pipe(feed) || pipe(feedv))
		abort();
	limit(pair[0], SO_RCVTIMEO);
	limit(full[0], SO_SNDTIMEO);
	snprintf(own.sun_path + 1, sizeof(own.sun_path) - 1, "eintr-accept-%d", (int)getpid());
	listener = socket(AF_UNIX, SOCK_STREAM, 0);
	bind(listener, (struct sockaddr *)&own, sizeof(own));
	listen(listener, 1);
	limit(listener, SO_RCVTIMEO);
	/* one whose queue is full */
	busy = own;
	busy.sun_path[1] = 'E';
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	bind(fd, (struct sockaddr *)&busy, sizeof(busy));
	listen(fd, 0);
	connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&busy, sizeof(busy));
	epoll = epoll_create1(0);
	queue = msgget(IPC_PRIVATE, 0600);
	sems = semget(IPC_PRIVATE, 1, 0600);
	snprintf(name, sizeof(name), "/eintr-%d", (int)getpid());
	mq = mq_open(name, O_CREAT | O_RDONLY, 0600, &attr);
	mq_unlink(name);
	sem_init(&sem, 0, 0);
	syscall(SYS_io_setup, 1, &aio);
	locked = open("/proc/self/exe", O_RDONLY);
}

int main(void)
{
	unsigned long start[CALLS];
	pthread_t thread;
	char c;

	make_objects();
	pthread_create(&thread, NULL, feeder, NULL);
	for (int i = 0; i < CALLS; i++)
		pthread_create(&thread, NULL, again_and_again, &calls[i]);
	usleep(100000);
	for (int i = 0; i < CALLS; i++)
		start[i] = calls[i].interrupted;
	puts("ready");
	fflush(stdout);
	while (read(0, &c, 1) > 0)
		;
	msgctl(queue, IPC_RMID, NULL);
	semctl(sems, 0, IPC_RMID);
	for (int i = 0; i < CALLS; i++)
		printf("%s %lu %lu\n", calls[i].name, calls[i].made, calls[i].interrupted - start[i]);
	return 0;
}
