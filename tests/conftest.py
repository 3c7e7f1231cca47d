"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

# Small tensors gain nothing from threads, and on a busy machine threads that wait for each other take minutes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import settings

from coleaf_framework.training.interrupts import STOPPING
from tests.helpers.command import Command
from tests.helpers.data import write_data_set
from tests.helpers.hub import StandIn, stand_in

settings.register_profile("no timing asserts", deadline=None)
settings.load_profile("no timing asserts")
SHARED = Path(os.environ.get("COLEAF_TEST_DATA", Path(__file__).resolve().parents[2] / "shared"))


def _shared(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"needs the development data {name!r}, which is not part of the package")
    return path


@pytest.fixture
def parity() -> Path:
    """Recorded answers of the published networks and metrics, which every clone has."""
    return Path(__file__).parent / "data" / "parity"


@pytest.fixture
def zoo(parity: Path) -> Path:
    """Recorded answers of the other systems of the paper's tables, which every clone has."""
    return parity / "zoo"


@pytest.fixture
def published_llp() -> Path:
    """LLP's published annotations."""
    return _shared("llp")


@pytest.fixture
def published_ave() -> Path:
    """AVE's published annotations."""
    return _shared("datasets/ave")


@pytest.fixture
def published_lfav() -> Path:
    """LFAV's published annotations."""
    return _shared("datasets/lfav")


@pytest.fixture
def published_unav() -> Path:
    """UnAV-100's published annotations."""
    return _shared("datasets/unav100")


@pytest.fixture
def tuxav() -> Path:
    """TuxAV, a small data set of real features."""
    return _shared("tuxav")


@pytest.fixture
def eight_clips() -> Path:
    """Eight real clips, with features that were recorded of them."""
    return _shared("video")


@pytest.fixture
def pseudo_label_files() -> Path:
    """Samples of pseudo-labels in their published formats, and real ones as numbers."""
    return _shared("datasets/pseudo_labels")


@pytest.fixture
def procedures() -> Path:
    """Recorded answers of the published procedures that remove labels."""
    return _shared("parity/zoo/procedures.npz")


@pytest.fixture
def published_noise_ratios() -> Path:
    """JoMoLD's noise ratios of LLP."""
    return _shared("datasets/pseudo_labels/real/jomold_noise_ratios.npz")


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    """A tiny data set in LLP's layout: 3 classes, 6 training, 3 validation and 3 test videos."""
    return write_data_set(tmp_path / "tiny")


@pytest.fixture
def coleaf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(tmp_path, monkeypatch, capsys)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A stand-in for the Hugging Face Hub, which huggingface_hub talks to; nothing else can be reached."""
    pytest.importorskip("huggingface_hub", reason="needs the extra `hub`")
    with stand_in(tmp_path / "hub-cache", monkeypatch) as running:
        yield running


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _signals_as_they_were() -> Iterator[None]:
    """A command that is told to stop ignores further signals, since its process ends; here it does not."""
    before = {number: signal.getsignal(number) for number in STOPPING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
