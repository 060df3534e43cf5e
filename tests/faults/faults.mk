# SPDX-License-Identifier: Apache-2.0
# The library with a door that fails the n-th call, and a clock that can be set: the product's objects, and tests/faults/faults.c.
FAULTS_LIB := $(BUILD)/tests/libpprofagent-faults.so
WRAPPED    := sys_enter sys_clock_ns sys_read_file sys_write_all mem_alloc mem_zalloc mem_realloc mem_strdup arena_alloc budget_map

programs: $(FAULTS_LIB)
$(FAULTS_LIB): tests/faults/faults.c tests/faults/faults.h $(OBJ) $(BUILD)/gen/exports.map
	$(call say,LINK,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(OWN_CPPFLAGS) -MF $@.d $(OWN_CFLAGS) $(OWN_LDFLAGS) $(WRAPPED:%=-Wl,--wrap=%) $(LDFLAGS) -o $@ $< $(OBJ) $(OWN_LIBS)
