/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/base/attr.h"
#include "agent/base/log.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "agent/base/fmt.h"
#include "agent/base/sink.h"
#include "agent/base/spin.h"
#include "agent/base/stats.h"
#include "agent/base/sys.h"

enum { LINES = 64, LINE = 240 };

static struct {
	struct spin lock;
	enum log_level level;
	bool say;	      /* descriptor 2 is ours to write to */
	unsigned waiting;     /* lock: lines for descriptor 2 from before it was */
	uint64_t next;	      /* lock: lines ever written */
} self = { .level = LOG_WARN };

/* self.lock: the ring; apart, so that a process without a line to log has no page for it */
static struct {
	uint8_t level;
	char text[LINE];
} ring[LINES] BIG;

static const char *const level_names[] = { "error", "warning", "info", "debug" };

void log_set_level(enum log_level level)
{
	self.level = level;
}

void log_close_stderr(void)
{
	self.say = false;
}

unsigned log_waiting(void)
{
	return self.waiting;
}

void log_open_stderr(bool say)
{
	for (uint64_t i = 0; say && i < self.next && i < LINES; i++) {
		char line[LINE + 1];
		size_t n = fmt_buf(line, sizeof(line), "%s\n", ring[i].text);

		if (ring[i].level <= self.level)
			sys_write_all(2, line, n);
	}
	self.say = say;
}

void log_child(void)
{
	spin_reset(&self.lock);
	self.say = false;
}

void log_line(enum log_level level, const char *format, ...)
{
	char line[LINE];
	size_t head, n;
	va_list args;

	if (level > LOG_INFO && level > self.level)
		return;
	head = fmt_buf(line, sizeof(line), "pprofagent[%d]: %s: ", sys_getpid(),
		       level_names[level]);
	va_start(args, format);
	n = head + fmt_vbuf(line + head, sizeof(line) - head - 1, format, args);
	va_end(args);
	if (n > sizeof(line) - 2)
		n = sizeof(line) - 2;
	if (self.say && level <= self.level) {
		line[n] = '\n';
		sys_write_all(2, line, n + 1);
	}
	line[n] = '\0';
	spin_lock(&self.lock);
	self.waiting += level <= self.level;
	if (self.next >= LINES)
		stat_add(STAT_LOG_LOST, 1);
	ring[self.next % LINES].level = (uint8_t)level;
	memcpy(ring[self.next++ % LINES].text, line, n + 1);
	spin_unlock(&self.lock);
}

int log_dump(struct sink *sink)
{
	char line[LINE];
	uint64_t end, i;
	int err = 0;

	spin_lock(&self.lock);
	end = self.next;
	spin_unlock(&self.lock);
	for (i = end > LINES ? end - LINES : 0; i < end && !err; i++) {
		spin_lock(&self.lock);
		memcpy(line, ring[i % LINES].text, LINE);
		spin_unlock(&self.lock);
		err = fmt_sink(sink, "%s\n", line);
	}
	return err;
}
