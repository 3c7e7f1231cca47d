"""What `coleaf inspect` proposes for random networks and for published-style networks with a trap, held to the truth.

python -m benchmarks.bench_inspect [--networks N] [--first SEED] [--traps-only] [--markdown]

"right": every field is as a careful reader would declare it. "rightly open": a field that nothing decides is left
open. "absent": no field is wrong, but something that can be seen was not. "wrong": a field of the proposal is not the
network's. Exits with 1 if any is wrong. `--markdown` prints the tables for docs/wrapping.md.
"""

from __future__ import annotations

import argparse
import logging
import re
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from rich.console import Console
from rich.table import Table

from tests.helpers.judging import FIELDS, Case, Judgement, judge
from tests.helpers.published_traps import TRAPS
from tests.helpers.random_networks import random_network

VERDICTS = ("right", "absent", "wrong")
Judged = list[tuple[Case, Judgement, float]]


def judged(cases: Iterable[Case]) -> Judged:
    """Each case with its judgement and the seconds that it took."""
    results = []
    for case in cases:
        torch.manual_seed(0)
        start = time.perf_counter()
        judgement = judge(case)
        results.append((case, judgement, time.perf_counter() - start))
    return results


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], markdown: bool) -> None:
    """Print a table, as Markdown if asked for."""
    if markdown:
        lines = [columns, ["---"] * len(columns), *rows]
        print(
            f"\n{title}\n\n"
            + "\n".join("| " + " | ".join(x.replace("|", "\\|") for x in line) + " |" for line in lines)
        )
        return
    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    Console(width=160).print(table)


def verdict_of(judgement: Judgement, field: str) -> str:
    """A field's verdict, where silence about what nothing decides is told from a right proposal."""
    verdict = judgement.verdicts[field]
    return "rightly open" if field in judgement.truth.undecided and verdict == "right" else verdict


def show_counts(results: Judged, title: str, markdown: bool) -> None:
    """How often each field, and each network as a whole, is right, absent or wrong."""
    rows = []
    for field in FIELDS:
        counts = Counter(verdict_of(judgement, field) for _, judgement, _ in results)
        rows.append([field, *(str(counts[x]) for x in (*VERDICTS, "rightly open"))])
    whole = Counter(
        "rightly open" if judgement.verdict == "right" and judgement.truth.undecided else judgement.verdict
        for _, judgement, _ in results
    )
    rows.append(["whole network", *(str(whole[x]) for x in (*VERDICTS, "rightly open"))])
    seconds = sorted(s for *_, s in results)
    timing = f"{seconds[len(seconds) // 2]:.2f} s each (median), {seconds[-1]:.2f} s at most"
    show(f"{title}, {timing}", ["field", *VERDICTS, "rightly open"], rows, markdown)


def show_traps(results: Judged, markdown: bool) -> None:
    """Each published-style network: the verdict of the network and of each field, and the seconds."""
    rows = []
    for case, judgement, seconds in results:
        fields = ["as it must" if case.raises else verdict_of(judgement, field) for field in FIELDS]
        verdict = judgement.verdict if case.raises is None else told(case, judgement)
        rows.append([case.name, case.about, *fields, verdict, f"{seconds:.1f}"])
    show("Look-alikes", ["network", "trap", *FIELDS, "network", "seconds"], rows, markdown)


def told(case: Case, judgement: Judgement) -> str:
    """For a network that cannot run: whether the error says what it must."""
    return "right" if re.search(case.raises or "", judgement.problem or "") else "absent"


def main() -> int:
    """Judge, print, and say by the exit status whether all proposals were true."""
    parser = argparse.ArgumentParser(description="Holds what `coleaf inspect` proposes to the truth.")
    parser.add_argument("--networks", type=int, default=200, help="number of random networks")
    parser.add_argument("--first", type=int, default=0, help="seed of the first one")
    parser.add_argument("--traps-only", action="store_true", help="no random networks")
    parser.add_argument("--markdown", action="store_true", help="tables in Markdown")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")

    traps = judged(TRAPS.values())
    show_traps(traps, options.markdown)
    show_counts(traps, f"{len(traps)} published-style networks", options.markdown)
    everything = traps
    if not options.traps_only and options.networks > 0:
        seeds = range(options.first, options.first + options.networks)
        results = judged(random_network(seed).case() for seed in seeds)
        show_counts(results, f"{len(results)} random networks", options.markdown)
        everything = traps + results
    wrong = [(case, judgement) for case, judgement, _ in everything if judgement.verdict == "wrong"]
    if wrong and not options.markdown:
        print("\n".join(judgement.explain(case.name) for case, judgement in wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
