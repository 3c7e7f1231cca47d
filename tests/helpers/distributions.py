"""What a release consists of, built from the checkout; and an environment that has only what is installed into it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

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


class FreshEnvironment:
    """A virtual environment that has this environment's libraries, but not coleaf_framework.

    Its site-packages link to the libraries one by one, so that pip takes them as installed and checks a wheel's
    requirements against them. Neither the checkout nor the installed metadata of coleaf_framework is among them.
    """

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=False)
        self.bin = folder / "bin"
        self.site = Path(
            run(self.bin / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
        )
        # Not what ends in .pth either: it would lead to the checkout.
        ours = re.compile(r"_?_?(editable__+)?coleaf|.*\.pth$|__pycache__$")
        for installed in Path(sysconfig.get_path("purelib")).iterdir():
            if not ours.match(installed.name) and not (self.site / installed.name).exists():
                (self.site / installed.name).symlink_to(installed)
        # Without PYTHONPATH, which may lead to the checkout.
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
        self.env |= {
            "PATH": f"{self.bin}{os.pathsep}/usr/bin{os.pathsep}/bin",
            "COLUMNS": "200",
            "OMP_NUM_THREADS": "1",
        }

    def install(self, wheel: Path) -> None:
        """Install a wheel without the network; what it requires must be there."""
        pip = (sys.executable, "-m", "pip", "--python", self.bin / "python", "--isolated")
        run(*pip, "install", "--quiet", "--no-index", wheel, cwd=self.bin, env=self.env)

    def __call__(self, *command: object, cwd: Path) -> str:
        """What a command of the environment prints."""
        return run(self.bin / str(command[0]), *command[1:], cwd=cwd, env=self.env)
