/* SPDX-License-Identifier: Apache-2.0 */
/* Runs the registered unit tests, or those whose "file:name" contains the given words. */
#include <stdarg.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/test.h"

enum { SKIPPED = 77, TIME_LIMIT_S = 240 }; /* against hangs: a busy machine takes a minute for the longest */

extern const struct test_case __start_test_cases[], __stop_test_cases[];

void test_fail(const char *file, int line, const char *format, ...)
{
	va_list args;

	printf("# %s:%d: ", file, line);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
	_exit(1);
}

void test_skip(const char *why)
{
	printf("# skipped: %s\n", why);
	fflush(stdout);
	_exit(SKIPPED);
}

void *guarded_copy(const void *data, size_t size)
{
	size_t room = (size + 4095) & ~(size_t)4095;
	char *at = mmap(NULL, room + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		test_fail(__FILE__, __LINE__, "no memory");
	mprotect(at + room, 4096, PROT_NONE);
	at += room - size;
	if (size)
		memcpy(at, data, size);
	return at;
}

static int wanted(const struct test_case *c, int argc, char **argv)
{
	char full[256];

	snprintf(full, sizeof(full), "%s:%s", c->file, c->name);
	for (int i = 1; i < argc; i++)
		if (strstr(full, argv[i]))
			return 1;
	return argc < 2;
}

int main(int argc, char **argv)
{
	int passed = 0, failed = 0, skipped = 0;
	const char *seconds = getenv("UNIT_SECONDS"); /* for tools that slow all down */

	for (const struct test_case *c = __start_test_cases; c < __stop_test_cases; c++) {
		int status;
		pid_t pid;

		if (!wanted(c, argc, argv))
			continue;
		fflush(stdout);
		pid = fork();
		if (pid == 0) {
			alarm(seconds ? (unsigned)atoi(seconds) : TIME_LIMIT_S);
			c->run();
			exit(0);
		}
		if (waitpid(pid, &status, 0) != pid)
			return 2;
		if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
			passed++;
		} else if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED) {
			skipped++;
		} else {
			failed++;
			printf("not ok - %s %s (%s %d)\n", c->file, c->name,
			       WIFSIGNALED(status) ? "signal" : "exit",
			       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
		}
	}
	printf("unit: %d passed, %d failed, %d skipped\n", passed, failed, skipped);
	return failed || passed + skipped == 0;
}
