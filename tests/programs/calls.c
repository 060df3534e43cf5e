/* SPDX-License-Identifier: Apache-2.0 */
/* CFLAGS: -D_FORTIFY_SOURCE=2 */
/*
 * calls: once a line comes on stdin, calls everything that may wait for a descriptor, a file, a child or a
 * signal, and prints what it got: the same with and without an agent, with and without a trace.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define SAY(call)                                                                         \
	do {                                                                              \
		long result_;                                                             \
                                                                                          \
		errno = 7777;                                                             \
		result_ = (long)(call);                                                   \
		printf("%s: %ld %s\n", #call, result_,                                    \
		       result_ == -1 ? strerrorname_np(errno) : errno == 7777 ? "" : "errno changed"); \
	} while (0)
#define LENGTH(call) SAY((call) > 0)

/* For the compiler: sizes that it does not know, so that the checking variants are called. */
static volatile size_t four = 4;
static volatile int plain_flags = O_RDONLY;

static char buf[64];
static struct iovec part = { buf, 4 };
static int pair[2], pipes[2];

static void opening(void)
{
	struct stat st;
	int fd;

	SAY((fd = open("a", O_RDWR | O_CREAT | O_EXCL, 0640)) >= 0);
	SAY(open("a", O_RDWR | O_CREAT | O_EXCL, 0640));
	fstat(fd, &st);
	printf("mode %o\n", st.st_mode);
	close(fd);
	SAY((fd = creat("b", 0604)) >= 0);
	fstat(fd, &st);
	printf("mode %o\n", st.st_mode);
	SAY(close(fd));
	SAY((fd = creat64("c", 0600)) >= 0);
	close(fd);
	SAY((fd = open(".", O_TMPFILE | O_RDWR, 0600)) >= 0);
	fstat(fd, &st);
	printf("mode %o\n", st.st_mode);
	close(fd);
	SAY((fd = openat(AT_FDCWD, "d", O_CREAT | O_WRONLY, 0611)) >= 0);
	fstat(fd, &st);
	printf("mode %o\n", st.st_mode);
	close(fd);
	SAY((fd = open("a", plain_flags)) >= 0);
	close(fd);
	SAY((fd = open64("a", plain_flags)) >= 0);
	close(fd);
	SAY((fd = openat(AT_FDCWD, "a", plain_flags)) >= 0);
	close(fd);
	SAY((fd = openat64(AT_FDCWD, "a", plain_flags)) >= 0);
	close(fd);
	SAY((fd = open64("e", O_CREAT | O_RDWR, 0600)) >= 0);
	close(fd);
	SAY((fd = openat64(AT_FDCWD, "f", O_CREAT | O_RDWR, 0600)) >= 0);
	close(fd);
	SAY(open("nothing", O_RDONLY));
	SAY(open("a/b", O_RDONLY));
	SAY(openat(-5, "a", O_RDONLY));
}

static void files(void)
{
	int fd = open("a", O_RDWR), to = open("b", O_RDWR);
	off64_t at64 = 0;
	off_t at = 0;

	SAY(write(fd, "0123456789", 10));
	SAY(pwrite(fd, "ab", 2, 2));
	SAY(pwrite64(fd, "cd", 2, 4));
	SAY(writev(fd, &part, 1));
	SAY(pwritev(fd, &part, 1, 12));
	SAY(pwritev64(fd, &part, 1, 14));
	SAY(pwritev2(fd, &part, 1, 16, 0));
	SAY(pwritev64v2(fd, &part, 1, 18, 0));
	SAY(lseek(fd, 0, SEEK_SET));
	SAY(read(fd, buf, 4));
	SAY(read(fd, buf, four));
	SAY(pread(fd, buf, four, 1));
	SAY(pread64(fd, buf, four, 2));
	SAY(pread(fd, buf, 4, 1));
	SAY(pread64(fd, buf, 4, 2));
	SAY(readv(fd, &part, 1));
	SAY(preadv(fd, &part, 1, 0));
	SAY(preadv64(fd, &part, 1, 1));
	SAY(preadv2(fd, &part, 1, 2, 0));
	SAY(preadv64v2(fd, &part, 1, 3, 0));
	printf("read %.8s\n", buf);
	SAY(sendfile(to, fd, &at, 5));
	SAY(sendfile64(to, fd, &at64, 5));
	at64 = 0;
	SAY(copy_file_range(fd, &at64, to, NULL, 5, 0));
	SAY(splice(fd, NULL, pipes[1], NULL, 3, 0) >= -1);
	SAY(fcntl(pipes[0], F_SETFL, O_NONBLOCK));
	while (read(pipes[0], buf, 4) > 0)
		;
	SAY(fcntl(pipes[0], F_SETFL, 0));
	SAY(fsync(fd));
	SAY(fdatasync(fd));
	SAY(syncfs(fd));
	SAY(sync_file_range(fd, 0, 4, SYNC_FILE_RANGE_WRITE));
	SAY(msync(NULL, 0, MS_SYNC));
	SAY(fsync(-1));
	SAY(fdatasync(pipes[0]));
	SAY(read(-1, buf, 4));
	SAY(read(to, NULL, 0));
	SAY(write(-1, buf, 4));
	SAY(pread(pipes[0], buf, 4, 0));
	close(fd);
	close(to);
}

static void locks(void)
{
	int fd = open("a", O_RDWR), other = open("a", O_RDWR);
	struct flock lock = { .l_type = F_WRLCK };

	SAY(flock(fd, LOCK_EX));
	SAY(flock(other, LOCK_EX | LOCK_NB));
	SAY(flock(fd, LOCK_UN));
	SAY(lockf(fd, F_LOCK, 0));
	SAY(lockf64(fd, F_TEST, 0));
	SAY(lockf(-1, F_LOCK, 0));
	SAY(fcntl(fd, F_SETLKW, &lock));
	SAY(fcntl(fd, F_GETLK, &lock));
	SAY(fcntl64(fd, F_OFD_SETLKW, &lock));
	SAY(fcntl(other, F_OFD_SETLK, &lock));
	SAY(fcntl(fd, F_GETFD));
	SAY(fcntl(fd, F_SETFD, FD_CLOEXEC));
	SAY(fcntl64(fd, F_GETFD));
	SAY((other = fcntl(fd, F_DUPFD_CLOEXEC, 100)) >= 100);
	SAY(close(other));
	SAY(fcntl(fd, 12345));
	SAY(fcntl(-1, F_SETLKW, &lock));
	close(fd);
}

static void *says_later(void *arg)
{
	usleep(30000);
	if (write(*(int *)arg, "late", 4) != 4)
		abort();
	return NULL;
}

static void on_alarm(int sig)
{
}

/* SIGALRM comes every 20 ms until it is stopped. */
static void alarms(int flags, int on)
{
	struct sigaction act = { .sa_handler = on_alarm, .sa_flags = flags };
	struct itimerval every = { { 0, on * 20000 }, { 0, on * 20000 } };

	sigaction(SIGALRM, &act, NULL);
	setitimer(ITIMER_REAL, &every, NULL);
}

static void interrupted(void)
{
	struct timespec second = { 1, 0 };
	struct pollfd poll_for = { pipes[0], POLLIN, 0 };
	struct epoll_event event;
	int epoll = epoll_create1(0);
	pthread_t thread;
	sigset_t none;

	sigemptyset(&none);
	alarms(0, 1);
	SAY(read(pipes[0], buf, 4));
	SAY(readv(pipes[0], &part, 1));
	SAY(recv(pair[0], buf, 4, 0));
	SAY(recv(pair[0], buf, four, 0));
	SAY(accept(pair[0], NULL, NULL));
	SAY(pause());
	SAY(sigsuspend(&none));
	SAY(poll(&poll_for, 1, 1000));
	SAY(poll(&poll_for, four / 4, 1000));
	SAY(ppoll(&poll_for, four / 4, &second, NULL));
	SAY(epoll_wait(epoll, &event, 1, 1000));
	SAY(epoll_pwait(epoll, &event, 1, 1000, NULL));
	SAY(epoll_pwait2(epoll, &event, 1, &second, NULL));
	SAY(nanosleep(&second, NULL));
	SAY(usleep(900000));
	alarms(SA_RESTART, 1);
	pthread_create(&thread, NULL, says_later, &pipes[1]);
	SAY(read(pipes[0], buf, four));
	pthread_join(thread, NULL);
	pthread_create(&thread, NULL, says_later, &pair[1]);
	SAY(recvfrom(pair[0], buf, four, 0, NULL, NULL));
	pthread_join(thread, NULL);
	alarms(0, 0);
	close(epoll);
}

static void *connects(void *arg)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	usleep(20000);
	if (connect(fd, arg, sizeof(struct sockaddr_in)) != 0)
		abort();
	return (void *)(long)fd;
}

static void sockets(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } }, from;
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	struct mmsghdr list = { .msg_hdr = message };
	socklen_t size = sizeof(address);
	int server = socket(AF_INET, SOCK_STREAM, 0), fd;
	pthread_t thread;
	void *client;

	bind(server, (struct sockaddr *)&address, size);
	listen(server, 5);
	getsockname(server, (struct sockaddr *)&address, &size);
	for (int i = 0; i < 2; i++) {
		pthread_create(&thread, NULL, connects, &address);
		if (i)
			SAY((fd = accept4(server, (struct sockaddr *)&from, &size, SOCK_CLOEXEC)) > 0);
		else
			SAY((fd = accept(server, (struct sockaddr *)&from, &size)) > 0);
		printf("from %d %u\n", from.sin_family, size);
		pthread_join(thread, &client);
		close(fd);
		close((int)(long)client);
	}
	close(server);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	SAY(connect(fd, (struct sockaddr *)&address, size));
	SAY(connect(-1, (struct sockaddr *)&address, size));
	close(fd);
	SAY(send(pair[1], "1234", 4, 0));
	SAY(sendto(pair[1], "1234", 4, 0, NULL, 0));
	SAY(sendmsg(pair[1], &message, 0));
	SAY(sendmmsg(pair[1], &list, 1, 0));
	SAY(recv(pair[0], buf, 4, 0));
	SAY(recvfrom(pair[0], buf, 4, 0, NULL, NULL));
	SAY(recvmsg(pair[0], &message, 0));
	SAY(recvmmsg(pair[0], &list, 1, 0, NULL));
	SAY(recv(pair[0], buf, 4, MSG_DONTWAIT));
	SAY(recv(pipes[0], buf, 4, 0));
	SAY(send(-1, buf, 4, 0));
	SAY(recvmsg(-1, &message, 0));
}

static pid_t child(int status)
{
	pid_t pid = fork();

	if (!pid) {
		usleep(20000);
		_exit(status);
	}
	return pid;
}

static void children(void)
{
	struct rusage usage;
	siginfo_t info = { 0 };
	int status = 0, fd;
	pid_t pid;

	pid = child(3);
	SAY(wait(&status) == pid);
	pid = child(4);
	SAY(waitpid(pid, &status, 0) == pid);
	printf("status %d\n", WEXITSTATUS(status));
	pid = child(5);
	SAY(wait3(&status, 0, &usage) == pid);
	pid = child(6);
	SAY(wait4(pid, &status, 0, &usage) == pid);
	printf("status %d\n", WEXITSTATUS(status));
	pid = child(7);
	SAY(waitid(P_PID, (id_t)pid, &info, WEXITED));
	printf("status %d\n", info.si_status);
	SAY(waitpid(-1, &status, WNOHANG));
	SAY(wait(NULL));
	pid = vfork();
	if (!pid) {
		fd = open("a", O_RDONLY);
		_exit(fd >= 0 && read(fd, buf, 4) == 4 && close(fd) == 0 ? 9 : 1);
	}
	SAY(waitpid(pid, &status, 0) == pid);
	printf("status %d\n", WEXITSTATUS(status));
}

static void queues(void)
{
	struct { long type; char text[4]; } message = { 5, "abc" };
	struct sembuf down = { 0, -1, 0 }, up = { 0, 1, 0 };
	struct timespec soon = { 0, 20000000 };
	int queue = msgget(IPC_PRIVATE, 0600), set = semget(IPC_PRIVATE, 1, 0600);

	SAY(msgsnd(queue, &message, 4, 0));
	SAY(msgrcv(queue, &message, 4, 5, 0));
	SAY(msgrcv(queue, &message, 4, 5, IPC_NOWAIT));
	SAY(semop(set, &up, 1));
	SAY(semop(set, &down, 1));
	SAY(semtimedop(set, &down, 1, &soon));
	msgctl(queue, IPC_RMID, NULL);
	semctl(set, 0, IPC_RMID);
	SAY(semop(set, &up, 1));
}

/* ---- calls that a cancellation or a longjmp leaves ---- */

static int cleaned, locked_fd, which;
static sigjmp_buf back;

static void clean(void *arg)
{
	cleaned++;
}

static void *cancelled(void *arg)
{
	struct flock lock = { .l_type = F_WRLCK };
	struct timespec long_time = { 100, 0 };

	pthread_cleanup_push(clean, NULL);
	switch (which) {
	case 0: (void)!read(pipes[0], buf, 4); break;
	case 1: (void)!read(pipes[0], buf, four); break;
	case 2: recv(pair[0], buf, 4, 0); break;
	case 3: waitpid(-1, NULL, 0); break;
	case 4: open("fifo", O_RDONLY); break;
	case 5: fcntl(locked_fd, F_OFD_SETLKW, &lock); break;
	case 6: pause(); break;
	case 7: poll(NULL, 0, 100000); break;
	case 8: nanosleep(&long_time, NULL); break;
	case 9: recvmsg(pair[0], &(struct msghdr){ .msg_iov = &part, .msg_iovlen = 1 }, 0); break;
	case 10: (void)!readv(pipes[0], &part, 1); break;
	}
	pthread_cleanup_pop(1);
	return "not cancelled";
}

static void jump(int sig)
{
	siglongjmp(back, 1);
}

static void left(void)
{
	struct flock lock = { .l_type = F_WRLCK };
	int fd = open("a", O_RDWR);
	pid_t stays = fork();
	pthread_t thread;
	void *result;

	if (!stays) {
		sleep(100);
		_exit(0);
	}
	locked_fd = open("a", O_RDWR);
	fcntl(fd, F_OFD_SETLKW, &lock);
	mkfifo("fifo", 0600);
	for (which = 0; which <= 10; which++) {
		pthread_create(&thread, NULL, cancelled, NULL);
		usleep(10000);
		pthread_cancel(thread);
		pthread_join(thread, &result);
		printf("call %d: %s, cleaned %d\n", which, result == PTHREAD_CANCELED ? "cancelled" : (char *)result, cleaned);
	}
	kill(stays, SIGKILL);
	waitpid(stays, NULL, 0);
	for (int i = 0; i < 3; i++) {
		signal(SIGALRM, jump);
		if (!sigsetjmp(back, 1)) {
			ualarm(20000, 0);
			(void)!read(pipes[0], buf, 4);
		}
	}
	signal(SIGALRM, SIG_DFL);
	usleep(20000);
	printf("left by longjmp\n");
}

/* Too much for the buffer: the check in the fortified variant ends a child. */
static void overflow(void)
{
	static volatile size_t too_much = 65;
	int status;
	pid_t pid = fork();

	if (!pid) {
		close(2);
		open("/dev/null", O_WRONLY);
		_exit(read(pipes[0], buf, too_much) == 0);
	}
	waitpid(pid, &status, 0);
	printf("overflow: signal %d\n", WTERMSIG(status));
}

int main(int argc, char **argv)
{
	char directory[] = "/tmp/calls-XXXXXX";

	alarm(120);
	setvbuf(stdout, NULL, _IONBF, 0);
	umask(022);
	printf("ready\n");
	if (!fgets(buf, sizeof(buf), stdin) || !mkdtemp(directory) || chdir(directory) || pipe(pipes) ||
	    socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		return 1;
	opening();
	files();
	locks();
	alarm(0);
	interrupted();
	sockets();
	children();
	queues();
	left();
	overflow();
	for (const char *name = "abcdef"; *name; name++)
		unlink((char[]){ *name, '\0' });
	unlink("fifo");
	rmdir(directory);
	printf("end\n");
	return 0;
}
