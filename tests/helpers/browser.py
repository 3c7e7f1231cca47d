"""A headless Chromium, driven over the DevTools protocol through a pair of pipes."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_KEYS = {" ": ("Space", 32), "ArrowLeft": ("ArrowLeft", 37), "ArrowRight": ("ArrowRight", 39), "Enter": ("Enter", 13),
         "Tab": ("Tab", 9), "Home": ("Home", 36), "End": ("End", 35)}  # fmt: skip
_FAULTS = """
window.faults = [];
addEventListener("error", (e) => faults.push(String(e.message)));
addEventListener("unhandledrejection", (e) => faults.push(String(e.reason)));
document.addEventListener("securitypolicyviolation", (e) => faults.push(`${e.violatedDirective}: ${e.blockedURI}`));
"""
_TEXT = {"Enter": "\r", " ": " "}


def needs_browser() -> None:
    """Skip where there is no browser; in CI, which has to have one, fail."""
    if BROWSER is None:
        why = "needs Chromium (Debian's package `chromium`), which is not installed"
        if os.environ.get("CI"):
            pytest.fail(f"{why}; where CI is set, nothing may go untested for lack of it")
        pytest.skip(why)


class Browser:
    """One page in real time, with a real keyboard and pointer.

    Args:
        folder: For the browser's profile, and `downloads` in it.
    """

    def __init__(self, folder: Path) -> None:
        assert BROWSER is not None
        self.downloads = folder / "downloads"
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for pair in (os.pipe(), os.pipe()) for end in pair]
        self._theirs, self._write, self._read, answers = ends[0], ends[1], ends[2], ends[3]

        def give_pipes() -> None:  # Chromium reads from 3 and writes to 4
            os.dup2(self._theirs, 3)
            os.dup2(answers, 4)

        flags = (
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--mute-audio",
            "--hide-scrollbars",
        )
        self._process = subprocess.Popen(
            [BROWSER, *flags, "--remote-debugging-pipe", f"--user-data-dir={folder / 'profile'}", "about:blank"],
            preexec_fn=give_pipes, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(self._theirs)
        os.close(answers)
        self._session: str | None = None
        self._number, self._waiting = 0, b""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")
        self.call("Page.addScriptToEvaluateOnNewDocument", source=_FAULTS)
        self.size(1280, 900)

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._write)
        os.close(self._read)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command of the DevTools protocol, and wait for its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._waiting:
                assert select.select([self._read], [], [], 30)[0], f"{method}: no answer in 30 s"
                received = os.read(self._read, 1 << 20)
                assert received, f"{method}: the browser has ended"
                self._waiting += received
            raw, _, self._waiting = self._waiting.partition(b"\0")
            answer = json.loads(raw)
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                result: dict[str, Any] = answer["result"]
                return result

    def open(self, url: str) -> None:
        """Go to a page and wait until it has loaded."""
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=url)
        self.until("location.href !== 'about:blank' && document.readyState === 'complete'")

    def size(self, width: int, height: int) -> None:
        """Set the size of the window in CSS pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; promises are awaited."""
        answer = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, script: str, seconds: float = 10) -> Any:
        """Wait until a JavaScript expression is true, and return its value."""
        end = time.monotonic() + seconds
        while not (value := self.run(script)):
            assert time.monotonic() < end, f"after {seconds} s still not: {script}"
            time.sleep(0.02)
        return value

    def run_in_frame(self, script: str, seconds: float = 10) -> Any:
        """The value of an expression in the page's only frame, once it has content; a sandboxed one, which Chromium
        gives a process of its own."""
        own, end = self._session, time.monotonic() + seconds
        while not (frames := [t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "iframe"]):
            assert time.monotonic() < end, f"after {seconds} s there is no frame"
            time.sleep(0.02)
        try:
            found = self.call("Target.attachToTarget", targetId=frames[-1]["targetId"], flatten=True)
            self._session = found["sessionId"]
            return self.run(script)
        finally:
            self._session = own

    def press(self, key: str) -> None:
        """Press and release a key."""
        code, number = _KEYS.get(key, (f"Key{key.upper()}", ord(key.upper()[0])))
        fields: dict[str, Any] = {"key": key, "code": code, "windowsVirtualKeyCode": number}
        text = _TEXT.get(key, key if len(key) == 1 else None)
        self.call("Input.dispatchKeyEvent", type="keyDown", **fields, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **fields)

    def click(self, element: str, x: float = 0.5, y: float = 0.5) -> None:
        """Click at a place of an element, given as a JavaScript expression; x and y from 0 to 1 within it."""
        self.run(f"({element}).scrollIntoView({{block: 'center', behavior: 'instant'}})")
        box = self.run(f"(b => [b.left, b.top, b.width, b.height])(({element}).getBoundingClientRect())")
        place = {"x": box[0] + x * box[2], "y": box[1] + y * box[3], "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, **place)

    def download(self, element: str) -> Path:
        """Click on an element that starts a download, and wait for the file."""
        self.downloads.mkdir(exist_ok=True)
        before = set(self.downloads.iterdir())
        self.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads))
        self.click(element)
        end = time.monotonic() + 10
        while time.monotonic() < end:
            if fresh := [p for p in self.downloads.iterdir() if p not in before and p.suffix != ".crdownload"]:
                return fresh[0]
            time.sleep(0.02)
        raise AssertionError(f"after 10 s no file came of {element}")

    def faults(self) -> list[str]:
        """What went wrong in the page since it was opened: errors of scripts, and what its policy forbade."""
        return list(self.run("faults"))

    def picture(self, path: Path) -> None:
        """Write a PNG of the window."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
