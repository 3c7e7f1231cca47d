"""Load test of `coleaf serve` on loopback: many clients against one worker, beside parsing the same files directly.

python -m benchmarks.bench_serve [REQUESTS] [--json FILE]

A service of a small untrained run (recipe tiny) gets the three clips of examples/clips in turn, 8 requests at a time.
A `VideoParser` in a process of its own parses the same files one after the other, half of them before and half after,
so that a machine that grows busier or calmer hits both alike. Latency is from the first byte sent to the last byte
read, the wait in line included. Peak memory is that of each process (Linux).
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.measuring import main_arguments, print_table
from tests.helpers.parsing import CLIPS, write_run

AT_A_TIME = 8
_DIRECT = """
import json, sys, time
from pathlib import Path
from coleaf_framework.parsing import VideoParser
parser = VideoParser(Path(sys.argv[1]))
for line in sys.stdin:
    taken = []
    for file in json.loads(line):
        start = time.perf_counter()
        parsed, failed = parser.parse([Path(file)])
        assert parsed and not failed
        taken.append(time.perf_counter() - start)
    print(json.dumps(taken), flush=True)
"""


class Direct:
    """A process with one `VideoParser`."""

    def __init__(self, run: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _DIRECT, str(run)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def parse(self, files: list[Path]) -> list[float]:
        """Seconds of each file, one after the other."""
        self.process.stdin.write(json.dumps([str(file) for file in files]) + "\n")
        self.process.stdin.flush()
        taken: list[float] = json.loads(self.process.stdout.readline())
        return taken

    def end(self) -> float:
        """End it; MB that it held at most."""
        peak = peak_of(self.process.pid)
        self.process.communicate()
        return peak


def post(url: str, file: Path) -> tuple[float, int]:
    """Seconds and status of a request."""
    head = f'--b\r\nContent-Disposition: form-data; name="video"; filename="{file.name}"\r\n\r\n'.encode()
    body = head + file.read_bytes() + b"\r\n--b--\r\n"
    request = urllib.request.Request(f"{url}/parse", body, {"Content-Type": "multipart/form-data; boundary=b"})
    start = time.perf_counter()
    try:
        with urllib.request.urlopen(request, timeout=600) as response:
            json.load(response)
            status = response.status
    except urllib.error.HTTPError as problem:
        status = problem.code
    return time.perf_counter() - start, status


def peak_of(pid: int) -> float:
    """MB that a process has held at most (Linux)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1000


def peaks(server: int) -> tuple[float, float]:
    """Peak memory of a service and of its worker, in MB."""
    children = [int(x) for path in Path(f"/proc/{server}/task").glob("*/children") for x in path.read_text().split()]
    worker = next(pid for pid in children if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text())
    return peak_of(server), peak_of(worker)


def serve_all(run: Path, files: list[Path]) -> tuple[float, list[tuple[float, int]], tuple[float, float]]:
    """Seconds of the whole, seconds and status of each request, and the peaks."""
    command = [sys.executable, "-m", "coleaf_framework", "serve", "--run", str(run), "--port", "0"]
    service = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert service.stdout is not None
    try:
        found = re.search(r"http://\S+", service.stdout.readline())
        assert found is not None
        url = found[0]
        start = time.perf_counter()
        with ThreadPoolExecutor(AT_A_TIME) as clients:
            answers = list(clients.map(lambda file: post(url, file), files))
        return time.perf_counter() - start, answers, peaks(service.pid)
    finally:
        service.terminate()
        service.wait()


def main() -> None:
    """Print the table."""
    requests, path = main_arguments(50)
    files = [CLIPS[i % len(CLIPS)] for i in range(requests)]
    with tempfile.TemporaryDirectory() as temporary:
        run = write_run(Path(temporary) / "small")
        direct = Direct(run)
        direct.parse(CLIPS[:1])
        taken = direct.parse(files[: requests // 2])
        seconds, answers, (of_server, of_worker) = serve_all(run, files)
        taken += direct.parse(files[requests // 2 :])
        peak = direct.end()
    errors = sum(status != 200 for _, status in answers)
    rows: list[list[Any]] = [
        _row("VideoParser, one by one", sum(taken), taken, 0, sum(taken), [f"{peak:.0f}"]),
        _row(f"coleaf serve, {AT_A_TIME} at a time", seconds, [s for s, _ in answers], errors, sum(taken),
             [f"{of_server:.0f} + {of_worker:.0f}"]),
    ]  # fmt: skip
    columns = ["what", "requests/s", "x direct", "median s", "95 % s", "errors", "peak MB"]
    print_table(f"{requests} clips of 10 s", columns, rows, path, requests=requests)


def _row(what: str, seconds: float, each: list[float], errors: int, direct: float, peak: list[str]) -> list[Any]:
    late = statistics.quantiles(each, n=20)[-1]
    return [what, len(each) / seconds, direct / seconds, statistics.median(each), late, errors, *peak]


if __name__ == "__main__":
    main()
