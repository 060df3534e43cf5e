/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/base/fmt.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "agent/base/sink.h"

struct out {
	char *buf;	   /* NULL when the text goes to a sink */
	size_t size;	   /* room in buf */
	size_t len;	   /* length of the whole text so far */
	struct sink *sink; /* NULL when the text goes to buf */
	int err;	   /* first error of the sink */
};

struct spec {
	int width;
	int precision; /* -1: not given */
	int longs;     /* 0: int, 1: long, 2: long long; size_t counts as long */
	bool zero;
	bool left;
};

static void put(struct out *out, const char *text, size_t n)
{
	if (out->sink) {
		if (!out->err && n)
			out->err = sink_write(out->sink, text, n);
	} else if (out->len < out->size) {
		size_t room = out->size - out->len;

		memcpy(out->buf + out->len, text, n < room ? n : room);
	}
	out->len += n;
}

static void pad(struct out *out, char c, int n)
{
	for (; n > 0; n--)
		put(out, &c, 1);
}

static void put_padded(struct out *out, const struct spec *spec, const char *text, size_t n)
{
	int missing = spec->width > (int)n ? spec->width - (int)n : 0;

	if (spec->zero && !spec->left && n && text[0] == '-') {
		put(out, text++, 1);
		n--;
	}
	if (!spec->left)
		pad(out, spec->zero ? '0' : ' ', missing);
	put(out, text, n);
	if (spec->left)
		pad(out, ' ', missing);
}

/* Digits of value in base 10 or 16, ending at end. Returns where they begin. */
static char *digits(char *end, uint64_t value, unsigned base)
{
	do {
		*--end = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	return end;
}

static void put_int(struct out *out, const struct spec *spec, uint64_t value, bool negative,
		    unsigned base)
{
	char buf[24];
	char *at = digits(buf + sizeof(buf), value, base);

	if (negative)
		*--at = '-';
	put_padded(out, spec, at, (size_t)(buf + sizeof(buf) - at));
}

static void put_double(struct out *out, const struct spec *spec, double value)
{
	int decimals = spec->precision < 0 ? 3 : spec->precision > 9 ? 9 : spec->precision;
	uint64_t scale = 1, whole, part;
	bool negative = value < 0;
	char buf[40];
	char *at = buf + sizeof(buf);

	if (value != value) {
		put_padded(out, spec, "NaN", 3);
		return;
	}
	if (negative)
		value = -value;
	for (int i = 0; i < decimals; i++)
		scale *= 10;
	if (value >= 0x1p63)
		value = 0x1p63;
	whole = (uint64_t)value;
	part = (uint64_t)((value - (double)whole) * (double)scale + 0.5);
	if (part >= scale) {
		whole++;
		part -= scale;
	}
	if (decimals) {
		char *first = digits(at, part, 10);

		while (at - first < decimals)
			*--first = '0';
		at = first;
		*--at = '.';
	}
	at = digits(at, whole, 10);
	if (negative)
		*--at = '-';
	put_padded(out, spec, at, (size_t)(buf + sizeof(buf) - at));
}

static const char *parse_spec(const char *f, struct spec *spec, va_list *args)
{
	*spec = (struct spec){ .precision = -1 };
	for (; *f == '0' || *f == '-'; f++) {
		spec->zero |= *f == '0';
		spec->left |= *f == '-';
	}
	if (*f == '*') {
		spec->width = va_arg(*args, int);
		f++;
	}
	for (; *f >= '0' && *f <= '9'; f++)
		spec->width = spec->width * 10 + (*f - '0');
	if (*f == '.') {
		f++;
		spec->precision = 0;
		if (*f == '*') {
			spec->precision = va_arg(*args, int);
			f++;
		}
		for (; *f >= '0' && *f <= '9'; f++)
			spec->precision = spec->precision * 10 + (*f - '0');
	}
	for (; *f == 'l' || *f == 'z'; f++)
		spec->longs++;
	return f;
}

static void put_signed(struct out *out, const struct spec *spec, int64_t v)
{
	put_int(out, spec, v < 0 ? 0 - (uint64_t)v : (uint64_t)v, v < 0, 10);
}

static void format_to(struct out *out, const char *f, va_list *args)
{
	struct spec spec;

	while (*f) {
		const char *plain = f;

		while (*f && *f != '%')
			f++;
		put(out, plain, (size_t)(f - plain));
		if (!*f)
			break;
		f = parse_spec(f + 1, &spec, args);
		switch (*f) {
		case 's': {
			const char *s = va_arg(*args, const char *);

			if (!s)
				s = "(null)";
			put_padded(out, &spec, s,
				   spec.precision < 0 ? strlen(s) : strnlen(s, (size_t)spec.precision));
			break;
		}
		case 'c': {
			char c = (char)va_arg(*args, int);

			put_padded(out, &spec, &c, 1);
			break;
		}
		case 'd':
			put_signed(out, &spec, spec.longs ? va_arg(*args, long) : va_arg(*args, int));
			break;
		case 'u':
		case 'x':
			put_int(out, &spec,
				spec.longs ? va_arg(*args, unsigned long) : va_arg(*args, unsigned),
				false, *f == 'x' ? 16 : 10);
			break;
		case 'p':
			put(out, "0x", 2);
			put_int(out, &spec, (uintptr_t)va_arg(*args, void *), false, 16);
			break;
		case 'f':
			put_double(out, &spec, va_arg(*args, double));
			break;
		case '\0':
			return;
		default:
			put(out, f, 1);
			break;
		}
		f++;
	}
}

size_t fmt_vbuf(char *buf, size_t size, const char *format, va_list args)
{
	struct out out = { .buf = buf, .size = size ? size - 1 : 0 };
	va_list copy;

	va_copy(copy, args);
	format_to(&out, format, &copy);
	va_end(copy);
	if (size)
		buf[out.len < size ? out.len : size - 1] = '\0';
	return out.len;
}

size_t fmt_buf(char *buf, size_t size, const char *format, ...)
{
	va_list args;
	size_t n;

	va_start(args, format);
	n = fmt_vbuf(buf, size, format, args);
	va_end(args);
	return n;
}

int fmt_sink(struct sink *sink, const char *format, ...)
{
	struct out out = { .sink = sink };
	va_list args;

	va_start(args, format);
	format_to(&out, format, &args);
	va_end(args);
	return out.err;
}
