"""`requirements.lock` and the Dockerfile agree with pyproject.toml, constraints.txt and the checkout."""

from __future__ import annotations

import fnmatch
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.distributions import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:  # make's environment has Python 3.11
    pytest.skip("needs tomllib, of Python 3.11", allow_module_level=True)

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# What PyTorch brings along with CUDA on Linux, and what other packages need on Windows, in a browser, and to build.
OF_OTHER_BUILDS = re.compile(r"nvidia-|cuda-|triton$|setuptools$|colorama$|httpx2-jsfetch$")


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(name: str | Path) -> dict[str, str]:
    """Name of a distribution -> its exact version, of constraints.txt or the lock."""
    found = re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / name).read_text(), flags=re.MULTILINE)
    assert found
    return {normalised(distribution): version for distribution, version in found}


def test_the_lock_has_the_versions_that_ci_runs() -> None:
    """`make lock` writes it anew."""
    locked, tried = pins("requirements.lock"), pins("constraints.txt")
    known = {name: version for name, version in locked.items() if not OF_OTHER_BUILDS.match(name)}
    assert known == {name: tried.get(name) for name in known}


def test_the_lock_has_what_all_requires() -> None:
    extras = PROJECT["optional-dependencies"]
    required = [*PROJECT["dependencies"], *(line for name in extras for line in extras[name])]
    development = {line for name in ("tests", "docs", "dev") for line in extras[name]}
    names = {normalised(re.match(r"[\w.-]+", line)[0]) for line in required if line not in development}
    assert names - {"coleaf-framework"} <= pins("requirements.lock").keys()


def test_the_lock_names_no_registry_and_every_file_has_a_digest() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text
    for entry in re.split(r"\n(?=\S)", text.strip()):
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry.splitlines()[0]


def test_a_lock_that_cannot_be_made_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    for name in (".ci/lock", "pyproject.toml", "constraints.txt", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path / name)
    ran = subprocess.run([tmp_path / ".ci/lock"], env={**os.environ, "UV": "false"}, check=False)
    assert ran.returncode != 0
    assert pins("requirements.lock") == pins(tmp_path / "requirements.lock")


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions: (its name, the rest of the line)."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [(line.split()[0], line.partition(" ")[2]) for line in joined if line.strip()]


def sent(name: str) -> bool:
    """Whether .dockerignore, whose last matching line decides, lets a file into the build."""
    found = True
    for line in (ROOT / ".dockerignore").read_text().split("\n"):
        if line and not line.startswith("#") and fnmatch.fnmatch(name, line.removeprefix("!")):
            found = line.startswith("!")
    return found


def test_the_dockerfile_copies_what_exists_and_is_sent() -> None:
    stages = {rest.partition(" AS ")[2] for name, rest in instructions() if name == "FROM"}
    copied = [shlex.split(rest) for name, rest in instructions() if name == "COPY"]
    assert len(copied) > 2
    for first, *others in copied:
        if first.startswith("--from="):
            assert first.removeprefix("--from=") in stages
            continue
        for source in (first, *others[:-1]):
            assert (ROOT / source).exists(), source
            assert sent(source), source


def test_the_build_gets_all_that_the_wheel_is_built_of_and_no_more() -> None:
    for needed in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "coleaf_framework", "backbones"):
        assert sent(needed)
    for other in (".git", ".venv", "examples", "tests", "runs", "data"):
        assert not sent(other)


def test_the_image_runs_coleaf_as_nobody_special_and_installs_extras_that_exist() -> None:
    found = instructions()
    assert ("ENTRYPOINT", '["coleaf"]') in found
    assert "coleaf" in PROJECT["scripts"]
    (user,) = (rest for name, rest in found if name == "USER")
    assert user not in ("root", "0")
    (folder,) = (rest for name, rest in found[found.index(("USER", user)) :] if name == "WORKDIR")
    assert any(f"install --directory --owner={user} {folder}" in rest for _, rest in found)  # WORKDIR makes it root's
    defaults = dict(rest.split("=") for name, rest in found if name == "ARG" and "=" in rest)
    assert set(defaults["EXTRAS"].split(",")) <= PROJECT["optional-dependencies"].keys()
    assert any("[${EXTRAS}]" in rest for name, rest in found if name == "RUN")
    for name, rest in found:
        assert "://" not in rest
        if name == "RUN" and "pip " in rest:
            assert "--no-cache-dir" in rest
