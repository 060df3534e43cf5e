# SPDX-License-Identifier: Apache-2.0
# Installing, man pages, the Debian package and the source archive: included by the Makefile.

BINDIR     ?= $(PREFIX)/bin
LIBEXECDIR ?= $(PREFIX)/libexec
MANDIR     ?= $(PREFIX)/share/man
DOCDIR     ?= $(PREFIX)/share/doc/pprofagent
LAUNCHER   := $(wildcard scripts/pprofagent)
MAN        := $(BUILD)/man/pprofagent.1 $(BUILD)/man/libpprofagent.7
DOCS       := README.md LICENSE $(wildcard docs/*.md)

.PHONY: man deb
# The symbolizer is a program of its own, where the source has it.
install: all man ## install everything (PREFIX, DESTDIR, BINDIR, LIBDIR, LIBEXECDIR, MANDIR, DOCDIR)
	install -D -m 755 $(LIB) "$(DESTDIR)$(LIBDIR)/libpprofagent.so"
	$(if $(SYMBOLIZER),install -D -m 755 $(SYMBOLIZER) "$(DESTDIR)$(LIBEXECDIR)/pprofagent-symbolize")
	$(if $(LAUNCHER),install -D -m 755 $(LAUNCHER) "$(DESTDIR)$(BINDIR)/pprofagent")
	install -D -m 644 $(BUILD)/man/pprofagent.1 "$(DESTDIR)$(MANDIR)/man1/pprofagent.1"
	install -D -m 644 $(BUILD)/man/libpprofagent.7 "$(DESTDIR)$(MANDIR)/man7/libpprofagent.7"
	install -d "$(DESTDIR)$(DOCDIR)"
	install -m 644 $(DOCS) "$(DESTDIR)$(DOCDIR)"

uninstall: ## remove what install put there
	rm -f "$(DESTDIR)$(LIBDIR)/libpprofagent.so" "$(DESTDIR)$(LIBEXECDIR)/pprofagent-symbolize" \
		"$(DESTDIR)$(BINDIR)/pprofagent" "$(DESTDIR)$(MANDIR)/man1/pprofagent.1" \
		"$(DESTDIR)$(MANDIR)/man7/libpprofagent.7" $(foreach f,$(notdir $(DOCS)),"$(DESTDIR)$(DOCDIR)/$(f)")
	-rmdir --ignore-fail-on-non-empty "$(DESTDIR)$(DOCDIR)" 2>/dev/null

man: $(MAN) ## the man pages, with their sections of settings

# A line "@SETTINGS form@" stands for what docs/gendocs.c makes of agent/options.def.
$(BUILD)/man/%: docs/man/% $(BUILD)/gendocs
	$(call say,MAN,$@)
	$(Q)mkdir -p $(@D)
	$(Q)while IFS= read -r line; do case $$line in \
		"@SETTINGS "*) line=$${line#@SETTINGS } && $(BUILD)/gendocs man-$${line%@} || exit 1 ;; \
		*) printf '%s\n' "$$line" ;; esac; done <$< >$@

# ---- the Debian package: the same installation below $(BUILD)/deb, and a control file
DEB_ARCH = $(shell dpkg --print-architecture)
DEB      = $(BUILD)/pprofagent_$(VERSION)_$(DEB_ARCH).deb
DEB_LIB  = /usr/lib/$(shell dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || $(CC) -print-multiarch)

deb: all man ## Debian package in $(BUILD), made with dpkg-deb
	$(Q)rm -rf $(BUILD)/deb
	$(Q)$(MAKE) --no-print-directory install DESTDIR=$(BUILD)/deb PREFIX=/usr LIBDIR=$(DEB_LIB) >$(BUILD)/deb.log
	$(Q)scripts/package/make-deb $(BUILD)/deb $(VERSION) $(DEB_ARCH) $(DEB)
	@echo $(DEB)

dist: ## source archive from git
	$(Q)mkdir -p $(BUILD)
	git archive --prefix=libpprofagent-$(VERSION)/ -o $(BUILD)/libpprofagent-$(VERSION).tar.gz HEAD
