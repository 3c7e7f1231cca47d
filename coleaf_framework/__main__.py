"""The command `coleaf`, which `python -m coleaf_framework` is too."""

from __future__ import annotations

from coleaf_framework.cli.importing import importing


def main() -> None:
    """Run the command line; Ctrl-C ends it in a sentence from the start."""
    with importing():
        from coleaf_framework._text import end_interrupted
        from coleaf_framework.cli.main import main as run

    try:
        run()
    except KeyboardInterrupt as stopped:
        end_interrupted(stopped)


if __name__ == "__main__":
    main()
