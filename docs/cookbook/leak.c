/* SPDX-License-Identifier: Apache-2.0 */
/* A service that answers requests, and keeps something of each. For docs/cookbook.md; ends after two minutes. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct session {
	struct session *next;
	char request[8000];
};
static struct session *sessions;
static char *volatile answer;

__attribute__((noinline)) static void remember_session(const char *request)
{
	struct session *s = calloc(1, sizeof(*s));

	strncpy(s->request, request, sizeof(s->request) - 1);
	s->next = sessions;
	sessions = s;
}

__attribute__((noinline)) static void render_answer(void)
{
	answer = malloc(100000);
	memset(answer, 'x', 100000);
	free(answer);
}

__attribute__((noinline)) static void handle_request(void)
{
	remember_session("GET /");
	render_answer();
}

int main(void)
{
	alarm(120);
	for (;;) {
		handle_request();
		usleep(500);
	}
}
