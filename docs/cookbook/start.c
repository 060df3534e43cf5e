/* SPDX-License-Identifier: Apache-2.0 */
/* Takes half a minute before it is ready, and uses no processor for it. For docs/cookbook.md; ends after two minutes. */
#include <stdio.h>
#include <time.h>
#include <unistd.h>

__attribute__((noinline)) static void wait_for_answer(int tenths)
{
	for (int i = 0; i < tenths; i++)
		nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
}

__attribute__((noinline)) static void ask_license_server(void)
{
	wait_for_answer(300);
}

__attribute__((noinline)) static void read_settings(void)
{
	wait_for_answer(5);
}

int main(void)
{
	alarm(120);
	read_settings();
	ask_license_server();
	puts("ready");
	fflush(stdout);
	pause();
}
