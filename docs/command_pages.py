"""Writes a page per command, docs/commands/*.md, and docs/commands.md: `python docs/command_pages.py`."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from typer.testing import CliRunner

from coleaf_framework.cli.main import COMMANDS, app

DOCS = Path(__file__).resolve().parent
COLUMNS = 88  # what fits beside the sidebars
REST = "Further commands"


class About(NamedTuple):
    """What a command's own help does not say: its group, a command line that shows it, and pages with more."""

    group: str
    example: str
    pages: tuple[str, ...]


TRY, NETWORK, TRAIN, SCORE = "First steps", "Your network", "Train and deploy", "Score and look"
COMPARE, VIDEO, DATA, LABELS = "Compare", "Own videos", "Data", "Labels"
ABOUT: Mapping[str, About] = {
    "demo": About(
        TRY, "coleaf demo --data examples/tuxav_mini --video examples/clips/tuxva000000.mp4", ("tutorial", "gallery")
    ),
    "inspect": About(NETWORK, "coleaf inspect mypackage:MyNet --data data/llp --write wrap.yaml", ("wrapping",)),
    "plugins": About(NETWORK, "coleaf plugins", ("plugins", "anchors")),
    "import": About(NETWORK, "coleaf import best.pt --as cmpae --out runs/published", ("anchors", "recipes")),
    "train": About(
        TRAIN,
        "coleaf train --data data/llp --anchor han --out runs/han\n"
        "coleaf train --data data/llp --anchor han --set coleaf.enabled=false --out runs/han-alone",
        ("recipes", "configuration", "tracking", "gpu", "scaling"),
    ),
    "push": About(TRAIN, "coleaf push runs/han user/name --license cc-by-4.0", ("hub",)),
    "export": About(TRAIN, "coleaf export runs/han --onnx han.onnx", ("deploy",)),
    "evaluate": About(
        SCORE,
        "coleaf evaluate runs/han runs/han-alone --data data/llp --split test\n"
        "coleaf evaluate answers.json --data data/llp",
        ("scoring", "metrics", "published_columns"),
    ),
    "predict": About(
        SCORE, "coleaf predict runs/han --data data/llp --split test --out predictions.json", ("metrics", "extraction")
    ),
    "plot": About(SCORE, "coleaf plot predictions.json --video 4YdbENYcIyE", ("gallery",)),
    "thresholds": About(
        SCORE,
        "coleaf thresholds runs/cmpae --data data/llp --split val\n"
        "coleaf evaluate runs/cmpae --data data/llp --split test --decision runs/cmpae/decision.yaml",
        ("metrics",),
    ),
    "report": About(
        SCORE, "coleaf report runs/llp/han-alone-seed* runs/llp/han-coleaf-seed*", ("comparing", "gallery")
    ),
    "compare": About(
        COMPARE,
        "coleaf compare --anchors han,mypackage:MyNet --data data/llp --seeds 5 --out runs/llp",
        ("comparing", "clusters"),
    ),
    "ablate": About(
        COMPARE, "coleaf ablate --table 2 --anchors cmpae --data data/llp --out runs/llp", ("comparing", "results")
    ),
    "rates": About(
        COMPARE, "coleaf rates --anchors han,cmpae --data data/llp --out runs/llp", ("comparing", "results")
    ),
    "flops": About(COMPARE, "coleaf flops --anchor han", ("comparing", "results")),
    "leaderboard": About(
        COMPARE,
        "coleaf compare --anchors all --data data/llp --out runs/all\ncoleaf leaderboard runs/all",
        ("comparing", "anchors"),
    ),
    "parse": About(VIDEO, "coleaf parse holiday.mp4 --run runs/demo/han-coleaf --html page.html", ("parsing", "video")),
    "extract": About(VIDEO, "coleaf extract videos/ --features tiny --out data/own", ("extraction",)),
    "serve": About(VIDEO, "coleaf serve --run runs/demo/han-coleaf", ("serving",)),
    "check-data": About(DATA, "coleaf check-data data/llp", ("datasets", "data")),
    "pack": About(DATA, "coleaf pack data/llp --out data/packed --average-frames", ("data",)),
    "synth": About(DATA, "coleaf synth --annotations annotations --out data/synthetic", ("synthetic",)),
    "check-labels": About(LABELS, "coleaf check-labels data/llp --labels valor=data/valor --split val", ("labels",)),
    "convert-labels": About(LABELS, "coleaf convert-labels need_to_change.pkl --out data/ma", ("labels",)),
    "pseudo-label": About(
        LABELS,
        "coleaf pseudo-label data/llp --teacher clip --frames data/llp/frames --out labels",
        ("making_labels",),
    ),
    "remove-labels": About(LABELS, "coleaf remove-labels runs/ma --out removed.json", ("making_labels",)),
    "noise-ratios": About(LABELS, "coleaf noise-ratios runs/jomold --out ratios.npz", ("making_labels",)),
}
GROUPS = (TRY, NETWORK, TRAIN, SCORE, COMPARE, VIDEO, DATA, LABELS, REST)


def about(name: str) -> About:
    """Of a command that ABOUT does not have, its help is all that its page shows."""
    return ABOUT.get(name, About(REST, "", ()))


def sentence(name: str) -> str:
    """The first paragraph of a command's help, on one line."""
    return " ".join((COMMANDS[name].__doc__ or "").strip().split("\n\n")[0].split())


def help_text(name: str) -> str:
    """What `coleaf NAME --help` prints on a terminal of COLUMNS columns without colour."""
    terminal = {"COLUMNS": str(COLUMNS), "TERMINAL_WIDTH": str(COLUMNS), "NO_COLOR": "1", "TERM": "dumb"}
    ran = CliRunner().invoke(app, [name, "--help"], prog_name="coleaf", env=terminal)
    if ran.exit_code:
        raise RuntimeError(f"coleaf {name} --help ended with exit code {ran.exit_code}: {ran.output}")
    return "\n".join(line.rstrip() for line in ran.output.strip("\n").splitlines()).strip("\n")


def page(name: str) -> str:
    """The page of a command, as Markdown."""
    _, example, pages = about(name)
    lines = [f"# coleaf {name}", "", *_wrapped(sentence(name))]
    if example:
        lines += ["", "```sh", example, "```"]
    if pages:
        lines += ["", *_wrapped("More: " + " · ".join(f"[{title(stem)}](../{stem}.md)" for stem in pages))]
    return "\n".join([*lines, "", "```", help_text(name), "```", ""])


def overview() -> str:
    """docs/commands.md: every command by its task."""
    lines = [
        "# Commands",
        "",
        "`coleaf COMMAND --help` says what a command takes. A mistake ends in one sentence and exit code",
        "1; `coleaf --debug COMMAND ...` shows where it comes from. By task:",
    ]
    for group in GROUPS:
        names = [name for name in COMMANDS if about(name).group == group]
        if names:
            lines += ["", f"## {group}", "", "| command | what it does |", "|---|---|"]
            lines += [f"| [{name}](commands/{name}.md) | {sentence(name)} |" for name in names]
    inside = [f"commands/{name}" for group in GROUPS for name in COMMANDS if about(name).group == group]
    return "\n".join([*lines, "", "```{toctree}", ":hidden:", "", *inside, "```", ""])


def title(stem: str) -> str:
    """The title of one of the pages in docs."""
    return (DOCS / f"{stem}.md").read_text().split("\n", 1)[0].removeprefix("# ")


def pages() -> dict[str, str]:
    """Every page by its path in docs."""
    return {"commands.md": overview(), **{f"commands/{name}.md": page(name) for name in COMMANDS}}


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 100, break_on_hyphens=False, break_long_words=False)


if __name__ == "__main__":
    (DOCS / "commands").mkdir(exist_ok=True)
    for old in (DOCS / "commands").glob("*.md"):
        old.unlink()
    for path, text in pages().items():
        (DOCS / path).write_text(text)
    sys.stdout.write(f"{len(COMMANDS)} commands\n")
