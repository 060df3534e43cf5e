/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CFLAGS: -rdynamic -fno-builtin
 * Exports functions with the names of libc's, zlib's and of what people call their own, each of which ends
 * the program: none is for the agent to call.
 */
#include <sys/syscall.h>

void *malloc(unsigned long size);
void free(void *block);
#define NULL ((void *)0)

#define ENDS(name)         \
	void name(void);   \
	void name(void)    \
	{                  \
		__builtin_trap(); \
	}
ENDS(read) ENDS(open) ENDS(close) ENDS(openat) ENDS(socket) ENDS(bind) ENDS(listen) ENDS(accept)
ENDS(accept4) ENDS(send) ENDS(recv) ENDS(sendto) ENDS(recvfrom) ENDS(poll_all) ENDS(mmap) ENDS(munmap)
ENDS(getenv) ENDS(secure_getenv) ENDS(getpid) ENDS(gettid) ENDS(prctl) ENDS(fcntl) ENDS(ioctl)
ENDS(printf) ENDS(fprintf) ENDS(snprintf) ENDS(vsnprintf) ENDS(puts) ENDS(fopen) ENDS(fread) ENDS(fwrite)
ENDS(strtol) ENDS(strtoul) ENDS(atoi) ENDS(qsort) ENDS(log) ENDS(error) ENDS(warn) ENDS(init) ENDS(alloc)
ENDS(compress) ENDS(deflate) ENDS(deflateInit_) ENDS(inflate) ENDS(crc32) ENDS(adler32) ENDS(zcalloc)
ENDS(protobuf_c_message_pack) ENDS(protobuf_c_message_get_packed_size) ENDS(profile_init) ENDS(server_open)
ENDS(hash_insert) ENDS(buffer_append) ENDS(log_line) ENDS(stat_add) ENDS(mem_alloc) ENDS(arena_alloc)
ENDS(real) ENDS(self) ENDS(options) ENDS(cplus_demangle) ENDS(rust_demangle) ENDS(xmalloc) ENDS(time)
ENDS(clock_gettime) ENDS(gettimeofday) ENDS(timer_create) ENDS(timer_settime) ENDS(timer_delete)
ENDS(process_vm_readv) ENDS(sigprocmask) ENDS(dl_iterate) ENDS(unw_step) ENDS(unw_init_local)

static long call(long number, long a, long b, long c)
{
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return result;
}

int main(void)
{
	static const char ready[] = "ready\n";
	volatile unsigned long spun = 0;
	void *volatile block = NULL;

	call(SYS_write, 1, (long)ready, sizeof(ready) - 1);
	call(SYS_alarm, 120, 0, 0);
	for (;;) {
		for (int i = 0; i < 1000; i++)
			spun++;
		free(block);
		block = malloc(1000);
	}
}
