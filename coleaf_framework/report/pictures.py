"""Figures of a video's timeline and of loss curves, and writing of figures. Needs matplotlib, the extra `plot`.

`timeline` and `loss_curves` return a figure; `save` writes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from coleaf_framework._text import one_line
from coleaf_framework.metrics import Event
from coleaf_framework.storage import write_atomically

# Okabe and Ito's palette, which colour-blind readers can distinguish, also in print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
_ROWS = (("audio", ("audible-only", "audible-visible")), ("visual", ("visible-only", "audible-visible")))
_TICKS = 30  # up to this many seconds, each gets a tick on the time axis


def pyplot() -> Any:
    """matplotlib's pyplot, with the backend "Agg", which opens no windows.

    Raises:
        ImportError: matplotlib is not installed; says how to install it.
    """
    try:
        import matplotlib
    except ImportError as problem:
        raise ImportError("pictures need matplotlib: pip install 'coleaf-framework[plot]'") from problem
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams["text.parse_math"] = False  # names may contain dollar signs
    return plt


def save(figure: Any, path: Path) -> None:
    """Write a figure, atomically, and close it; texts in an SVG stay text.

    Args:
        figure: from a function of this module or of `figures`.
        path: the file, whose suffix gives the format (png, svg, pdf); PNG without one.

    Raises:
        ValueError: matplotlib cannot write this format; lists the supported ones.
    """
    plt = pyplot()
    kind = path.suffix[1:].lower() or "png"
    known = sorted(figure.canvas.get_supported_filetypes())
    if kind not in known:
        raise ValueError(f"{path}: pictures cannot be written as {path.suffix!r}; known are {', '.join(known)}")
    try:
        with plt.rc_context({"svg.fonttype": "none"}):
            write_atomically(path, lambda file: figure.savefig(file, dpi=150, format=kind))
    finally:
        plt.close(figure)


def timeline(parsers: Mapping[str, Sequence[Event]], seconds: float, title: str) -> Any:
    """Events of one video as bars over time, with an audio and a visual row per parser (as in the paper's Fig. 3).

    Args:
        parsers: name of a parser, or "ground truth" -> its events.
        seconds: length of the video.
        title: heading of the figure.
    """
    plt = pyplot()
    labels = sorted({event.label for events in parsers.values() for event in events})
    colour = {label: COLOURS[i % len(COLOURS)] for i, label in enumerate(labels)}
    rows = [(name, row, kinds, events) for name, events in parsers.items() for row, kinds in _ROWS]
    height = max(1.2 + 0.5 * len(rows), 0.8 + 0.22 * len(labels))  # the height of the bars or of the legend
    figure, axes = plt.subplots(figsize=(10, height), layout="constrained")
    for y, (_, _, kinds, events) in enumerate(rows):
        active = sorted({event.label for event in events if event.modality in kinds})
        for event in events:
            if event.modality not in kinds:
                continue
            lane = 0.8 / len(active)  # one lane per class, since events of different classes may overlap
            top = y - 0.4 + lane * active.index(event.label)
            axes.barh(
                top + lane / 2,
                event.offset - event.onset,
                left=event.onset,
                height=0.9 * lane,
                color=colour[event.label],
            )
        if y % 2 == 0 and y:
            axes.axhline(y - 0.5, color="0.6", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [f"{one_line(name)}, {row}" for name, row, _, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, seconds)
    axes.set_xticks(range(0, int(seconds) + 1, max(1, int(seconds) // _TICKS)))
    axes.set_xlabel("seconds")
    axes.set_title(one_line(title), loc="left", fontsize=10)
    axes.grid(axis="x", color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    handles = [plt.Rectangle((0, 0), 1, 1, color=colour[label]) for label in labels]
    if handles:
        axes.legend(
            handles,
            list(map(one_line, labels)),
            loc="center left",
            bbox_to_anchor=(1.01, 0.5),
            frameon=False,
            fontsize=9,
        )
    return figure


def loss_curves(histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> Any:
    """Each loss term over the epochs, one panel per run and branch.

    Args:
        histories: name of a run -> its epochs, as `CoLeaFTrainer.fit` returns them.
    """
    plt = pyplot()
    panels: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for run, history in histories.items():
        for entry in history:
            for name, value in entry["losses"].items():
                branch, _, term = name.partition("/")
                curves = panels.setdefault(f"{run}: {branch}", {})
                curves.setdefault(term, []).append((entry["epoch"], value))
    across = min(len(panels), 3)
    down = -(-len(panels) // across)
    figure, axes = plt.subplots(down, across, figsize=(4.2 * across, 3.4 * down), layout="constrained", squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, (title, curves) in zip(axes.flat, panels.items(), strict=False):
        for i, (term, points) in enumerate(curves.items()):
            axis.plot(*zip(*points, strict=True), label=one_line(term), color=COLOURS[i % len(COLOURS)], marker=".")
        axis.set_title(one_line(title), loc="left", fontsize=10)
        axis.set_xlabel("epoch")
        axis.legend(frameon=False, fontsize=8)
        axis.grid(color="0.9", linewidth=0.6)
    for row in axes:
        row[0].set_ylabel("loss")
    return figure
