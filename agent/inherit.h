/* SPDX-License-Identifier: Apache-2.0 */
/* Context: init, before main. */
#ifndef AGENT_INHERIT_H
#define AGENT_INHERIT_H

/* Takes this library out of LD_PRELOAD, in place, and leaves its other entries (PPROF_INHERIT=0). */
void inherit_strip(void);

#endif
