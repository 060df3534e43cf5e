/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pprofagent-symbolize: says which functions, files and lines lie at addresses of files. Started by the
 * agent (encode/helper.h), never by a person; ends when its input does, or after a minute without any.
 *
 * Protocol: lines of text; numbers are hexadecimal; fields are separated by one space, paths by tabs.
 *
 *	R request                                       a new request; numbers of texts begin anew
 *	M module dev inode size s ns path TAB other TAB debug   a file: its identity and its names
 *	N module ...                                    the same; symbol names are wanted of it as well
 *	A index module address                          what is at this address of the file?
 *	E                                               end of the request
 *
 * Answers, in the order of the questions:
 *
 *	R request
 *	S number text                                   a text that is used from here on
 *	L index (name file line start)...               frames, innermost first; number 0: no text
 *	Y index name start                              from the symbol table; comes before L
 *	F module 1                                      this file cannot be opened
 *	F module 2                                      it has no debug information that can be read
 *	E request
 *	D dev inode                                     the last words: the file over which this process dies
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "encode/symbolizer/die.h"
#include "encode/symbolizer/module.h"

enum {
	IDLE_MS = 60000,
	FLUSH_MS = 20,
	CPU_SECONDS = 30,      /* for one request */
	DATA_MAX = 1024 << 20, /* bytes: private memory, copies of files among it */
	INPUT = 32 << 10,      /* longest line: three paths */
	MODULES = 1 << 16, /* a process has no more mappings */
};

struct id {
	uint64_t dev, inode;
};

static struct {
	char input[INPUT + 1];
	size_t at, used; /* what is not read yet */
	char output[64 << 10];
	size_t n_output;
	uint64_t request, flushed_ms;
	uint32_t n_texts;
	struct module *modules[MODULES];
	bool symbols[MODULES];
	struct id ids[MODULES];
	struct id id; /* of the file of the line at work */
	bool at_work;
} self;

/* ---- last words ---- */

static char *put_hex(char *to, uint64_t value)
{
	static const char digits[] = "0123456789abcdef";
	int shift = 60;

	while (shift > 0 && !(value >> shift))
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		*to++ = digits[value >> shift & 15];
	return to;
}

/* The whole lines of the output, and which file is to blame, if one is. Context: signal. */
static void last_words(void)
{
	char line[64], *to = line;
	const char *end = memrchr(self.output, '\n', self.n_output);
	ssize_t n = 0;

	if (!self.at_work)
		return;
	self.at_work = false;
	*to++ = 'D';
	*to++ = ' ';
	to = put_hex(to, self.id.dev);
	*to++ = ' ';
	to = put_hex(to, self.id.inode);
	*to++ = '\n';
	if (end)
		n = write(1, self.output, (size_t)(end + 1 - self.output));
	if (n >= 0)
		n = write(1, line, (size_t)(to - line));
	self.n_output = 0;
}

static void on_fault(int sig)
{
	last_words();
	signal(sig, SIG_DFL);
	raise(sig);
}

void die(int status)
{
	last_words();
	_Exit(status);
}

/* On a stack of its own: what runs out may be the stack. */
static void watch_faults(void)
{
	static const int faults[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGXCPU };
	static char stack[64 << 10];
	stack_t alternate = { .ss_sp = stack, .ss_size = sizeof(stack) };
	struct sigaction action = { .sa_handler = on_fault, .sa_flags = SA_ONSTACK };

	sigaltstack(&alternate, NULL);
	for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		sigaction(faults[i], &action, NULL);
}

/* ---- output ---- */

static void flush(void)
{
	for (size_t at = 0; at < self.n_output;) {
		ssize_t n = write(1, self.output + at, self.n_output - at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			_Exit(DIE_OUTPUT);
		at += (size_t)n;
	}
	self.n_output = 0;
}

static void put(const char *text, size_t n)
{
	while (n) {
		size_t room = sizeof(self.output) - self.n_output, part = n < room ? n : room;

		memcpy(self.output + self.n_output, text, part);
		self.n_output += part;
		text += part;
		n -= part;
		if (self.n_output == sizeof(self.output))
			flush();
	}
}

static void put_format(const char *format, ...)
{
	char buf[256];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(buf, sizeof(buf), format, args);
	va_end(args);
	put(buf, (size_t)n);
}

/* The number of a text, which is sent at its first use in a request. */
static uint32_t number_of(struct text *text)
{
	if (!text)
		return 0;
	if (text->request != self.request) {
		text->request = self.request;
		text->number = ++self.n_texts;
		put_format("S %" PRIx32 " ", text->number);
		put(text->chars, strlen(text->chars));
		put("\n", 1);
	}
	return text->number;
}

static uint64_t take_number(char **at)
{
	char *end;
	uint64_t v = strtoull(*at, &end, 16);

	if (end == *at)
		_Exit(DIE_INPUT);
	*at = *end == ' ' ? end + 1 : end;
	return v;
}

static char *take_path(char **at)
{
	char *path = *at, *tab = strchr(path, '\t');

	*at = tab ? tab + 1 : path + strlen(path);
	if (tab)
		*tab = '\0';
	return path;
}

/* A file that takes for ever costs a bounded time of one processor: the kernel sees to it. */
static void limit_cpu(void)
{
	struct rusage usage;
	struct rlimit limit;

	getrusage(RUSAGE_SELF, &usage);
	if (getrlimit(RLIMIT_CPU, &limit) != 0)
		return;
	limit.rlim_cur = (rlim_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + CPU_SECONDS);
	if (limit.rlim_cur > limit.rlim_max)
		limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_CPU, &limit);
}

static void begin_request(char *at)
{
	limit_cpu();
	modules_round();
	memset(self.modules, 0, sizeof(self.modules));
	self.request = take_number(&at);
	self.n_texts = 0;
	put_format("R %" PRIx64 "\n", self.request);
}

static void take_module(char *at, bool symbols)
{
	uint64_t number = take_number(&at);
	struct module_spec spec = { .dev = take_number(&at) };
	struct module *m;

	spec.inode = take_number(&at);
	spec.size = take_number(&at);
	spec.mtime_s = take_number(&at);
	spec.mtime_ns = take_number(&at);
	spec.path = take_path(&at);
	spec.other = take_path(&at);
	spec.debug = take_path(&at);
	if (number >= MODULES)
		_Exit(DIE_INPUT);
	flush(); /* what follows may take long */
	self.id = self.ids[number] = (struct id){ spec.dev, spec.inode };
	self.at_work = true;
	self.modules[number] = m = module_get(&spec);
	self.at_work = false;
	self.symbols[number] = symbols;
	if (!m || !module_has_lines(m))
		put_format("F %" PRIx64 " %d\n", number, m ? 2 : 1);
}

/* Who asks waits for a bounded time and takes what came by then. */
static void flush_now_and_then(void)
{
	struct timespec now;
	uint64_t ms;

	clock_gettime(CLOCK_MONOTONIC, &now);
	ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
	if (ms - self.flushed_ms < FLUSH_MS)
		return;
	self.flushed_ms = ms;
	flush();
}

static void answer(char *at)
{
	uint64_t index = take_number(&at), number = take_number(&at), address = take_number(&at), start;
	struct module *m = number < MODULES ? self.modules[number] : NULL;
	uint32_t numbers[2 * FRAMES];
	struct frame frames[FRAMES];
	struct text *name;
	unsigned n = 0;

	if (m) {
		self.id = self.ids[number];
		self.at_work = true;
		n = module_frames(m, address, frames);
	}
	if (m && self.symbols[number] && module_symbol(m, address, &name, &start)) {
		uint32_t text = number_of(name);

		put_format("Y %" PRIx64 " %" PRIx32 " %" PRIx64 "\n", index, text, start);
	}
	for (unsigned i = 0; i < n; i++) {
		numbers[2 * i] = number_of(frames[i].name);
		numbers[2 * i + 1] = number_of(frames[i].file);
	}
	put_format("L %" PRIx64, index);
	for (unsigned i = 0; i < n; i++)
		put_format(" %" PRIx32 " %" PRIx32 " %" PRIx32 " %" PRIx32, numbers[2 * i],
			   numbers[2 * i + 1], frames[i].line, frames[i].start);
	put("\n", 1);
	self.at_work = false;
	flush_now_and_then();
}

static void take_line(char *line)
{
	if (line[0] && line[1] == ' ') {
		char *at = line + 2;

		switch (line[0]) {
		case 'R':
			begin_request(at);
			return;
		case 'M':
		case 'N':
			take_module(at, line[0] == 'N');
			return;
		case 'A':
			answer(at);
			return;
		default:
			break;
		}
	}
	if (line[0] != 'E' || line[1])
		_Exit(DIE_INPUT);
	put_format("E %" PRIx64 "\n", self.request);
}

/* Reads on, if there is room. false: the input has ended. */
static bool read_on(void)
{
	ssize_t n;

	memmove(self.input, self.input + self.at, self.used - self.at);
	self.used -= self.at;
	self.at = 0;
	if (self.used == INPUT)
		return true;
	do
		n = read(0, self.input + self.used, INPUT - self.used);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return false;
	self.used += (size_t)n;
	return true;
}

/* Whether a new request is there already: nobody waits for the answers to the one at hand any more. */
static bool is_given_up(void)
{
	struct pollfd in = { .fd = 0, .events = POLLIN };

	if (self.used < INPUT && poll(&in, 1, 0) == 1 && (in.revents & POLLIN) && !read_on())
		exit(0);
	return memmem(self.input + self.at, self.used - self.at, "\nR ", 3) != NULL;
}

/* All whole lines of the input. What was given up is passed over: the new request asks for it again, and
 * gets further than the old one did. */
static void take_input(void)
{
	for (;;) {
		char *line = self.input + self.at, *end = memchr(line, '\n', self.used - self.at);
		bool skip = end && line[0] == 'A' && is_given_up();

		if (!end)
			break;
		/* reading on has moved it */
		line = self.input + self.at;
		end = memchr(line, '\n', self.used - self.at);
		*end = '\0';
		self.at = (size_t)(end + 1 - self.input);
		if (!skip)
			take_line(line);
	}
	if (self.at == 0 && self.used == INPUT)
		_Exit(DIE_INPUT);
	flush();
}

/* Where memory runs out, this process goes before the one that it works for. */
static void be_modest(void)
{
	struct rlimit limit, core = { 0, 0 };
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0) {
		if (write(fd, "1000", 4) != 4)
			errno = 0; /* a container may forbid it */
		close(fd);
	}
	setrlimit(RLIMIT_CORE, &core);
	if (getrlimit(RLIMIT_DATA, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max < DATA_MAX ? limit.rlim_max : DATA_MAX;
		limit.rlim_max = limit.rlim_cur;
		setrlimit(RLIMIT_DATA, &limit);
	}
	limit_cpu();
}

int main(void)
{
	struct pollfd in = { .fd = 0, .events = POLLIN };
	sigset_t none;

	/* it was born with all signals blocked, but must die of faults and its CPU limit; those that go to
	 * the whole process group are not meant for it */
	signal(SIGINT, SIG_IGN);
	signal(SIGQUIT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGUSR1, SIG_IGN);
	signal(SIGUSR2, SIG_IGN);
	watch_faults();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	be_modest();
	for (;;) {
		int ready = poll(&in, 1, IDLE_MS);

		if (ready < 0 && errno == EINTR)
			continue;
		if (ready <= 0 || !read_on())
			return 0;
		take_input();
	}
}
