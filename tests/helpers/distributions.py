"""What a release consists of, built from the checkout; and an environment that has only what is installed into it."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]


def run(*command: object, cwd: Path, env: dict[str, str] | None = None) -> str:
    """What a command prints; fails with all of it where the command does."""
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, timeout=300, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(target: str, source: Path, out: Path) -> Path:
    """Build a wheel or an sdist, without the network."""
    run(sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", out, cwd=source)
    (built,) = out.iterdir()
    return built


def required(*lines: str) -> dict[str, Distribution]:
    """Name -> installed distribution, of requirements such as "numpy>=1.26" and of all that these require in turn."""
    found: dict[str, Distribution] = {}
    seen: set[str] = set()
    pending = list(lines)
    while pending:
        line = pending.pop()
        if line in seen:
            continue
        seen.add(line)
        wanted = Requirement(line)
        name = canonicalize_name(wanted.name)
        found[name] = distribution(name)
        for further in map(Requirement, found[name].requires or ()):
            if any(not further.marker or further.marker.evaluate({"extra": e}) for e in ("", *wanted.extras)):
                further.marker = None
                pending.append(str(further))
    return found


class FreshEnvironment:
    """A virtual environment that has no coleaf_framework, and of this environment's libraries only what is required.

    Its site-packages link to the libraries one by one, so that pip takes them as installed and checks a wheel's
    requirements against them. A library that the wheel imports and does not require is missing.
    """

    def __init__(self, folder: Path, *requirements: str) -> None:
        venv.create(folder, with_pip=False)
        self.bin = folder / "bin"
        self.site = Path(
            run(self.bin / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
        )
        for library in required(*requirements).values():
            for name in {file.parts[0] for file in library.files} - {"..", "__pycache__"}:
                # Not what ends in .pth: it may lead elsewhere.
                if not name.endswith(".pth") and not (self.site / name).exists():
                    (self.site / name).symlink_to(library.locate_file(name))
        # Without PYTHONPATH, which may lead to the checkout.
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
        self.env |= {
            "PATH": f"{self.bin}{os.pathsep}/usr/bin{os.pathsep}/bin",
            "COLUMNS": "200",
            "OMP_NUM_THREADS": "1",
        }

    def install(self, *wheels: Path) -> None:
        """Install wheels without the network; what they require must be there."""
        pip = (sys.executable, "-m", "pip", "--python", self.bin / "python", "--isolated")
        run(*pip, "install", "--quiet", "--no-index", *wheels, cwd=self.bin, env=self.env)

    def __call__(self, *command: object, cwd: Path) -> str:
        """What a command of the environment prints."""
        return run(self.bin / str(command[0]), *command[1:], cwd=cwd, env=self.env)
