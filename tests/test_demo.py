"""The demo shows what it promises; here at a tiny size."""

from __future__ import annotations

from pathlib import Path

from coleaf_framework import CoLeaF
from coleaf_framework.demo import run_demo

TINY = (
    "data.synthetic_train=8",
    "data.synthetic_val=4",
    "data.synthetic_test=6",
    "trainer.epochs=1",
    "trainer.device=cpu",
    "anchor.options.width=8",
)


def test_the_demo_ends_with_table_checkpoint_and_pictures(tmp_path: Path) -> None:
    for _ in range(2):  # a second demo replaces the first
        shown = run_demo(tmp_path / "demo", TINY)
    for row in ("HAN ", "HAN in CoLeaF", "empty parser", "video-label parser", "no real data"):
        assert row in shown
    for picture in ("timeline.png", "losses.png"):
        assert str(tmp_path / "demo" / picture) in shown
        assert (tmp_path / "demo" / picture).stat().st_size > 5000
    assert "Conclusion, in support/segment/Type@AVo on synthetic LLP test, 6 videos: HAN in CoLeaF less HAN: " in shown
    assert "synthetic LLP test" in (tmp_path / "demo/report.html").read_text()
    assert CoLeaF.load(tmp_path / "demo/han-coleaf").reference is not None
