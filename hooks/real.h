/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The next definition of every hooked symbol: `real.malloc(size)`.
 *
 * Usable from the first instruction: each pointer starts at an entry (agent/arch/<cpu>/boot.S) that
 * resolves them all and goes on to the real function, so that a call through `real` never has to
 * ask whether it is ready. Written once, then sealed read-only.
 *
 * Context: hook, init; agent for the few functions that its start needs.
 */
#ifndef HOOKS_REAL_H
#define HOOKS_REAL_H

#include <dlfcn.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#include "agent/base/attr.h"
#include "hooks/member.h"

typedef int main_fn(int argc, char **argv, char **envp);
int __libc_start_main(main_fn *main, int argc, char **argv, void (*init)(void), void (*fini)(void),
		      void (*rtld_fini)(void), void *stack_end);

/* What programs built with _FORTIFY_SOURCE call. */
int __poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t room);
int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask,
		size_t room);
ssize_t __read_chk(int fd, void *to, size_t size, size_t room);
ssize_t __pread_chk(int fd, void *to, size_t size, off_t at, size_t room);
ssize_t __pread64_chk(int fd, void *to, size_t size, off64_t at, size_t room);
ssize_t __recv_chk(int fd, void *to, size_t size, size_t room, int flags);
ssize_t __recvfrom_chk(int fd, void *restrict to, size_t size, size_t room, int flags,
		       __SOCKADDR_ARG from, socklen_t *restrict from_size);
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int dir, const char *path, int flags);
int __openat64_2(int dir, const char *path, int flags);

/* sigset and the like are deprecated for callers, not for those who must forward them */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
struct real {
#define HOOK_REQUIRED(symbol, member) __typeof__(symbol) *member;
#define HOOK_OPTIONAL(symbol, member) __typeof__(symbol) *member;
#define HOOK_RELEASE(symbol, member)
#define HOOK_MARKER(symbol, member)
#define HOOK(symbol, version, need) HOOK_##need(symbol, HOOK_MEMBER_##version(symbol))
#include "hooks/hooks.def"
#undef HOOK
#undef HOOK_REQUIRED
#undef HOOK_OPTIONAL
#undef HOOK_RELEASE
#undef HOOK_MARKER
};
#pragma GCC diagnostic pop

/* Only hooks/real.c writes it, before it is sealed. */
extern struct real real HIDDEN;

extern const char pprofagent_version[];

/* Resolves all rows now instead of at the first call. Idempotent, from any thread. Context: init. */
void real_resolve(void);

/* Looks whether the program's calls of malloc come to us, and remembers it. Context: init. */
void real_find_rival(void);

/* The file whose malloc they reach instead, or NULL. Context: agent. */
const char *real_rival(void);

/* Makes `real` read-only. Context: init. */
void real_seal(void);

/* True when another copy of this library comes before us in the search order: then we stay out. */
bool real_is_second_copy(void);

#endif
