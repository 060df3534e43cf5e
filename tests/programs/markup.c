/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For the pages: exact amounts and hostile names. Holds 64 blocks of 1 MiB from keeps_blocks(), called by
 * a function whose name is markup; every line "more" on stdin adds 32 blocks from keeps_more(), and is
 * answered "done". A thread named <b>bold</b> burns processor time in burns(). Prints "ready" first;
 * ends with its input, or after 300 s.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static void *volatile kept[4096];
static volatile unsigned kept_n;
static volatile unsigned long burnt;

__attribute__((noinline)) void keeps_blocks(void);
__attribute__((noinline)) void keeps_more(void);
__attribute__((noinline)) void burns(void);
__attribute__((noinline)) void markup(void) __asm__("\"<script>alert(1)</script><img src=x onerror=alert(2)>\"");

void keeps_blocks(void)
{
	for (int i = 0; i < 64; i++)
		kept[kept_n++] = malloc(1 << 20);
	burnt++;
}

void keeps_more(void)
{
	for (int i = 0; i < 32; i++)
		kept[kept_n++] = malloc(1 << 20);
	burnt++;
}

void markup(void)
{
	keeps_blocks();
	burnt++;
}

void burns(void)
{
	for (int i = 0; i < 1000000; i++)
		burnt += (unsigned long)i;
}

static void *burner(void *arg)
{
	prctl(PR_SET_NAME, "<b>bold</b>");
	for (;;)
		burns();
	return arg;
}

int main(void)
{
	pthread_t thread;
	char line[64];

	alarm(300);
	markup();
	if (pthread_create(&thread, NULL, burner, NULL))
		return 1;
	puts("ready");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		if (strncmp(line, "more", 4))
			continue;
		keeps_more();
		puts("done");
		fflush(stdout);
	}
	return 0;
}
