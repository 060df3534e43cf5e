# SPDX-License-Identifier: Apache-2.0
"""All that a program can meet at once: a CPU profile at 1000 Hz without a pause, a heap sample every 4 KiB, every wait
recorded, and a client that reads all endpoints in a loop."""
import contextlib
import http.client
import threading
import time

import lib
from stacks import View

ENDPOINTS = ("heap", "allocs", "block", "mutex", "threadcreate", "goroutine", "heap?debug=1", "goroutine?debug=2",
             "agent", "cmdline", "", "trace?seconds=0.2")
STORM = dict(memprofilerate=4096, blockprofilerate=1, mutexprofilefraction=1)


class Storm:
    """Reads every endpoint, and CPU profiles without a pause, of whichever process wrote the port file last."""

    def __init__(self, port_file):
        self.port_file, self.done = port_file, threading.Event()
        self.answered, self.samples = set(), 0
        self.threads = [threading.Thread(target=self.read), threading.Thread(target=self.profile)]
        for thread in self.threads:
            thread.start()

    def endpoint(self):
        try:
            return lib.Endpoint(("127.0.0.1", int(self.port_file.read_text())))
        except (OSError, ValueError):
            time.sleep(0.01)
            return None

    def read(self):
        while not self.done.is_set():
            # what no process lived long enough to answer goes first
            for name in sorted(ENDPOINTS, key=lambda name: name in self.answered):
                if self.done.is_set():
                    return
                with contextlib.suppress(OSError, http.client.HTTPException):
                    app = self.endpoint()
                    answer = app.get(name, timeout=10) if app else None
                    if answer and answer.status == 200 and answer.body:
                        self.answered.add(name)

    def profile(self):
        while not self.done.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException, AssertionError):
                app = self.endpoint()
                if app:
                    self.samples += View(app.profile(seconds=1, hz=1000)).total("samples")

    def stop(self):
        self.done.set()
        for thread in self.threads:
            thread.join()
