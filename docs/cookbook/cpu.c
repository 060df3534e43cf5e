/* SPDX-License-Identifier: Apache-2.0 */
/* Removes doubles from lists the slow way. For docs/cookbook.md; ends after two minutes. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WORDS = 4000 };
static char words[WORDS][16];
static volatile int different;

__attribute__((noinline)) static int seen_before(int n)
{
	for (int i = 0; i < n; i++)
		if (!strcmp(words[i], words[n]))
			return 1;
	return 0;
}

__attribute__((noinline)) static void count_different(void)
{
	int count = 0;

	for (int n = 0; n < WORDS; n++)
		count += !seen_before(n);
	different = count;
}

__attribute__((noinline)) static void make_words(void)
{
	for (int n = 0; n < WORDS; n++)
		for (int i = 0; i < 15; i++)
			words[n][i] = (char)('a' + rand() % 3);
}

int main(void)
{
	alarm(120);
	for (;;) {
		make_words();
		count_different();
	}
}
