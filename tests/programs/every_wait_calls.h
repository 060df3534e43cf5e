/* SPDX-License-Identifier: Apache-2.0 */
/* Part of every_wait.c: waits for descriptors, files, children, signals. */

/* ---- descriptors ---- */

#define TO_READ (&(struct pollfd){ me->fd[0], POLLIN, 0 })
int __poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t room);
int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *time, const sigset_t *mask, size_t room);
ssize_t __read_chk(int fd, void *to, size_t size, size_t room);
ssize_t __recv_chk(int fd, void *to, size_t size, size_t room, int flags);
ssize_t __recvfrom_chk(int fd, void *to, size_t size, size_t room, int flags, struct sockaddr *from, socklen_t *n);
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int at, const char *path, int flags);
int __openat64_2(int at, const char *path, int flags);

static fd_set *to_read(void)
{
	static _Thread_local fd_set set;

	FD_SET(me->fd[0], &set);
	return &set;
}
WAIT(poll, poll(TO_READ, 1, -1) == 1)
WAIT(__poll_chk, __poll_chk(TO_READ, 1, -1, sizeof(struct pollfd)) == 1)
WAIT(ppoll, ppoll(TO_READ, 1, NULL, NULL) == 1)
WAIT(__ppoll_chk, __ppoll_chk(TO_READ, 1, NULL, NULL, sizeof(struct pollfd)) == 1)
WAIT(select, select(me->fd[0] + 1, to_read(), NULL, NULL, NULL) == 1)
WAIT(pselect, pselect(me->fd[0] + 1, to_read(), NULL, NULL, NULL, NULL) == 1)
WAIT(epoll_wait, epoll_wait(me->id, (struct epoll_event[1]){}, 1, -1) == 1)
WAIT(epoll_pwait, epoll_pwait(me->id, (struct epoll_event[1]){}, 1, -1, NULL) == 1)
WAIT(epoll_pwait2, epoll_pwait2(me->id, (struct epoll_event[1]){}, 1, NULL, NULL) == 1)
WAIT(read, read(me->fd[0], buf, 1) == 1)
WAIT(__read_chk, __read_chk(me->fd[0], buf, 1, sizeof(buf)) == 1)
WAIT(readv, readv(me->fd[0], &part, 1) == 1)
WAIT(preadv2, preadv2(me->fd[0], &part, 1, -1, 0) == 1)
WAIT(preadv64v2, preadv64v2(me->fd[0], &part, 1, -1, 0) == 1)
WAIT(write, write(me->fd[1], buf, 1) == 1)
WAIT(writev, writev(me->fd[1], &part, 1) == 1)
WAIT(pwritev2, pwritev2(me->fd[1], &part, 1, -1, 0) == 1)
WAIT(pwritev64v2, pwritev64v2(me->fd[1], &part, 1, -1, 0) == 1)
WAIT(splice, splice(me->fd[0], NULL, me->id, NULL, 1, 0) == 1)
WAIT(sendfile, sendfile(me->fd[1], me->id, NULL, 1) == 1)
WAIT(sendfile64, sendfile64(me->fd[1], me->id, NULL, 1) == 1)
WAIT(recv, recv(me->fd[0], buf, 1, 0) == 1)
WAIT(__recv_chk, __recv_chk(me->fd[0], buf, 1, sizeof(buf), 0) == 1)
WAIT(recvfrom, recvfrom(me->fd[0], buf, 1, 0, NULL, NULL) == 1)
WAIT(__recvfrom_chk, __recvfrom_chk(me->fd[0], buf, 1, sizeof(buf), 0, NULL, NULL) == 1)
#define MESSAGE (struct msghdr){ .msg_iov = &part, .msg_iovlen = 1 }
WAIT(recvmsg, recvmsg(me->fd[0], &MESSAGE, 0) == 1)
WAIT(recvmmsg, recvmmsg(me->fd[0], &(struct mmsghdr){ MESSAGE, 0 }, 1, 0, NULL) == 1)
WAIT(send, send(me->fd[1], buf, 1, 0) == 1)
WAIT(sendto, sendto(me->fd[1], buf, 1, 0, NULL, 0) == 1)
WAIT(sendmsg, sendmsg(me->fd[1], &MESSAGE, 0) == 1)
WAIT(sendmmsg, sendmmsg(me->fd[1], &(struct mmsghdr){ MESSAGE, 0 }, 1, 0) == 1)
WAIT(accept, (me->fd[1] = accept(me->fd[0], NULL, NULL)) >= 0)
WAIT(accept4, (me->fd[1] = accept4(me->fd[0], NULL, NULL, 0)) >= 0)

static void make_pipe(void) { check(!pipe(me->fd)); }
static void make_pair(void) { check(!socketpair(AF_UNIX, SOCK_STREAM, 0, me->fd)); }
static void write_one(void) { check(write(me->fd[1], buf, 1) == 1); }
static void make_epoll(void)
{
	make_pipe();
	me->id = epoll_create1(0);
	check(!epoll_ctl(me->id, EPOLL_CTL_ADD, me->fd[0], &(struct epoll_event){ .events = EPOLLIN }));
}
static void fill(void)
{
	fcntl(me->fd[1], F_SETFL, O_NONBLOCK);
	while (write(me->fd[1], buf, sizeof(buf)) > 0)
		;
	while (write(me->fd[1], buf, 1) > 0)
		;
	check(errno == EAGAIN && !fcntl(me->fd[1], F_SETFL, 0));
}
static void make_full_pipe(void)
{
	make_pipe();
	fill();
	check((me->id = open("/proc/self/exe", O_RDONLY)) >= 0);
}
static void make_full_pair(void)
{
	make_pair();
	fill();
}
static void drain(void)
{
	fcntl(me->fd[0], F_SETFL, O_NONBLOCK);
	while (read(me->fd[0], buf, sizeof(buf)) > 0)
		;
}
static void make_splice(void)
{
	make_pipe();
	check((me->id = open("/dev/null", O_WRONLY)) >= 0);
}
static void make_server(void)
{
	check((me->fd[0] = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
	check(!bind(me->fd[0], &(struct sockaddr){ AF_UNIX, "" }, sizeof(sa_family_t)) && !listen(me->fd[0], 0));
}
static struct sockaddr_un address;
static socklen_t address_size;
static int client(void)
{
	address_size = sizeof(address);
	check(!getsockname(me->fd[0], (struct sockaddr *)&address, &address_size));
	return socket(AF_UNIX, SOCK_STREAM, 0);
}
static void come_to_server(void) { check(!connect(client(), (struct sockaddr *)&address, address_size)); }
/* a server whose queue is full */
static void make_busy_server(void)
{
	make_server();
	me->fd[1] = client();
	for (int fd = 0; fd >= 0;) {
		check((fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0)) >= 0);
		if (connect(fd, (struct sockaddr *)&address, address_size) != 0)
			fd = -1;
	}
}
WAIT(connect, !connect(me->fd[1], (struct sockaddr *)&address, address_size))
static void accept_one(void) { check(accept(me->fd[0], NULL, NULL) >= 0); }

/* ---- files, children, signals, System V ---- */

static void file_of_row(char *path) { sprintf(path, "file-%s", me->name); }
static char *path_of_row(void)
{
	static _Thread_local char path[64];

	file_of_row(path);
	return path;
}
WAIT(flock, !flock(me->fd[0], LOCK_EX))
WAIT(lockf, !lockf(me->fd[0], F_LOCK, 1))
WAIT(lockf64, !lockf64(me->fd[0], F_LOCK, 1))
WAIT(fcntl, !fcntl(me->fd[0], F_SETLKW, &(struct flock){ .l_type = F_WRLCK }))
int fcntl64(int fd, int what, ...);
WAIT(fcntl64, !fcntl64(me->fd[0], F_SETLKW, &(struct flock){ .l_type = F_WRLCK }))
static void lock_file(void)
{
	check((me->fd[0] = open(path_of_row(), O_CREAT | O_RDWR, 0600)) >= 0);
	check((me->fd[1] = open(path_of_row(), O_RDWR)) >= 0 && !flock(me->fd[1], LOCK_EX));
}
static void unlock_file(void) { check(!flock(me->fd[1], LOCK_UN)); }
/* locks of this kind are a process's: a child has it */
static void make_child(void)
{
	int ready[2];
	char *path = path_of_row();

	check(!pipe(ready) && !pipe(me->fd) && (me->id = fork()) >= 0);
	if (!me->id) {
		int fd = open(path, O_CREAT | O_RDWR, 0600);

		check(fd >= 0 && !lockf(fd, F_LOCK, 1) && write(ready[1], buf, 1) == 1);
		close(me->fd[1]); /* the parent's end is its sign of life */
		_exit(read(me->fd[0], buf, 1) == 1);
	}
	check(read(ready[0], buf, 1) == 1 && !close(ready[0]) && !close(ready[1]));
}
static void make_lock_of_child(void)
{
	make_child();
	me->word = me->fd[1];
	check((me->fd[0] = open(path_of_row(), O_RDWR)) >= 0);
}
static void unlock_in_child(void) { check(write(me->word, buf, 1) == 1); }
static void end_child(void) { check(write(me->fd[1], buf, 1) == 1); }
WAIT(waitpid, waitpid(me->id, NULL, 0) == me->id)
WAIT(wait4, wait4(me->id, NULL, 0, NULL) == me->id)
WAIT(waitid, !waitid(P_PID, (id_t)me->id, &(siginfo_t){}, WEXITED))
WAIT(wait, wait(NULL) > 0)
WAIT(wait3, wait3(NULL, 0, NULL) > 0)

WAIT(open, open(path_of_row(), O_RDONLY) >= 0)
WAIT(open64, open64(path_of_row(), O_RDONLY) >= 0)
WAIT(openat, openat(AT_FDCWD, path_of_row(), O_RDONLY) >= 0)
WAIT(openat64, openat64(AT_FDCWD, path_of_row(), O_RDONLY) >= 0)
WAIT(__open_2, __open_2(path_of_row(), O_RDONLY) >= 0)
WAIT(__open64_2, __open64_2(path_of_row(), O_RDONLY) >= 0)
WAIT(__openat_2, __openat_2(AT_FDCWD, path_of_row(), O_RDONLY) >= 0)
WAIT(__openat64_2, __openat64_2(AT_FDCWD, path_of_row(), O_RDONLY) >= 0)
WAIT(creat, creat(path_of_row(), 0600) >= 0)
WAIT(creat64, creat64(path_of_row(), 0600) >= 0)
static void make_fifo(void) { check(!syscall(SYS_mknodat, AT_FDCWD, path_of_row(), 0010600, 0)); }
static void open_to_write(void) { check(open(path_of_row(), O_WRONLY) >= 0); }
static void open_to_read(void) { check(open(path_of_row(), O_RDONLY) >= 0); }

WAIT(pause, pause() == -1)
WAIT(sigsuspend, sigsuspend(&(sigset_t){}) == -1)
static void kill_it(void) { check(!pthread_kill(me->thread, SIGUSR1)); }
static void handler(int number) { }

static struct {
	long type;
	char text[4096];
} message = { 1, "" };
WAIT(msgrcv, msgrcv(me->id, &(typeof(message)){}, 1, 0, 0) == -1)
WAIT(msgsnd, msgsnd(me->id, &message, sizeof(message.text), 0) == -1)
static void make_queue(void)
{
	check((me->id = msgget(IPC_PRIVATE, 0600)) >= 0);
	if (me->wait == wait_msgsnd)
		while (msgsnd(me->id, &message, sizeof(message.text), IPC_NOWAIT) == 0)
			;
}
static void remove_queue(void) { check(!msgctl(me->id, IPC_RMID, NULL)); }
WAIT(semop, semop(me->id, &(struct sembuf){ 0, -1, 0 }, 1) == -1)
WAIT(semtimedop, semtimedop(me->id, &(struct sembuf){ 0, -1, 0 }, 1, &(struct timespec){ 60, 0 }) == -1)
static void make_sems(void) { check((me->id = semget(IPC_PRIVATE, 1, 0600)) >= 0); }
static void remove_sems(void) { check(!semctl(me->id, 0, IPC_RMID)); }
