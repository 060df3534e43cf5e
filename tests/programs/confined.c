/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Work in confined circumstances. Prints "ready", and works when a line comes: allocations, locks that two
 * threads fight for, a thread that computes in confined_hot(); then prints "done <sum>" and, for each
 * further line, works again; ends with its standard input. What it does before "ready", by its first word:
 *   free        nothing
 *   errno       a seccomp filter for all threads: system calls that it does not need itself return EPERM
 *   kill        a filter for the threads that it makes from then on: other system calls kill the process
 *   chroot DIR  changes its root
 *   drop        gives up root: setuid(65534) in a thread beside others
 *   setuid      sets its ids again and again beside the work
 *   exec N      becomes itself N times, and prints its signal masks in the end
 *   fork MB N   fills memory; a line makes N children one after another and prints their statuses' sum
 */
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static _Atomic int stop;
static volatile uint64_t sink;
static char *memory;
static size_t megabytes;
static int children;

static __attribute__((noinline)) uint64_t confined_hot(uint64_t x)
{
	for (int i = 0; i < 20000; i++)
		x = x * 6364136223846793005u + 1442695040888963407u;
	sink = x;
	return x;
}

static void *work(void *arg)
{
	void *kept[64] = { 0 };
	uint64_t sum = 0;

	for (int i = 0; i < 15000; i++) {
		int at = i % 64;

		free(kept[at]);
		kept[at] = malloc(16 + (size_t)i * 7 % 3000);
		pthread_mutex_lock(&mutex);
		sum += kept[at] != NULL;
		if (i % 64 == 0)
			confined_hot(sum);
		pthread_mutex_unlock(&mutex);
		if (i % 16 == 0)
			confined_hot(sum);
	}
	for (int i = 0; i < 64; i++)
		free(kept[i]);
	*(uint64_t *)arg = sum;
	return NULL;
}

/* What libc itself does for the work above, threads included. */
static const int needed[] = {
	SYS_read, SYS_write, SYS_exit, SYS_exit_group, SYS_futex, SYS_mmap, SYS_munmap, SYS_mprotect, SYS_madvise,
	SYS_brk, SYS_rt_sigreturn, SYS_rt_sigprocmask, SYS_rt_sigaction, SYS_openat, SYS_close, SYS_sched_yield, SYS_ioctl, SYS_clone3, SYS_clone, SYS_rseq, SYS_set_robust_list,
	SYS_clock_nanosleep, SYS_newfstatat, SYS_fstat, SYS_lseek, SYS_getrandom, SYS_mremap, SYS_sched_getaffinity, SYS_restart_syscall,
};
/* What docs/limits.md says that the agent does in threads of the program. */
static const int agents[] = { SYS_gettid, SYS_getpid, SYS_sigaltstack, SYS_tgkill, SYS_clock_gettime, SYS_timer_create,
			      SYS_timer_settime, SYS_timer_delete, SYS_process_vm_readv, SYS_prctl };

enum { ROWS = 2 + sizeof(needed) / sizeof(*needed) + sizeof(agents) / sizeof(*agents) };

static void confine(uint32_t otherwise, unsigned flags, int also_agents)
{
	struct sock_filter rows[ROWS + 1];
	unsigned n = 0, calls = sizeof(needed) / sizeof(*needed), more = also_agents ? sizeof(agents) / sizeof(*agents) : 0;
	struct sock_fprog program = { .filter = rows };

	rows[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (unsigned i = 0; i < calls + more; i++)
		rows[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(i < calls ? needed[i] : agents[i - calls]),
							 (uint8_t)(calls + more - i), 0);
	rows[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, otherwise);
	rows[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	program.len = (unsigned short)n;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program) != 0)
		exit(77);
}

static void *sets_ids(void *arg)
{
	while (!stop)
		if (setgid(getgid()) != 0 || setuid(getuid()) != 0)
			_exit(3);
	return arg;
}

static void exec_again(char **argv)
{
	int left = atoi(argv[2]);
	char number[16], line[256];
	FILE *status;

	for (int i = 0; i < 300; i++)
		confined_hot((uint64_t)i);
	if (left > 0) {
		snprintf(number, sizeof(number), "%d", left - 1);
		execv("/proc/self/exe", (char *[]){ argv[0], argv[1], number, NULL });
		exit(4);
	}
	status = fopen("/proc/self/status", "r");
	while (fgets(line, sizeof(line), status))
		if (strncmp(line, "SigBlk", 6) == 0 || strncmp(line, "SigIgn", 6) == 0 || strncmp(line, "SigCgt", 6) == 0)
			fputs(line, stdout);
	fclose(status);
}

static int fork_all(void)
{
	int sum = 0, status;

	for (int i = 0; i < children; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			free(malloc(100));
			_exit(1);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid)
			return -1;
		sum += WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
	}
	return sum;
}

static void prepare(const char *kind, char **argv)
{
	pthread_t thread;

	if (strcmp(kind, "errno") == 0)
		confine(SECCOMP_RET_ERRNO | 1, SECCOMP_FILTER_FLAG_TSYNC, 0);
	else if (strcmp(kind, "kill") == 0)
		confine(SECCOMP_RET_KILL_PROCESS, 0, 1);
	else if (strcmp(kind, "chroot") == 0 && (chdir(argv[2]) != 0 || chroot(".") != 0))
		exit(77);
	else if (strcmp(kind, "drop") == 0 && (setgroups(0, NULL) != 0 || setgid(65534) != 0 || setuid(65534) != 0))
		exit(77);
	else if (strcmp(kind, "setuid") == 0)
		pthread_create(&thread, NULL, sets_ids, NULL);
	else if (strcmp(kind, "exec") == 0)
		exec_again(argv);
	else if (strcmp(kind, "fork") == 0) {
		megabytes = (size_t)atoi(argv[2]);
		children = atoi(argv[3]);
		memory = malloc(megabytes << 20);
		memset(memory, 1, megabytes << 20);
	}
}

int main(int argc, char **argv)
{
	uint64_t sums[2];
	pthread_t threads[2];
	char line[64];

	alarm(120);
	setvbuf(stdout, NULL, _IOLBF, 4096);
	prepare(argc > 1 ? argv[1] : "", argv);
	puts("ready");
	while (fgets(line, sizeof(line), stdin)) {
		if (children) {
			printf("done %d\n", fork_all());
			continue;
		}
		for (int i = 0; i < 2; i++)
			if (pthread_create(&threads[i], NULL, work, &sums[i]) != 0)
				return 5;
		for (int i = 0; i < 2; i++)
			pthread_join(threads[i], NULL);
		printf("done %lu\n", sums[0] + sums[1]);
	}
	stop = 1;
	return 0;
}
