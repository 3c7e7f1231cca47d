"""The wheel and the sdist: what is in them, and that the wheel works where there is no checkout."""

from __future__ import annotations

import email
import email.message
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.helpers.distributions import ROOT, FreshEnvironment, build

if sys.version_info >= (3, 11):
    import tomllib
else:  # make's environment has Python 3.11
    pytest.skip("needs tomllib, of Python 3.11", allow_module_level=True)

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PLUGIN = ROOT / "examples/plugin_package"
MEGABYTE = 1_000_000
PACKAGES = {"coleaf_framework": "coleaf_framework", "coleaf_backbones": "backbones/coleaf_backbones"}
# Caches, and what editors, systems and runs leave behind.
LEFT_BEHIND = re.compile(
    r"__pycache__|\.py[cod]$|(^|/)\.(venv|git/|DS_Store|[a-z]*_cache|hypothesis)|(^|/)runs/|~$|\.swp$"
)
TINY = ("trainer.epochs=1", "trainer.device=cpu", "anchor.options.width=8", "data.synthetic_train=8")
TINY += ("data.synthetic_val=4", "data.synthetic_test=6")
SETTINGS = [x for setting in TINY for x in ("--set", setting)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sdist", ROOT, tmp_path_factory.mktemp("sdist"))


def members(path: Path) -> dict[str, bytes]:
    """The files of a wheel, or of an sdist without its outer folder."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    with tarfile.open(path) as archive:
        files = [member for member in archive.getmembers() if member.isfile()]
        return {file.name.partition("/")[2]: archive.extractfile(file).read() for file in files}


def sources() -> list[str]:
    """The checkout's files, less those that git ignores; skips where there is no git."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs git's list of the files")
    return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def metadata(wheel: Path) -> email.message.Message:
    (text,) = (content for name, content in members(wheel).items() if name.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(text)


def test_the_wheel_has_the_packages_files_and_nothing_else(wheel: Path) -> None:
    """Those that are no code among them: py.typed, the pages' scripts and styles, statistics."""
    expected = {
        package + name.removeprefix(folder): (ROOT / name).read_bytes()
        for package, folder in PACKAGES.items()
        for name in sources()
        if name.startswith(folder + "/")
    }
    suffixes = {Path(name).suffix for name in expected}
    assert suffixes >= {".py", ".typed", ".js", ".css", ".json"}
    info = f"coleaf_framework-{PROJECT['version']}.dist-info/"
    found = members(wheel)
    assert {name for name in found if name.startswith(info)} == {
        info + name for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    }
    assert {name: content for name, content in found.items() if not name.startswith(info)} == expected


def test_the_sdist_has_files_of_the_checkout_alone(sdist: Path) -> None:
    found = members(sdist)
    assert set(found) - {"PKG-INFO"} <= set(sources())
    for name in ("Makefile", "Dockerfile", "tests/conftest.py", "examples/quickstart.ipynb", "docs/conf.py"):
        assert name in found


def test_the_sdist_builds_the_same_wheel(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    assert members(build("wheel", source, tmp_path / "dist")) == members(wheel)


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_nothing_of_this_machine_is_shipped(kind: str, request: pytest.FixtureRequest) -> None:
    found = members(request.getfixturevalue(kind))
    assert [name for name in found if LEFT_BEHIND.search(name)] == []
    for place in (ROOT, Path.home()):
        if len(place.parts) > 1:  # a home folder "/" stands everywhere
            inside = re.compile(rb"(?<![\w./])" + re.escape(bytes(place)) + rb"/")
            assert [name for name, content in found.items() if inside.search(content)] == [], place


@pytest.mark.parametrize(("kind", "whole", "largest"), [("wheel", 2, 0.1), ("sdist", 25, 6)])
def test_they_are_small(kind: str, whole: float, largest: float, request: pytest.FixtureRequest) -> None:
    """In megabytes. The sdist has TuxAV mini, on which the examples train, and the tests' recorded answers."""
    path = request.getfixturevalue(kind)
    assert path.stat().st_size < whole * MEGABYTE
    assert [name for name, content in members(path).items() if len(content) > largest * MEGABYTE] == []


def test_the_metadata_is_that_of_pyproject(wheel: Path) -> None:
    about = metadata(wheel)
    assert (about["Name"], about["Version"]) == (PROJECT["name"], PROJECT["version"])
    assert (about["Requires-Python"], about["License-Expression"]) == (PROJECT["requires-python"], PROJECT["license"])
    assert set(about.get_all("Provides-Extra")) == set(PROJECT["optional-dependencies"])
    plain = {re.sub(r"[-_.]+", "-", line).lower() for line in about.get_all("Requires-Dist") if ";" not in line}
    assert plain == {re.sub(r"[-_.]+", "-", line).lower() for line in PROJECT["dependencies"]}


def test_every_link_of_the_readme_leads_out_of_it(wheel: Path) -> None:
    """A registry resolves no links to files of the repository."""
    about = metadata(wheel)
    assert about["Description-Content-Type"] == "text/markdown"
    text = about.get_payload()
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'\b(?:src|href)="([^"]+)"', text)
    assert targets
    assert [target for target in targets if not target.startswith(("https://", "#"))] == []
    ours = re.compile(rf"https://[a-z.]+/coleaf-framework/coleaf_framework/(?:blob/)?v{PROJECT['version']}/([^#]+)")
    named = [match[1] for target in targets if (match := ours.match(target))]
    assert "docs/results.md" in named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_all_is_every_extra_of_users() -> None:
    """Not those that only a checkout has a use for: its tests, its documentation, and both with the linters."""
    extras = PROJECT["optional-dependencies"]
    (all_of_them,) = extras["all"]
    named = re.fullmatch(r"coleaf-framework\[(.*)\]", all_of_them)[1].split(",")
    assert set(named) == set(extras) - {"all", "tests", "docs", "dev"}
    assert len(named) == len(set(named))


@pytest.fixture(scope="module")
def fresh(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> FreshEnvironment:
    """What the wheel and the extra `plot` require, pytest for the plugin's tests, the wheel, and the plugin's."""
    plot = PROJECT["optional-dependencies"]["plot"]
    environment = FreshEnvironment(tmp_path_factory.mktemp("fresh") / "env", *PROJECT["dependencies"], *plot, "pytest")
    environment.install(wheel, build("wheel", PLUGIN, tmp_path_factory.mktemp("plugin")))
    return environment


@pytest.mark.slow
def test_the_installed_wheel_works_without_the_checkout(fresh: FreshEnvironment, tmp_path: Path) -> None:
    where = "import coleaf_framework, coleaf_backbones as b; print(coleaf_framework.__file__, b.__path__[0], sep='\\n')"
    for place in fresh("python", "-c", where, cwd=tmp_path).split():
        assert Path(place).is_relative_to(fresh.site)
    assert not (fresh.site / "transformers").exists()  # of an extra, so what needs it would fail here
    assert fresh("coleaf", "--version", cwd=tmp_path) == f"coleaf-framework {PROJECT['version']}\n"
    shown = fresh("coleaf", "demo", "--synthetic", "--out", "demo", *SETTINGS, cwd=tmp_path)
    assert shown.startswith("This is synthetic LLP")
    assert "on synthetic LLP test, 6 videos" in shown
    for name in ("report.html", "timeline.png", "han-coleaf/model.safetensors"):
        assert (tmp_path / "demo" / name).stat().st_size > 1000


@pytest.mark.slow
def test_a_third_partys_plugin_is_found_trained_and_tested(fresh: FreshEnvironment, tmp_path: Path) -> None:
    """`examples/plugin_package`, which is a distribution of its own, beside the wheel."""
    listed = fresh("coleaf", "plugins", cwd=tmp_path).splitlines()
    shipped = PROJECT["entry-points"]["coleaf_framework.anchors"]
    for name, distribution in {"tinyparser": "tinyparser 1.0", **dict.fromkeys(shipped, "coleaf-framework")}.items():
        (row,) = (line for line in listed if re.match(rf"\W*{name}\b", line))
        assert distribution in row
        assert "works" in row
    fresh("coleaf", "train", "--anchor", "tinyparser", "--out", "run", *SETTINGS, cwd=tmp_path)
    assert (tmp_path / "run/model.safetensors").exists()
    fresh("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", PLUGIN / "tests", cwd=tmp_path)
