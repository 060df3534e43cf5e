/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is SIGPROF blocked while the kernel copies the process? Prints "ready"; for each line of standard input it forks
 * and prints three digits: whether SIGPROF was blocked at the system call of fork, in the parent behind it, and in
 * the child. A seccomp filter turns that call into SIGSYS, whose handler finds the mask in its context and makes
 * the child by clone3 instead. Exit status 77: no filter is allowed here.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

static volatile int at_call = -1;

/* The fork that libc asked for, by a call that the filter lets pass. */
static void on_trapped(int sig, siginfo_t *info, void *arg)
{
	ucontext_t *context = arg;
	/* clone(flags, stack, parent_tid, then child_tid and tls, or the other way round) */
#if defined(__x86_64__)
	greg_t *reg = context->uc_mcontext.gregs, *result = &reg[REG_RAX];
	uint64_t flags = (uint64_t)reg[REG_RDI], child_tid = (uint64_t)reg[REG_R10];
#elif defined(__aarch64__)
	unsigned long long *reg = context->uc_mcontext.regs, *result = &reg[0];
	uint64_t flags = reg[0], child_tid = reg[4];
#endif
	struct clone_args args = { .flags = flags & ~(uint64_t)0xff, .exit_signal = flags & 0xff, .child_tid = child_tid };
	long pid;

	at_call = sigismember(&context->uc_sigmask, SIGPROF);
	pid = syscall(SYS_clone3, &args, sizeof(args));
	*result = pid < 0 ? -errno : pid;
}

static int install(void)
{
	struct sock_filter rows[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = sizeof(rows) / sizeof(*rows), .filter = rows };
	struct sigaction action = { .sa_sigaction = on_trapped, .sa_flags = SA_SIGINFO };

	return sigaction(SIGSYS, &action, NULL) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static int blocked(void)
{
	sigset_t now;

	sigprocmask(SIG_BLOCK, NULL, &now);
	return sigismember(&now, SIGPROF);
}

int main(void)
{
	char line[16];
	int status;

	alarm(600); /* never outlive a test that went wrong */
	if (install())
		return 77;
	puts("ready");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(blocked());
		if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
			return 1;
		printf("%d%d%d\n", at_call, blocked(), WEXITSTATUS(status));
		fflush(stdout);
	}
	return 0;
}
