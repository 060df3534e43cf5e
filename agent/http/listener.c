/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/http/listener.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>

#include "agent/base/fmt.h"
#include "agent/base/sys.h"
#include "agent/http/ip.h"

enum { BACKLOG = 128, FREE_PORT_TRIES = 16 };

union sock_addr {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct sockaddr_un un;
};

/* The identity of an open file. */
static bool identify(int fd, uint64_t *out_dev, uint64_t *out_ino)
{
	struct stat st;

	if (sys_fstat(fd, &st) != 0)
		return false;
	*out_dev = st.st_dev;
	*out_ino = st.st_ino;
	return true;
}

bool listener_intact(const struct listener *l)
{
	struct stat now;
	long err = sys_fstat(l->fd, &now);

	/* a kernel that does not say what it is (a filter) does not say that it is another */
	if (err)
		return err != -EBADF;
	return now.st_dev == l->dev && now.st_ino == l->ino;
}

static int open_socket(int family)
{
	return (int)sys_socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/* Adds the bound socket; closes it on failure. */
static int add(struct listeners *out, int fd, struct listener *l)
{
	int err = (int)sys_listen(fd, BACKLOG);

	if (err == 0 && !identify(fd, &l->dev, &l->ino))
		err = -EBADF;
	if (err) {
		sys_close(fd);
		return err;
	}
	l->fd = fd;
	out->all[out->n++] = *l;
	return 0;
}

static uint16_t bound_port(int fd)
{
	union sock_addr addr;
	socklen_t size = sizeof(addr);

	if (sys_getsockname(fd, &addr, &size) != 0)
		return 0;
	return ntohs(addr.any.sa_family == AF_INET6 ? addr.v6.sin6_port : addr.v4.sin_port);
}

/* A socket that is bound to it, or -errno. */
static int bind_tcp(const union sock_addr *addr, bool only_v6)
{
	bool v6 = addr->any.sa_family == AF_INET6;
	int fd = open_socket(addr->any.sa_family), on = 1, off = 0, err;

	if (fd < 0)
		return fd;
	sys_setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (v6)
		sys_setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, only_v6 ? &on : &off, sizeof(on));
	err = (int)sys_bind(fd, addr, v6 ? sizeof(addr->v6) : sizeof(addr->v4));
	if (!err)
		return fd;
	sys_close(fd);
	return err;
}

static int open_tcp(struct listeners *out, const union sock_addr *addr, bool loopback, bool only_v6)
{
	struct listener l = {.tcp = true, .loopback = loopback};
	int fd = bind_tcp(addr, only_v6);
	char ip[IP_TEXT_MAX];

	if (fd < 0)
		return fd;
	if (addr->any.sa_family == AF_INET6) {
		ip_print_v6(addr->v6.sin6_addr.s6_addr, ip);
		fmt_buf(l.host, sizeof(l.host), "[%s]", ip);
	} else {
		ip_print_v4((const uint8_t *)&addr->v4.sin_addr, ip);
		fmt_buf(l.host, sizeof(l.host), "%s", ip);
	}
	l.port = bound_port(fd);
	return add(out, fd, &l);
}

static union sock_addr address_v4(const uint8_t ip[4], uint16_t port)
{
	union sock_addr addr = {.v4 = {.sin_family = AF_INET, .sin_port = htons(port)}};

	memcpy(&addr.v4.sin_addr, ip, 4);
	return addr;
}

static union sock_addr address_v6(const uint8_t ip[16], uint16_t port)
{
	union sock_addr addr = {.v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)}};

	memcpy(&addr.v6.sin6_addr, ip, 16);
	return addr;
}

static int open_v4(struct listeners *out, const uint8_t ip[4], uint16_t port)
{
	union sock_addr addr = address_v4(ip, port);

	return open_tcp(out, &addr, ip[0] == 127, false);
}

static int open_v6(struct listeners *out, const uint8_t ip[16], uint16_t port, bool only_v6)
{
	static const uint8_t loopback[16] = {[15] = 1};
	union sock_addr addr = address_v6(ip, port);

	return open_tcp(out, &addr, memcmp(ip, loopback, 16) == 0, only_v6);
}

static void close_all(struct listeners *l)
{
	while (l->n > 0)
		if (l->all[--l->n].fd >= 0)
			sys_close(l->all[l->n].fd);
}

/* This machine or container has no such protocol, or no such address on any interface. */
static bool not_here(int err)
{
	return err == -EAFNOSUPPORT || err == -EADDRNOTAVAIL || err == -EPROTONOSUPPORT;
}

/* The same port on both, or only on the one that exists. A port that is taken on either is taken:
 * "localhost" may mean both. */
static int open_loopback(struct listeners *out, uint16_t port)
{
	static const uint8_t v4[4] = {127, 0, 0, 1}, v6[16] = {[15] = 1};
	int err = 0;

	for (int i = 0; i < (port ? 1 : FREE_PORT_TRIES); i++) {
		err = open_v4(out, v4, port);
		if (err && !not_here(err))
			return err;
		err = open_v6(out, v6, out->n ? out->all[0].port : port, true);
		if (!err || (not_here(err) && out->n > 0))
			return 0;
		close_all(out);
		if (err != -EADDRINUSE)
			break;
	}
	return err;
}

static int open_port(struct listeners *out, const struct address *address, uint16_t port)
{
	static const uint8_t any[16];
	int err;

	switch (address->kind) {
	case ADDRESS_LOOPBACK:
		return open_loopback(out, port);
	case ADDRESS_ALL:
		err = open_v6(out, any, port, false);
		return not_here(err) ? open_v4(out, any, port) : err;
	case ADDRESS_IPV4:
		return open_v4(out, address->ip, port);
	case ADDRESS_IPV6:
		return open_v6(out, address->ip, port, true);
	default:
		return -EINVAL;
	}
}

bool listener_taken(const struct address *address)
{
	static const uint8_t loopback[4] = {127, 0, 0, 1}, any[16];
	uint16_t port = address->first_port;
	union sock_addr addr;
	int fd;

	if (!port || port != address->last_port)
		return false;
	switch (address->kind) {
	case ADDRESS_LOOPBACK:
		addr = address_v4(loopback, port);
		break;
	case ADDRESS_IPV4:
		addr = address_v4(address->ip, port);
		break;
	case ADDRESS_ALL:
		addr = address_v6(any, port);
		break;
	case ADDRESS_IPV6:
		addr = address_v6(address->ip, port);
		break;
	default:
		return false;
	}
	fd = bind_tcp(&addr, address->kind == ADDRESS_IPV6);
	if (fd >= 0)
		sys_close(fd);
	return fd == -EADDRINUSE;
}

/* A socket file of ours at which nobody listens any more. */
static bool stale(const struct sockaddr_un *addr, socklen_t size)
{
	struct stat st;
	long err;
	int fd;

	if (sys_lstat(addr->sun_path, &st) != 0 || !S_ISSOCK(st.st_mode) ||
	    st.st_uid != sys_geteuid())
		return false;
	fd = open_socket(AF_UNIX);
	if (fd < 0)
		return false;
	err = sys_connect(fd, addr, size);
	sys_close(fd);
	return err == -ECONNREFUSED;
}

static int open_unix(struct listeners *out, const struct address *address)
{
	struct listener l = {0};
	union sock_addr addr = {.un = {.sun_family = AF_UNIX}};
	bool abstract = address->kind == ADDRESS_ABSTRACT;
	size_t n = strlen(address->name);
	/* An abstract name begins with NUL and has no other end than the size. */
	socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
	int fd = open_socket(AF_UNIX), err;
	struct stat st;

	if (fd < 0)
		return fd;
	memcpy(addr.un.sun_path + abstract, address->name, n);
	sys_fchmod(fd, 0600); /* the mode that bind gives the file: no moment with a wider one */
	err = (int)sys_bind(fd, &addr, size);
	if (err == -EADDRINUSE && !abstract && stale(&addr.un, size)) {
		sys_unlink(address->name);
		err = (int)sys_bind(fd, &addr, size);
	}
	if (err) {
		sys_close(fd);
		return err;
	}
	fmt_buf(out->path, sizeof(out->path), "%s%s", abstract ? "@" : "", address->name);
	if (!abstract && sys_lstat(address->name, &st) == 0) {
		out->path_dev = st.st_dev;
		out->path_ino = st.st_ino;
	}
	return add(out, fd, &l);
}

static const char *reason(int err)
{
	switch (err) {
	case -EADDRINUSE:
		return "it is in use";
	case -EADDRNOTAVAIL:
		return "this machine has no such address";
	case -EACCES:
	case -EPERM:
		return "not permitted (ports below 1024 are root's; the directory of a unix socket "
		       "must be writable)";
	case -ENOENT:
	case -ENOTDIR:
		return "the directory of the unix socket does not exist";
	case -EMFILE:
	case -ENFILE:
		return "no file descriptor is free";
	case -EAFNOSUPPORT:
		return "this kernel has no such kind of address";
	default:
		return "the kernel refuses";
	}
}

int listeners_open(struct listeners *out, const struct address *address, char *error,
		   size_t error_size)
{
	int err = -EINVAL;

	memset(out, 0, sizeof(*out));
	if (address->kind == ADDRESS_UNIX || address->kind == ADDRESS_ABSTRACT) {
		err = open_unix(out, address);
	} else {
		for (unsigned port = address->first_port; port <= address->last_port; port++) {
			err = open_port(out, address, (uint16_t)port);
			if (err != -EADDRINUSE)
				break;
		}
	}
	if (err)
		fmt_buf(error, error_size, "cannot listen at PPROF_ADDR: %s (error %d)",
			reason(err), -err);
	return err;
}

void listeners_close(struct listeners *l)
{
	struct stat st;

	close_all(l);
	if (l->path_ino && sys_lstat(l->path, &st) == 0 && st.st_dev == l->path_dev &&
	    st.st_ino == l->path_ino)
		sys_unlink(l->path);
	l->path_ino = 0;
}
