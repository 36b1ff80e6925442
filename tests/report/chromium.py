"""A real Chromium, driven through its DevTools protocol by websockets alone."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_SECONDS = 60.0


def executable() -> str | None:
    """A Chromium on this machine, None where there is none."""
    named = os.environ.get("CHROMIUM")
    return named or next((found for name in NAMES if (found := shutil.which(name))), None)


@dataclass
class Page:
    """One tab; every message of the console, error and request of it is kept."""

    connection: Any
    session: str
    problems: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    _number: int = 0

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method and wait for its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters, "sessionId": self.session}
        self.connection.send(json.dumps(message))
        while True:
            answer = json.loads(self.connection.recv(timeout=_SECONDS))
            if answer.get("id") == self._number and answer.get("sessionId") == self.session:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def wait_for(self, name: str) -> None:
        """Wait for an event that hasn't come yet."""
        while not any(event.get("method") == name for event in self.events):
            self._note(json.loads(self.connection.recv(timeout=_SECONDS)))

    def _note(self, event: dict[str, Any]) -> None:
        if event.get("sessionId") != self.session:
            return
        self.events.append(event)
        method, parameters = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(parameters["exceptionDetails"])[:2000])
        elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"):
            self.problems.append(json.dumps(parameters["args"])[:2000])
        elif method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            self.problems.append(json.dumps(parameters["entry"])[:2000])
        elif method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif method == "Page.javascriptDialogOpening":
            self.problems.append(f"dialog: {parameters['message']}")
            self._number += 1
            answer = {"id": self._number, "method": "Page.handleJavaScriptDialog", "params": {"accept": True}}
            self.connection.send(json.dumps(answer | {"sessionId": self.session}))

    def open(self, path: Path) -> None:
        """Load a file and wait until it is there and its script, if it may run one, is ready."""
        self.problems.clear()
        self.requests.clear()
        self.events.clear()
        self.send("Page.navigate", url=path.resolve().as_uri())
        self.wait_for("Page.loadEventFired")

    def evaluate(self, expression: str) -> Any:
        """Value of a JavaScript expression; a promise is awaited."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"])[:2000])
        return answer["result"].get("value")

    def until(self, expression: str) -> Any:
        """Wait until an expression is true, looking once a frame; returns its value."""
        limit = time.monotonic() + _SECONDS
        while not (value := self.evaluate(expression)):
            if time.monotonic() > limit:
                raise TimeoutError(f"{expression} didn't come true; problems: {self.problems}")
            self.evaluate("new Promise(done => requestAnimationFrame(() => done(1)))")
        return value

    def ready(self) -> int:
        """Wait for the viewer; milliseconds after navigation at which it was ready."""
        return int(self.until("document.documentElement.dataset.ready"))

    def size(self, width: int, height: int = 900) -> None:
        """Set the viewport in CSS pixels."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

        # Else a scroll bar takes its part of the width, as on no phone.
        self.send("Emulation.setScrollbarsHidden", hidden=True)

    def dark(self, on: bool) -> None:
        """Choose the colour scheme."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if on else "light"}
        self.send("Emulation.setEmulatedMedia", media="", features=[scheme])

    def scripts(self, on: bool) -> None:
        """Allow or forbid scripts from the next page on."""
        self.send("Emulation.setScriptExecutionDisabled", value=not on)

    def press(self, key: str, text: str = "") -> None:
        """Press and release a key where the focus is."""
        codes = {"Tab": 9, "Enter": 13, "End": 35, "Home": 36, "ArrowUp": 38, "ArrowDown": 40}
        common = {"key": key, "windowsVirtualKeyCode": codes.get(key, ord(key[0]))}
        if text or len(key) == 1:
            common["text"] = text or key
        self.send("Input.dispatchKeyEvent", type="keyDown", **common)
        self.send("Input.dispatchKeyEvent", type="keyUp", **{k: v for k, v in common.items() if k != "text"})

    def type(self, text: str) -> None:
        """Enter text where the focus is."""
        self.send("Input.insertText", text=text)

    def screenshot(self, *, whole: bool = True) -> bytes:
        """PNG of the page."""
        answer = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return base64.b64decode(answer["data"])

    def pdf(self) -> bytes:
        """The page printed."""
        answer = self.send("Page.printToPDF", preferCSSPageSize=True, paperWidth=8.27, paperHeight=11.69)
        return base64.b64decode(answer["data"])


@contextmanager
def browser() -> Iterator[Page]:
    """A Chromium with one empty tab; it and its profile are gone afterwards."""
    from websockets.sync.client import connect

    program = executable()
    assert program is not None, "no Chromium"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [
                program,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-background-networking",
                "--disable-component-update",
                "--no-first-run",
                "--remote-debugging-port=0",
                f"--user-data-dir={profile}",
                "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stderr is not None
            line = next(line for line in process.stderr if "DevTools listening on" in line)
            address = line.split("listening on")[1].strip()
            with connect(address, max_size=None, open_timeout=_SECONDS) as connection:
                yield _tab(connection)
        finally:
            process.terminate()
            process.wait(timeout=_SECONDS)


def _tab(connection: Any) -> Page:
    root = Page(connection, "")

    def call(number: int, method: str, **parameters: Any) -> dict[str, Any]:
        connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(connection.recv(timeout=_SECONDS))
            if answer.get("id") == number:
                result: dict[str, Any] = answer["result"]
                return result

    target = call(1, "Target.createTarget", url="about:blank")["targetId"]
    root.session = call(2, "Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    for domain in ("Page", "Runtime", "Log", "Network"):
        root.send(f"{domain}.enable")
    return root
