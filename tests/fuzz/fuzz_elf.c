/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as an ELF file, through everything that reads one: elf, symtab. */
#include "agent/base/budget.h"
#include "agent/base/mem.h"
#include "encode/elf.h"
#include "encode/symtab.h"
#include "tests/fuzz/fuzz.h"

static void look(const struct elf *elf, const struct symtab *table, uint64_t at)
{
	const struct symtab_entry *first;
	uint64_t start, end;
	char buf[300];
	bool sure;
	size_t n = symtab_find(table, at, &first, &sure);

	for (size_t i = 0; i < n && i < 8; i++)
		elf_string(elf, first[i].source ? &elf->dynsym : &elf->symtab, first[i].name, buf,
			   sizeof(buf));
	if (elf_fde(elf, at, &start, &end) && (at < start || at >= end))
		abort();
	elf_plt_name(elf, at, buf, sizeof(buf), &start);
	elf_offset_to_vaddr(elf, at, &start);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct symtab table = { 0 };
	struct elf elf;
	char buf[300];
	uint32_t crc;
	int fd;

	budget_set(64 << 20);
	fd = file_of(data, size);
	if (elf_open_file(&elf, fd) != 0)
		return 0;
	table.base = elf.n_loads ? elf.loads[0].vaddr : 0;
	symtab_add(&table, &elf, &elf.symtab, 0);
	symtab_add(&table, &elf, &elf.dynsym, 1);
	symtab_finish(&table);
	elf_debuglink(&elf, buf, sizeof(buf), &crc);
	for (size_t i = 0; i < table.n && i < 200; i++)
		look(&elf, &table, table.base + table.list[i].start);
	for (uint64_t at = 0; at < 0x4000; at += 509)
		look(&elf, &table, table.base + at);
	for (size_t i = 0; i < elf.n_plts && i < 4; i++)
		look(&elf, &table, elf.plts[i].vaddr + elf.plts[i].size / 2);
	symtab_free(&table);
	elf_close(&elf);
	if (mem_used())
		abort();
	return 0;
}
