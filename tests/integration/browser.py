# SPDX-License-Identifier: Apache-2.0
"""A headless chromium, driven over its debugging pipe (descriptors 3 and 4, one JSON text and a NUL each
way): no port, no websocket, nothing but the standard library.

What the page logs, what its policy forbids and what its scripts throw is kept in `complaints`: a test
that expects none says so with `assert not browser.complaints`.
"""
import base64
import fcntl
import json
import os
import select
import subprocess
import time

import lib


def high_pipe():
    """A pipe whose ends lie above 3 and 4, which bash makes of them."""
    high = []
    for fd in os.pipe():
        high.append(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10))
        os.close(fd)
    return high


class Browser:
    def __init__(self, *flags, size=(1280, 900), dark=False):
        self.path = lib.needs("chromium")
        self.home = lib.scratch()
        to_read, self._to = high_pipe()
        self._from, to_write = high_pipe()
        argv = [self.path, "--headless=new", "--no-sandbox", "--remote-debugging-pipe", f"--user-data-dir={self.home}",
                "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions",
                "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
                f"--window-size={size[0]},{size[1]}", *flags, "about:blank"]
        # The browser wants its pipe on 3 and 4; bash can redirect descriptors of any number.
        self.process = lib.background(
            ["bash", "-c", f'exec "$@" 3<&{to_read} 4>&{to_write} {to_read}<&- {to_write}>&-', "chromium", *argv],
            pass_fds=(to_read, to_write), env=lib.environment({"HOME": str(self.home)}))
        os.close(to_read)
        os.close(to_write)
        self._buffer = b""
        self._number = 0
        self._session = None
        self.complaints = []
        self.loaded = set()
        self.requests = {}  # method of the protocol -> function of its parameters
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self.call(domain + ".enable")
        self.call("Page.setLifecycleEventsEnabled", enabled=True)
        self.call("Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], deviceScaleFactor=1, mobile=False)
        self.theme(dark)

    def _receive(self, seconds):
        """The next message, or None."""
        end = time.monotonic() + seconds
        while b"\0" not in self._buffer:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._from], [], [], left)[0]:
                return None
            more = os.read(self._from, 1 << 20)
            if not more:
                raise AssertionError(f"chromium ended with status {self.process.wait(10)}")
            self._buffer += more
        text, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(text)
        self._note(message)
        return message

    def _note(self, message):
        method, values = message.get("method"), message.get("params", {})
        if method == "Log.entryAdded" and values["entry"]["level"] == "error":
            self.complaints.append(f"{values['entry']['text']} {values['entry'].get('url', '')}")
        elif method == "Runtime.exceptionThrown":
            details = values["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Page.javascriptDialogOpening":
            self.complaints.append("the page opened a dialog: " + values["message"])
            self._send("Page.handleJavaScriptDialog", accept=False)
        elif method == "Page.lifecycleEvent" and values["name"] == "load":
            self.loaded.add(values["loaderId"])
        elif method in self.requests:
            self.requests[method](values)

    def _send(self, method, **values):
        self._number += 1
        message = {"id": self._number, "method": method, "params": values}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data):]
        return self._number

    def call(self, method, seconds=60, **values):
        number, end = self._send(method, **values), time.monotonic() + seconds
        while True:
            message = self._receive(end - time.monotonic())
            if message is None:
                raise AssertionError(f"chromium does not answer {method} within {seconds} s")
            if message.get("id") == number:
                if "error" in message:
                    raise AssertionError(f"{method}: {message['error']}")
                return message["result"]

    def js(self, expression):
        """The value of an expression (awaited when it is a promise)."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def until(self, expression, what=None, seconds=60):
        """Waits until the expression is true in the page; returns its value."""
        return lib.until(lambda: self.js(expression), what or expression, seconds, every=0.05)

    def open(self, url):
        """Goes to the address and waits for the page to be there."""
        end = time.monotonic() + 60
        loader = self.call("Page.navigate", url=url)["loaderId"]
        # Nothing is asked of the page on the way: its world is being exchanged.
        while loader not in self.loaded:
            if self._receive(end - time.monotonic()) is None:
                raise AssertionError(f"{url} is not loaded within 60 s")

    def key(self, key):
        # A character without "text" is no input to a field; that with it is both.
        text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def choose_file(self, selector, path):
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def theme(self, dark):
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def resize(self, width, height):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 700)

    def screenshot(self, path):
        data = self.call("Page.captureScreenshot", format="png")["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))
