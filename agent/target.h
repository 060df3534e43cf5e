/* SPDX-License-Identifier: Apache-2.0 */
/*
 * This process as a scrape target: PPROF_SD_DIR holds a file for each, in the form that Prometheus, Parca and
 * Grafana Alloy read (file_sd: a JSON list of targets and labels). Its name carries the process, when it
 * started and in which process namespace, so that whoever comes later can tell and remove what a killed
 * process left.
 */
#ifndef AGENT_TARGET_H
#define AGENT_TARGET_H

#include <stdbool.h>
#include <stdint.h>

/* Makes PPROF_SD_DIR absolute. Context: init, before main. */
void target_start(void);

/* This process listens on these addresses (server_describe), one a line; worker: it is served by the
 * process that forked it. Context: init, agent. */
void target_write(const char *addresses, bool worker);

/* It is about to end (for_good), or to become another program if the kernel agrees: else the file is
 * written again a second later. Context: hook, agent. */
void target_remove(bool for_good);

/* Removes what ended processes left; writes again what was removed for an exec that failed. Returns the time
 * (CLOCK_MONOTONIC) to be called again at. Context: agent. */
uint64_t target_tick(uint64_t now_ns);

/* Context: child. */
void target_child(void);

#endif
