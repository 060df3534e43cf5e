/* SPDX-License-Identifier: Apache-2.0 */
/* Headers, notes and bytes; sections and symbols are in elf_tables.c, functions in elf_fde.c. */
#include "encode/elf.h"

#include <string.h>

#include "agent/base/attr.h"
#include "agent/base/mem.h"
#include "agent/base/sys.h"
#include "encode/elf_read.h"
#include "plt.h"

enum { PHDRS_MAX = 512, NOTES_MAX = 16 << 10 };

/* Where a sandbox forbids process_vm_readv, the same bytes are in /proc. */
static bool read_proc_mem(uint64_t address, void *buf, size_t size)
{
	long fd = sys_open("/proc/thread-self/mem", O_RDONLY | O_CLOEXEC);
	long n;

	if (fd < 0)
		return false;
	n = sys_pread((int)fd, buf, size, address);
	sys_close((int)fd);
	return n == (long)size;
}

bool elf_read_process(uint64_t address, void *buf, size_t size)
{
	struct iovec local = { buf, size };
	struct iovec remote = { (void *)(uintptr_t)address, size };
	long n = sys_process_vm_readv(sys_gettid(), &local, 1, &remote, 1);

	if (n == -EPERM || n == -ENOSYS)
		return read_proc_mem(address, buf, size);
	return n == (long)size;
}

bool elf_read_offset(const struct elf *elf, uint64_t offset, void *buf, size_t size)
{
	char *at = buf;

	if (offset > elf->size || size > elf->size - offset)
		return false;
	while (size > 0) {
		long n = sys_pread(elf->fd, at, size, offset);

		if (n == -EINTR)
			continue;
		if (n <= 0)
			return false;
		at += n;
		offset += (uint64_t)n;
		size -= (size_t)n;
	}
	return true;
}

static const struct elf_load *load_of(const struct elf *elf, uint64_t vaddr)
{
	for (size_t i = 0; i < elf->n_loads; i++)
		if (vaddr >= elf->loads[i].vaddr &&
		    vaddr - elf->loads[i].vaddr < elf->loads[i].memsz)
			return &elf->loads[i];
	return NULL;
}

bool elf_read(const struct elf *elf, uint64_t vaddr, void *buf, size_t size)
{
	const struct elf_load *load = load_of(elf, vaddr);
	uint64_t in;

	if (!load)
		return false;
	in = vaddr - load->vaddr;
	if (elf->mapped)
		return size <= load->memsz - in && elf_read_process(elf->bias + vaddr, buf, size);
	return in < load->filesz && size <= load->filesz - in &&
	       elf_read_offset(elf, load->offset + in, buf, size);
}

bool elf_read_raw(const struct elf *elf, uint64_t at, void *buf, size_t size)
{
	return elf->mapped ? elf_read(elf, at, buf, size) : elf_read_offset(elf, at, buf, size);
}

bool elf_offset_to_vaddr(const struct elf *elf, uint64_t offset, uint64_t *out_vaddr)
{
	/* The kernel maps whole pages: bytes before p_offset in its page are mapped, too. */
	for (int executable = 1; executable >= 0; executable--) {
		for (size_t i = 0; i < elf->n_loads; i++) {
			const struct elf_load *load = &elf->loads[i];
			uint64_t slack = load->offset & 4095;

			if (load->executable != executable || slack > load->vaddr ||
			    offset < load->offset - slack ||
			    offset - (load->offset - slack) >= slack + load->filesz)
				continue;
			*out_vaddr = load->vaddr - slack + (offset - (load->offset - slack));
			return true;
		}
	}
	return false;
}

/* Looks for NT_GNU_BUILD_ID in the notes of `size` bytes. */
void elf_take_notes(struct elf *elf, const uint8_t *notes, size_t size, size_t align)
{
	size_t at = 0;

	while (!elf->build_id_size && size - at >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr note;
		size_t name, desc;

		memcpy(&note, notes + at, sizeof(note));
		name = at + sizeof(note);
		if (note.n_namesz > size - name)
			return;
		desc = ALIGN_UP(name + note.n_namesz, align);
		if (desc > size || note.n_descsz > size - desc)
			return;
		if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
		    memcmp(notes + name, "GNU", 4) == 0 && note.n_descsz > 0 &&
		    note.n_descsz <= ELF_BUILD_ID_MAX) {
			memcpy(elf->build_id, notes + desc, note.n_descsz);
			elf->build_id_size = note.n_descsz;
		}
		at = ALIGN_UP(desc + note.n_descsz, align);
		if (at > size)
			return;
	}
}

static void read_notes(struct elf *elf, const Elf64_Phdr *phdr)
{
	size_t size = phdr->p_filesz < NOTES_MAX ? phdr->p_filesz : NOTES_MAX;
	uint8_t *notes;
	bool ok;

	if (elf->build_id_size || size == 0)
		return;
	notes = mem_alloc(size);
	if (!notes)
		return;
	ok = elf->mapped ? elf_read(elf, phdr->p_vaddr, notes, size) :
				 elf_read_offset(elf, phdr->p_offset, notes, size);
	if (ok)
		elf_take_notes(elf, notes, size, phdr->p_align == 8 ? 8 : 4);
	mem_free(notes);
}

static int check_header(const Elf64_Ehdr *header)
{
	if (memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
	    header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_ident[EI_DATA] != ELFDATA2LSB ||
	    header->e_machine != ARCH_ELF_MACHINE ||
	    (header->e_type != ET_EXEC && header->e_type != ET_DYN) ||
	    header->e_phentsize != sizeof(Elf64_Phdr) || header->e_phnum > PHDRS_MAX)
		return -ENOEXEC;
	return 0;
}

static int take_loads(struct elf *elf, const Elf64_Phdr *phdrs, size_t n)
{
	elf->loads = mem_alloc((n + 1) * sizeof(*elf->loads));
	if (!elf->loads)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const Elf64_Phdr *p = &phdrs[i];

		if (p->p_type != PT_LOAD || p->p_vaddr > UINT64_MAX / 2 ||
		    p->p_memsz > UINT64_MAX / 4 || p->p_offset > UINT64_MAX / 4)
			continue;
		elf->loads[elf->n_loads++] = (struct elf_load){
			.vaddr = p->p_vaddr,
			.memsz = p->p_memsz,
			.offset = p->p_offset,
			.filesz = p->p_filesz < p->p_memsz ? p->p_filesz : p->p_memsz,
			.executable = p->p_flags & PF_X,
		};
	}
	return 0;
}

static void take_segments(struct elf *elf, const Elf64_Phdr *phdrs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const Elf64_Phdr *p = &phdrs[i];
		struct elf_range range = { p->p_vaddr, p->p_offset, p->p_filesz };

		if (p->p_type == PT_NOTE)
			read_notes(elf, p);
		else if (p->p_type == PT_GNU_EH_FRAME)
			elf->eh_frame_hdr = range;
		else if (p->p_type == PT_DYNAMIC)
			elf->dynamic = range;
	}
}

/* Mapped image: its header is the byte at file offset 0. */
static bool find_bias(struct elf *elf)
{
	for (size_t i = 0; i < elf->n_loads; i++) {
		if (elf->loads[i].offset == 0) {
			elf->bias = elf->header - elf->loads[i].vaddr;
			return true;
		}
	}
	return false;
}

static int open_image(struct elf *elf)
{
	Elf64_Ehdr header;
	Elf64_Phdr *phdrs;
	size_t size;
	bool ok;
	int err;

	ok = elf->mapped ? elf_read_process(elf->header, &header, sizeof(header)) :
				 elf_read_offset(elf, 0, &header, sizeof(header));
	err = ok ? check_header(&header) : -ENOEXEC;
	if (err)
		return err;
	elf->type = header.e_type;
	size = header.e_phnum * sizeof(*phdrs);
	phdrs = mem_alloc(size);
	if (!phdrs)
		return -ENOMEM;
	ok = elf->mapped ? elf_read_process(elf->header + header.e_phoff, phdrs, size) :
				 elf_read_offset(elf, header.e_phoff, phdrs, size);
	err = ok ? take_loads(elf, phdrs, header.e_phnum) : -ENOEXEC;
	if (!err && elf->mapped && !find_bias(elf))
		err = -ENOEXEC;
	if (!err) {
		if (!elf->mapped)
			err = elf_take_sections(elf, &header);
		take_segments(elf, phdrs, header.e_phnum);
		if (elf->mapped)
			elf_take_dynamic(elf);
	}
	mem_free(phdrs);
	return err;
}

int elf_open_file(struct elf *out_elf, int fd)
{
	struct elf elf = { .fd = fd };
	struct stat st;
	int err = (int)sys_fstat(fd, &st);

	if (!err && !S_ISREG(st.st_mode))
		err = -ENOEXEC;
	if (!err) {
		elf.size = (uint64_t)st.st_size;
		err = open_image(&elf);
	}
	if (err)
		elf_close(&elf);
	else
		*out_elf = elf;
	return err;
}

int elf_open_memory(struct elf *out_elf, uint64_t header)
{
	struct elf elf = { .mapped = true, .fd = -1, .header = header };
	int err = open_image(&elf);

	if (err)
		elf_close(&elf);
	else
		*out_elf = elf;
	return err;
}

void elf_close(struct elf *elf)
{
	if (elf->fd >= 0)
		sys_close(elf->fd);
	mem_free(elf->loads);
	mem_free(elf->plts);
	mem_free(elf->relas);
	mem_free(elf->executable);
	*elf = (struct elf){ .fd = -1 };
}
