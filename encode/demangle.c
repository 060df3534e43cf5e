/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libiberty parses; we change the tree before it prints. Its options can leave out the parameters of
 * the outermost function but never template arguments, and those cannot be found in the printed text
 * for sure (operator<, operator->, comparisons inside arguments). So each template argument list is
 * put between two marks that no name contains, and what lies between them is dropped on the way out.
 *
 * libiberty's own malloc and sprintf are bound to ours when it is linked: encode/libiberty.syms.
 */
#include "encode/demangle.h"

#include <libiberty/demangle.h>
#include <string.h>

#include "agent/base/attr.h"
#include "agent/base/mem.h"
#include "encode/grow.h"

/* Longer names are shown as they are: libiberty's memory and recursion grow with the length. */
enum { MANGLED_MAX = 16 << 10, MARK_BEGIN = 1, MARK_END = 2 };

struct printing {
	struct demangle_text *out;
	size_t depth; /* of template argument lists being dropped */
	bool after_end;
};

static bool append(struct demangle_text *out, const char *text, size_t len)
{
	if (out->no_memory || !grow_room(&out->text, &out->room, out->len + len + 1, 1)) {
		out->no_memory = true;
		return false;
	}
	if (len) /* libiberty passes NULL for an empty piece */
		memcpy(out->text + out->len, text, len);
	out->len += len;
	out->text[out->len] = '\0';
	return true;
}

static void append_plain(const char *text, size_t len, void *arg)
{
	append(arg, text, len);
}

static void append_unmarked(const char *text, size_t len, void *arg)
{
	struct printing *p = arg;
	size_t begin = 0;

	for (size_t i = 0; i < len; i++) {
		bool drop = p->depth || p->after_end;

		if (text[i] == MARK_BEGIN) {
			p->depth++;
			drop = true;
		} else if (text[i] == MARK_END && p->depth) {
			p->depth--;
			p->after_end = true; /* the '>' that follows */
		} else {
			p->after_end = false;
		}
		if (drop) {
			append(p->out, text + begin, i - begin);
			begin = i + 1;
		}
	}
	append(p->out, text + begin, len - begin);
}

static size_t count_templates(const struct demangle_component *nodes, size_t n)
{
	size_t count = 0;

	for (size_t i = 0; i < n; i++)
		count += nodes[i].type == DEMANGLE_COMPONENT_TEMPLATE;
	return count;
}

static struct demangle_component *mark(struct demangle_component *node, const char *text)
{
	node->type = DEMANGLE_COMPONENT_NAME;
	node->u.s_name.s = text;
	node->u.s_name.len = 1;
	return node;
}

/* name<args> becomes name MARK_BEGIN <args, MARK_END>; extra has room for 4 nodes. */
static void mark_template(struct demangle_component *node, struct demangle_component *extra)
{
	static const char begin[] = { MARK_BEGIN, 0 }, end[] = { MARK_END, 0 };
	struct demangle_component *last = node->u.s_binary.right;

	if (!last || last->type != DEMANGLE_COMPONENT_TEMPLATE_ARGLIST)
		return;
	extra[0].type = DEMANGLE_COMPONENT_COMPOUND_NAME;
	extra[0].u.s_binary.left = node->u.s_binary.left;
	extra[0].u.s_binary.right = mark(&extra[1], begin);
	node->u.s_binary.left = &extra[0];
	while (last->u.s_binary.right)
		last = last->u.s_binary.right;
	extra[2].type = DEMANGLE_COMPONENT_TEMPLATE_ARGLIST;
	extra[2].u.s_binary.left = mark(&extra[3], end);
	last->u.s_binary.right = &extra[2];
}

/* Standard abbreviations like Ss in a constructor's name spell their arguments out. */
static void cut_abbreviation(struct demangle_component *node)
{
	const char *bracket = node->u.s_string.len > 0 ? memchr(node->u.s_string.string, '<',
								(size_t)node->u.s_string.len) :
								 NULL;

	if (bracket)
		node->u.s_string.len = (int)(bracket - node->u.s_string.string);
}

/* The class that a constructor belongs to, from the name that qualifies it; NULL: not clear. */
static struct demangle_component *class_of(struct demangle_component *scope)
{
	for (;;) {
		switch (scope->type) {
		case DEMANGLE_COMPONENT_QUAL_NAME:
		case DEMANGLE_COMPONENT_LOCAL_NAME:
			scope = scope->u.s_binary.right;
			break;
		case DEMANGLE_COMPONENT_TEMPLATE:
			scope = scope->u.s_binary.left;
			break;
		case DEMANGLE_COMPONENT_NAME:
		case DEMANGLE_COMPONENT_UNNAMED_TYPE:
			return scope;
		default:
			return NULL;
		}
		if (!scope)
			return NULL;
	}
}

/* libiberty names a constructor after the last name that it parsed, which for an inherited one is
 * the base class, and for one of an unnamed type whatever comes before. */
static void name_constructor(struct demangle_component *node)
{
	struct demangle_component *scope = node->u.s_binary.left, *what = node->u.s_binary.right;
	struct demangle_component *name = scope && what ? class_of(scope) : NULL;

	if (name && what->type == DEMANGLE_COMPONENT_CTOR)
		what->u.s_ctor.name = name;
	else if (name && what->type == DEMANGLE_COMPONENT_DTOR)
		what->u.s_dtor.name = name;
}

/* libiberty's block of nodes: two for each character of the name, the unused ones zero (a NAME). */
static bool print_tree(struct demangle_text *out, struct demangle_component *tree, int options,
		       struct demangle_component *nodes, size_t n)
{
	struct printing printing = { .out = out };
	size_t templates = count_templates(nodes, n), used = 0;
	struct demangle_component *extra = mem_zalloc((templates + 1) * 4 * sizeof(*extra));
	bool ok;

	if (!extra) {
		out->no_memory = true;
		return false;
	}
	for (size_t i = 0; i < n; i++)
		if (nodes[i].type == DEMANGLE_COMPONENT_QUAL_NAME)
			name_constructor(&nodes[i]); /* before templates are rewritten */
	for (size_t i = 0; i < n; i++) {
		if (nodes[i].type == DEMANGLE_COMPONENT_TEMPLATE)
			mark_template(&nodes[i], &extra[4 * used++]);
		else if (nodes[i].type == DEMANGLE_COMPONENT_SUB_STD)
			cut_abbreviation(&nodes[i]);
	}
	ok = cplus_demangle_print_callback(options, tree, append_unmarked, &printing);
	mem_free(extra);
	return ok && !out->no_memory;
}

static bool demangle_cplus(struct demangle_text *out, const char *mangled, int options)
{
	void *nodes = NULL;
	size_t begin = out->len;
	struct demangle_component *tree = cplus_demangle_v3_components(mangled, options, &nodes);
	bool ok = tree && print_tree(out, tree, options, nodes, 2 * strlen(mangled));

	mem_free(nodes);
	if (!ok)
		out->len = begin;
	return ok;
}

static const char *after_digits(const char *at)
{
	while (*at >= '0' && *at <= '9')
		at++;
	return at;
}

/* Skips the name behind its length; NULL if it is cut. */
static const char *after_source_name(const char *at)
{
	size_t len = 0;

	for (; *at >= '0' && *at <= '9' && len < MANGLED_MAX; at++)
		len = len * 10 + (size_t)(*at - '0');
	return strnlen(at, len) == len ? at + len : NULL;
}

/* The end of a closure type "Ul" PARAMETER-TYPES "E" [NUMBER] "_" that begins at `at`, NULL: none. Types
 * are only followed as far as needed to find the "E" that is not one of theirs. */
static const char *after_lambda(const char *at)
{
	int depth = 1;

	for (at += 2; *at && depth > 0;) {
		char c = *at++;

		if (c >= '0' && c <= '9') {
			at = after_source_name(at - 1);
			if (!at)
				return NULL;
		} else if (c == 'E') {
			depth--;
		} else if (c == 'L' && *at >= 'a' && *at <= 'z') {
			at = strchr(at, 'E'); /* number of a builtin type */
			if (!at)
				return NULL;
			at++;
		} else if (strchr("NIFXJLZ", c) || (c == 'D' && (*at == 't' || *at == 'T'))) {
			depth++;
			at += c == 'D';
		} else if (c == 'S' || c == 'T' || c == 'A') {
			/* Sa, St... | S_, S1_, T_, T1_, A3_ */
			if (c == 'S' && *at >= 'a' && *at <= 'z')
				at++;
			else
				for (; *at && *at != '_' && *at != 'E'; at++)
					;
		} else if (c == 'D' && *at) {
			at++;
		}
	}
	at = after_digits(at);
	return depth == 0 && *at == '_' ? at + 1 : NULL;
}

/*
 * GCC writes the type of a closure outside of any function as a bare "Ul..E_", which libiberty only
 * understands as the last part of a nested name. Rewrites those that `which` selects (bit n: the n-th
 * in the name) to "NUl..E_E"; returns how many there are.
 */
static unsigned nest_lambdas(char *out, const char *mangled, unsigned which)
{
	const char *close[32];
	unsigned n = 0, open = 0;

	for (const char *at = mangled; *at;) {
		const char *end = n < 32 && at[0] == 'U' && at[1] == 'l' ? after_lambda(at) : NULL;

		while (open && close[open - 1] == at) {
			*out++ = 'E';
			open--;
		}
		if (end && which >> n++ & 1) {
			*out++ = 'N';
			close[open++] = end;
		}
		*out++ = *at++;
	}
	while (open--)
		*out++ = 'E';
	*out = '\0';
	return n;
}

/* Which of the closures are bare cannot be told without parsing, so a few choices are tried. */
static bool demangle_bare_lambdas(struct demangle_text *out, const char *mangled)
{
	enum { LAMBDAS_MAX = 5 };
	char *copy = mem_alloc(strlen(mangled) * 2 + 64);
	unsigned n;
	bool ok = false;

	if (!copy) {
		out->no_memory = true;
		return false;
	}
	n = nest_lambdas(copy, mangled, 0);
	if (n > LAMBDAS_MAX)
		n = LAMBDAS_MAX;
	for (unsigned which = (1u << n) - 1; !ok && which > 0 && !out->no_memory; which--) {
		nest_lambdas(copy, mangled, which);
		ok = demangle_cplus(out, copy, DMGL_NO_OPTS);
	}
	mem_free(copy);
	return ok;
}

static bool has_prefix(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* _GLOBAL_ [._$] [ID] _ key: what runs the constructors of a file, old form. */
static bool demangle_global(struct demangle_text *out, const char *linkage)
{
	const char *key = linkage + 8;

	if (!has_prefix(linkage, "_GLOBAL_") || !key[0] || !strchr("._$", key[0]) || !key[1] ||
	    !strchr("ID", key[1]) || key[2] != '_' || !key[3])
		return false;
	append(out, "global ", 7);
	if (key[1] == 'I')
		append(out, "constructors", 12);
	else
		append(out, "destructors", 11);
	append(out, " keyed to ", 10);
	key += 3;
	if (!has_prefix(key, "_Z") || !demangle_cplus(out, key, DMGL_PARAMS | DMGL_ANSI))
		append(out, key, strlen(key));
	return true;
}

/* Rust's old mangling looks like C++; a hash of 16 hex digits as the last part tells it. */
static bool looks_like_old_rust(const char *mangled, size_t len)
{
	return has_prefix(mangled, "_ZN") && len > 23 && mangled[len - 1] == 'E' &&
	       memcmp(mangled + len - 20, "17h", 3) == 0;
}

/* Demangles a copy that the caller may cut. */
static bool demangle_copy(struct demangle_text *out, char *copy, size_t len)
{
	char *dot = strchr(copy, '.');

	if (has_prefix(copy, "_R")) {
		if (dot)
			*dot = '\0';
		return rust_demangle_callback(copy, DMGL_NO_OPTS, append_plain, out);
	}
	if (dot && dot > copy && dot[-1] == 'E' && looks_like_old_rust(copy, (size_t)(dot - copy))) {
		*dot = '\0';
		len = (size_t)(dot - copy);
	}
	if (looks_like_old_rust(copy, len) &&
	    rust_demangle_callback(copy, DMGL_NO_OPTS, append_plain, out))
		return true;
	out->len = 0;
	return demangle_cplus(out, copy, DMGL_NO_OPTS) ||
	       (!out->no_memory && strstr(copy, "Ul") && demangle_bare_lambdas(out, copy));
}

static bool demangle_mangled(struct demangle_text *out, const char *linkage)
{
	size_t len = strlen(linkage);
	char *copy;
	bool ok;

	if (len > MANGLED_MAX)
		return false;
	if (linkage[0] != '_' || (linkage[1] != 'Z' && linkage[1] != 'R'))
		return demangle_global(out, linkage);
	copy = mem_alloc(len + 1);
	if (!copy) {
		out->no_memory = true;
		return false;
	}
	memcpy(copy, linkage, len + 1);
	ok = demangle_copy(out, copy, len) && out->len > 0;
	mem_free(copy);
	return ok;
}

/* Length of `text` without one trailing ".word" or ".word.123" that a compiler adds to a part, copy or
 * local twin of a function; `len` if it has none. */
static size_t without_mark(const char *text, size_t len)
{
	static const char *const words[] = { "part",	   "cold",  "constprop", "isra",	"lto_priv",
					     "localalias", "llvm",  "local",	 "clone",	"warm",
					     "actor",	   "resume", "destroy",	 "cleanup" };
	size_t end = len, dot;

	while (end > 0 && text[end - 1] >= '0' && text[end - 1] <= '9')
		end--;
	if (end == len || end == 0 || text[end - 1] != '.')
		end = len;
	else
		end--;
	for (dot = end; dot > 0 && text[dot - 1] != '.'; dot--)
		;
	if (dot < 2)
		return len;
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (strlen(words[i]) == end - dot && memcmp(text + dot, words[i], end - dot) == 0)
			return dot - 1;
	return len;
}

static size_t without_marks(const char *text, size_t len)
{
	size_t shorter;

	while ((shorter = without_mark(text, len)) < len)
		len = shorter;
	return len;
}

bool demangle(struct demangle_text *out, const char *linkage)
{
	static const char plt[] = "@plt";
	size_t len = strlen(linkage);

	out->len = 0;
	out->no_memory = false;
	if (len > sizeof(plt) && strcmp(linkage + len - (sizeof(plt) - 1), plt) == 0) {
		char *bare = mem_alloc(len);
		bool ok = bare != NULL;

		if (ok) {
			memcpy(bare, linkage, len - (sizeof(plt) - 1));
			bare[len - (sizeof(plt) - 1)] = '\0';
			ok = demangle(out, bare) && append(out, plt, sizeof(plt) - 1);
		}
		mem_free(bare);
		return ok;
	}
	if (demangle_mangled(out, linkage))
		return true;
	if (out->no_memory)
		return false;
	out->len = 0;
	return append(out, linkage, without_marks(linkage, len));
}

void demangle_free(struct demangle_text *out)
{
	mem_free(out->text);
	*out = (struct demangle_text){ 0 };
}
