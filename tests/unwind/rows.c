/* SPDX-License-Identifier: Apache-2.0 */
/* Decodes only what it needs, trusts the file. */
#include "tests/unwind/rows.h"

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/collect/ehframe.h"

struct rows_file rows_file;
struct rows_count rows_count;
static const Elf64_Shdr *eh_frame;
static void (*row_found)(uintptr_t pc);

static uint64_t uleb(const uint8_t **at)
{
	uint64_t value = 0;

	for (unsigned shift = 0;; shift += 7) {
		value |= (uint64_t)(**at & 0x7f) << shift;
		if (!(*(*at)++ & 0x80))
			return value;
	}
}

static void rows_of(const uint8_t *at, const uint8_t *end, uintptr_t pc,
		    uintptr_t pc_end, uint64_t align)
{
	uint64_t size;

	row_found(pc);
	while (at < end) {
		uint8_t op = *at++;
		uint64_t step = 0;

		if (op >> 6 == 1) {
			step = op & 63;
		} else if (op >> 6 == 2) {
			uleb(&at);
		} else if (op >> 6 == 0) {
			switch (op) {
			case 0x02:
				step = *at++;
				break;
			case 0x03:
				step = *(const uint16_t *)at;
				at += 2;
				break;
			case 0x04:
				step = *(const uint32_t *)at;
				at += 4;
				break;
			case 0x05:
			case 0x09:
			case 0x0c:
			case 0x11:
			case 0x12:
			case 0x14:
			case 0x15:
			case 0x2f:
				uleb(&at);
				uleb(&at);
				break;
			case 0x06:
			case 0x07:
			case 0x08:
			case 0x0d:
			case 0x0e:
			case 0x13:
			case 0x2e:
				uleb(&at);
				break;
			case 0x0f:
				size = uleb(&at);
				at += size;
				break;
			case 0x10:
			case 0x16:
				uleb(&at);
				size = uleb(&at);
				at += size;
				break;
			case 0x00:
			case 0x0a:
			case 0x0b:
				break;
			default:
				printf("%s: unknown instruction %#x\n", rows_file.path, op);
				exit(2);
			}
		}
		if (step) {
			pc += step * align;
			if (pc < pc_end)
				row_found(pc);
		}
	}
}

static int64_t pointer(const uint8_t **at, uint8_t encoding)
{
	uintptr_t here = (uintptr_t)*at;
	int64_t value;

	switch (encoding & 15) {
	case 0x0b:
		value = *(const int32_t *)*at, *at += 4;
		break;
	case 0x03:
		value = *(const uint32_t *)*at, *at += 4;
		break;
	default:
		value = *(const int64_t *)*at, *at += 8;
	}
	return value + ((encoding & 0x70) == 0x10 ? (int64_t)here : 0);
}

static void one_fde(const uint8_t *at, const uint8_t *end, const uint8_t *cie)
{
	const char *text = (const char *)cie + 9;
	const uint8_t *c = cie + 9 + strlen(text) + 1;
	uint64_t align = uleb(&c);
	uint8_t encoding = 0;
	uintptr_t pc, pc_end;
	struct eh_object object = {rows_file.start, rows_file.end, (const uint8_t *)rows_file.hdr};
	struct eh_fde fde;

	uleb(&c); /* data alignment: the size is the same for signed numbers */
	c++;
	if (*text == 'z') {
		uleb(&c);
		for (text++; *text; text++) {
			if (*text == 'R')
				encoding = *c++;
			else if (*text == 'P')
				pointer(&c, *c & 15 ? (c++, c[-1] & 15) : (c++, 0));
			else if (*text == 'L')
				c++;
		}
	}
	pc = (uintptr_t)pointer(&at, encoding);
	pc_end = pc + (uintptr_t)pointer(&at, encoding & 15 & 7);
	if (cie[9] == 'z') {
		uint64_t size = uleb(&at);

		at += size;
	}
	if (pc == pc_end || pc < rows_file.start || pc_end > rows_file.end) {
		rows_count.empty++;
		return;
	}
	if (eh_find(&object, pc, &fde) != EH_OK || fde.start != pc) {
		rows_count.no_table++; /* a second description of the same code: the table has the other
				   */
		return;
	}
	rows_count.fdes++;
	rows_of(at, end, pc, pc_end, align);
}

void rows_each(void (*row)(uintptr_t pc))
{
	const uint8_t *at = (const uint8_t *)rows_file.start + eh_frame->sh_addr;
	const uint8_t *limit = at + eh_frame->sh_size;

	row_found = row;
	while (at + 8 <= limit) {
		uint32_t size = *(const uint32_t *)at, link = *(const uint32_t *)(at + 4);

		if (size == 0)
			break; /* a terminator; crtend's is the last */
		if (link)
			one_fde(at + 8, at + 4 + size, at + 4 - link);
		at += 4 + size;
	}
}

bool rows_open(const char *path)
{
	int fd = open(path, O_RDONLY);
	struct stat st;
	char *all;
	const Elf64_Ehdr *e;
	const Elf64_Phdr *p;
	const Elf64_Shdr *s;
	uintptr_t span = 0;

	memset(&rows_file, 0, sizeof(rows_file));
	eh_frame = NULL;
	rows_file.path = path;
	if (fd < 0 || fstat(fd, &st) != 0)
		return false;
	all = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	e = (const Elf64_Ehdr *)all;
	if (all == MAP_FAILED || memcmp(all, ELFMAG, 4) != 0 || e->e_machine != EM_X86_64)
		return false;
	p = (const Elf64_Phdr *)(all + e->e_phoff);
	for (int i = 0; i < e->e_phnum; i++)
		if (p[i].p_type == PT_LOAD && p[i].p_vaddr + p[i].p_memsz > span)
			span = p[i].p_vaddr + p[i].p_memsz;
	rows_file.start = (uintptr_t)mmap(NULL, span + 8192, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	rows_file.end = rows_file.start + span;
	for (int i = 0; i < e->e_phnum; i++) {
		uintptr_t in_page = p[i].p_vaddr & 4095;

		if (p[i].p_type == PT_GNU_EH_FRAME)
			rows_file.hdr = rows_file.start + p[i].p_vaddr;
		if (p[i].p_type == PT_LOAD)
			mmap((void *)(rows_file.start + p[i].p_vaddr - in_page), p[i].p_filesz + in_page,
			     PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd,
			     (off_t)(p[i].p_offset - in_page));
	}
	s = (const Elf64_Shdr *)(all + e->e_shoff);
	for (int i = 0; i < e->e_shnum; i++)
		if (!strcmp(all + s[e->e_shstrndx].sh_offset + s[i].sh_name, ".eh_frame"))
			eh_frame = &s[i];
	close(fd);
	if (!rows_file.hdr || !eh_frame)
		return false;
	rows_file.fdes = *(const uint32_t *)(rows_file.hdr + 8);
	return true;
}

void rows_close(void)
{
	munmap((void *)rows_file.start, rows_file.end - rows_file.start);
}
