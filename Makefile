# SPDX-License-Identifier: Apache-2.0
# The only build file. `make help` lists targets and variables; everything goes to $(BUILD)/.

VERSION := 0.1.0
BUILD   ?= build
PREFIX  ?= /usr/local
# Where the loader's $LIB points below a prefix: lib/x86_64-linux-gnu on Debian, lib64 on Fedora.
LIBDIR  ?= $(PREFIX)/$(or $(addprefix lib/,$(shell $(CC) -print-multiarch 2>/dev/null)),$(if $(wildcard /usr/lib64/libc.so.6),lib64,lib))
ARCH    ?= $(shell uname -m)
CLANG   ?= clang
OBJCOPY ?= objcopy
WERROR  ?= -Werror
V       ?= 0

ifeq ($(V),0)
Q := @
say = @printf '  %-7s %s\n' $(1) $(2)
else
Q :=
say = @:
endif

# What the source needs, whatever the user's CFAGS say; those come last and may override.
OWN_CPPFLAGS := -I. -Iagent/arch/$(ARCH) -I$(BUILD)/gen -D_GNU_SOURCE -DVERSION='"$(VERSION)"' -MMD -MP
OWN_CFLAGS   := -std=gnu17 -O2 -g -fPIC -fvisibility=hidden -fno-plt -fno-semantic-interposition \
	-ftls-model=initial-exec -fexceptions -fasynchronous-unwind-tables -fno-strict-aliasing \
	-fno-builtin-malloc -fno-builtin-calloc -fstack-protector-strong -U_FORTIFY_SOURCE \
	-Wall -Wextra -Wmissing-prototypes -Wstrict-prototypes -Wshadow -Wundef -Wvla \
	-Wno-unused-parameter $(WERROR)
OWN_LDFLAGS  := -shared -Wl,-soname,libpprofagent.so -Wl,--version-script=$(BUILD)/gen/exports.map \
	-Wl,--exclude-libs,ALL -Wl,--gc-sections -Wl,--as-needed -Wl,-z,defs -Wl,-z,text \
	-Wl,-z,relro -Wl,-z,now -Wl,-z,nodelete -Wl,-z,noexecstack -Wl,-z,noseparate-code \
	-Wl,--sort-section=name # base/attr.h: BIG comes last
# Static and hidden: the target's own zlib is never disturbed, and libc is the only NEEDED.
OWN_LIBS     := -l:libprotobuf-c.a -l:libz.a

# What runs in every process comes first in the library, side by side: fewer of its pages are touched.
START := $(wildcard agent/base/*.c) $(addprefix hooks/,real.c layout.c alloc.c) $(addprefix agent/,agent.c options.c launchers.c listen.c thread.c inherit.c) \
	$(addprefix agent/collect/,process.c heap.c threads.c records.c census.c contention.c signals.c record.c labels.c modules.c cpu.c) \
	$(addprefix agent/http/,address.c ip.c listener.c server.c)
SRC := $(START) $(filter-out $(START),$(wildcard agent/base/*.c agent/collect/*.c agent/http/*.c agent/*.c hooks/*.c encode/*.c))
ASM := $(wildcard agent/arch/$(ARCH)/*.S)
GEN := $(BUILD)/gen/encode/profile.pb-c.c $(BUILD)/gen/encode/perfetto.pb-c.c
LIBIBERTY := $(BUILD)/obj/gen/libiberty.a
OBJ := $(ASM:%.S=$(BUILD)/obj/%.o) $(SRC:%.c=$(BUILD)/obj/%.o) $(GEN:$(BUILD)/gen/%.c=$(BUILD)/obj/gen/%.o) $(LIBIBERTY)
LIB := $(BUILD)/libpprofagent.so
# A program of its own, with libc and libdw as any program has them.
SYMBOLIZER := $(BUILD)/pprofagent-symbolize

.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: all help clean install uninstall dist format lint docs

all: $(LIB) $(SYMBOLIZER) ## build the library and its symbolizer (default)

$(LIB): $(OBJ) $(BUILD)/gen/exports.map
	$(call say,LINK,$@)
	$(Q)$(CC) $(OWN_LDFLAGS) $(LDFLAGS) -o $@ $(OBJ) $(OWN_LIBS)

$(SYMBOLIZER): $(wildcard encode/symbolizer/*.[ch])
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -std=gnu17 -O2 -g -I. -D_GNU_SOURCE $(CPPFLAGS) -Wall -Wextra -Wmissing-prototypes -Wstrict-prototypes -Wshadow \
		-Wundef -Wvla -Wno-unused-parameter $(WERROR) -fPIE -pie -fstack-protector-strong -Wl,-z,relro,-z,now \
		$(CFLAGS) $(LDFLAGS) -o $@ $(filter %.c,$^) -ldw -lelf

$(BUILD)/obj/%.o: %.c | $(GEN)
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(OWN_CPPFLAGS) $(CPPFLAGS) $(OWN_CFLAGS) $(CFLAGS) -c -o $@ $<

# What it carries with .incbin; the compiler's own dependencies do not name it.
$(BUILD)/obj/agent/pages.o: $(wildcard agent/ui/*)

$(BUILD)/obj/%.o: %.S
	$(call say,AS,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(OWN_CPPFLAGS) $(CPPFLAGS) -c -o $@ $<

$(BUILD)/obj/gen/%.o: $(BUILD)/gen/%.c
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(OWN_CPPFLAGS) $(CPPFLAGS) $(OWN_CFLAGS) -Wno-error $(CFLAGS) -c -o $@ $<

$(BUILD)/gen/%.pb-c.c: %.proto
	$(call say,PROTOC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)protoc-c --c_out=$(BUILD)/gen $<

# The three demanglers that we use, with malloc and printf bound to ours: the program's are never called.
LIBIBERTY_USED := cplus_demangle_v3_components cplus_demangle_print_callback rust_demangle_callback
$(LIBIBERTY): encode/libiberty.syms
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(LD) -r -o $@.all $(LIBIBERTY_USED:%=-u %) $$($(CC) -print-file-name=libiberty.a)
	$(Q)$(OBJCOPY) --redefine-syms=$< $(LIBIBERTY_USED:%=--keep-global-symbol=%) $@.all $@.o
	$(Q)rm -f $@ && $(AR) rcs $@ $@.o # in an archive, so that --exclude-libs hides it

# The version nodes that our symbols carry; which symbols are visible at all is EXPORT's business.
$(BUILD)/gen/exports.map: hooks/hooks.def scripts/gen-exports
	$(call say,GEN,$@)
	$(Q)mkdir -p $(@D)
	$(Q)scripts/gen-exports $(CC) hooks/hooks.def > $@

-include tests/tests.mk

include scripts/package/package.mk

docs: ## write the documents that are made from tables
	$(Q)BUILD=$(BUILD) scripts/gen-docs .

# Only the table of profiles is looked at; what its rows point to need not be there.
$(BUILD)/gendocs: docs/gendocs.c $(BUILD)/obj/agent/profiles.o $(BUILD)/obj/agent/base/stats.o agent/options.def agent/base/stats.def hooks/hooks.def
	$(call say,CC,$<)
	$(Q)$(CC) $(OWN_CPPFLAGS) -std=gnu17 -O1 -Wall -Wextra -Wno-unused-parameter -no-pie -Wl,--unresolved-symbols=ignore-all -o $@ $(filter %.c %.o,$^)

# The programs of docs/cookbook.md.
COOKBOOK := $(patsubst docs/cookbook/%,$(BUILD)/cookbook/%,$(basename $(wildcard docs/cookbook/*.c docs/cookbook/*.cc docs/cookbook/*.rs)))
.PHONY: cookbook
cookbook: all $(COOKBOOK) ## the programs that docs/cookbook.md looks into

$(BUILD)/cookbook/%: docs/cookbook/%.c
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -O1 -g -D_GNU_SOURCE -Wall -Wextra -o $@ $< -lpthread

$(BUILD)/cookbook/%: docs/cookbook/%.cc
	$(call say,CXX,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CXX) -O1 -g -Wall -Wextra -o $@ $< -lpthread

$(BUILD)/cookbook/%: docs/cookbook/%.rs
	$(call say,RUSTC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)MAKEFLAGS= rustc --edition 2021 -O -g -o $@ $<

format: ## lay out with clang-format what changed since the last commit
	git clang-format --force --extensions c,h

lint: $(GEN) ## clang-tidy, shellcheck
	clang-tidy --quiet $(SRC) -- $(OWN_CPPFLAGS) -std=gnu17
	shellcheck $$(git ls-files scripts .ci | xargs grep -lE '^#!.*(ba)?sh')

clean: ## remove $(BUILD)
	rm -rf $(BUILD)

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST) | sort
	@echo "variables: CC CFLAGS CPPFLAGS LDFLAGS BUILD PREFIX LIBDIR LIBEXECDIR DESTDIR ARCH WERROR V=1"

-include $(patsubst %.o,%.d,$(filter %.o,$(OBJ)))
