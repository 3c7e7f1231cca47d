"""The command that parses media files with a trained run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from coleaf_framework._text import counted, one_line, say
from coleaf_framework.cli.extracting import seconds_bar
from coleaf_framework.cli.importing import importing
from coleaf_framework.cli.options import Decision, DeclarationFile, Features, RunDevice, Trust, Weights

if TYPE_CHECKING:
    from coleaf_framework.results.parsed_video import ParsedVideo

NO_RUN = (
    "--run: which trained network? `make demo`, or `coleaf demo --data examples/tuxav_mini`, trains one in a few "
    "minutes, for --run runs/demo/han-coleaf; `coleaf extract` makes a data folder of your own videos, and "
    "`coleaf train --data FOLDER --out RUN` a run of it"
)


def parse(
    videos: Annotated[list[Path], typer.Argument(help="media files")],
    run: Annotated[Path | None, typer.Option(help="run folder, or user/name on the Hugging Face Hub")] = None,
    json_: Annotated[
        Path | None,
        typer.Option("--json", help="file for the events; VIDEO.events.json here, or events.json of several"),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="page with the videos beside their timelines")] = None,
    embed: Annotated[bool, typer.Option("--embed", help="put the videos into the page, instead of links")] = False,
    features: Features = None,
    weights: Weights = None,
    decision: Decision = None,
    jobs: Annotated[int, typer.Option(min=1, help="processes that extract features")] = 1,
    device: RunDevice = None,
    trust: Trust = False,
    anchor: DeclarationFile = None,
) -> None:
    """Find the events of videos: class, heard, seen or both, from, to, confidence."""
    if run is None:
        raise ValueError(NO_RUN)
    with importing():
        from coleaf_framework.extraction.naming import renamed_notes
        from coleaf_framework.parsing import VideoParser
        from coleaf_framework.results.events_file import MEDIA_FILES, write_events
        from coleaf_framework.storage import require_file

    if embed and html is None:
        raise ValueError("--embed: puts videos into the page, so give --html PAGE too")
    json_ = json_ or Path(f"{videos[0].stem}.events.json" if len(videos) == 1 else "events.json")
    _require_new_places({"--json": json_, "--html": html}, videos)
    for path in videos:
        require_file(path)
    parser = VideoParser(
        run, features=features, weights=weights, decision=decision, device=device, trust=trust, declaration=anchor
    )
    with seconds_bar(videos) as progress:
        parsed, failed = parser.parse(videos, jobs=jobs, progress=progress)
    for answer in parsed:
        _show(answer)
    for path, why in failed.items():
        say(f"FAILED: {why if str(path) in why else f'{path}: {why}'}", sys.stderr)
    if parsed:
        renamed = renamed_notes({video.file: video.id for video in parsed})
        notes = tuple(dict.fromkeys((*renamed, *(note for video in parsed for note in video.notes))))
        for note in notes:
            say(f"NOTE: {note}", sys.stderr)
        write_events(json_, parsed[0].parser, MEDIA_FILES, "test", [v.as_video_events() for v in parsed], notes)
        events = sum(len(v.events()) for v in parsed)
        say(f"{counted(events, 'event')} in {counted(len(parsed), 'video')}; {json_}")
    if html is not None and parsed:
        write_page(html, parsed, embed=embed)
        say(f"page {html}")
    if failed:
        raise ValueError(f"{len(failed)} of {len(videos)} videos could not be read")


def _require_new_places(places: Mapping[str, Path | None], videos: Sequence[Path]) -> None:
    """Check that no place of a result is a media file, as after `--html *.mp4`, or that of another result."""
    from coleaf_framework.extraction.finding import ENDINGS
    from coleaf_framework.storage import require_place

    taken = {video.resolve(): "one of the videos" for video in videos}
    for option, place in places.items():
        if place is None:
            continue
        require_place(place, option)
        held = "the name of a media file" if place.suffix.lower() in ENDINGS else taken.get(place.resolve())
        if held is not None:
            raise ValueError(f"{option} {place}: is {held}, which would be replaced: give a file for the result")
        taken[place.resolve()] = f"the file of {option}"


def _show(video: ParsedVideo) -> None:
    """Print the events of a video as a table."""
    from coleaf_framework.report.player import PERCEIVED

    table = Table(
        "event", "is", "from", "to", "confidence", title=Text(one_line(video.file.name)), title_justify="left"
    )
    for event in video.events():
        seconds = (f"{second:g} s" for second in (event.onset, event.offset))
        table.add_row(Text(one_line(event.label)), PERCEIVED[event.modality], *seconds, f"{event.confidence:.4f}")
    Console().print(table if table.rows else Text(f"{one_line(video.file.name)}: no events"))


def write_page(page: Path, videos: Sequence[ParsedVideo], *, embed: bool) -> None:
    """Write the page of parsed videos, which links to the files or holds them.

    Raises:
        ValueError: A file is too large to be embedded.
    """
    from coleaf_framework.report.player import embedded, linked, make_player
    from coleaf_framework.storage import write_text

    source: Callable[[Path], str] = embedded if embed else lambda file: linked(file, page)
    sources = {video.id: source(video.file) for video in videos}
    title = videos[0].file.name if len(videos) == 1 else f"{len(videos)} videos"
    write_text(page, make_player(title, videos, sources))
