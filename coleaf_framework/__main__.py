"""The command `coleaf`, which `python -m coleaf_framework` is too."""

from __future__ import annotations

import os
import signal


def main() -> None:
    """Run the command line; Ctrl-C ends it in a sentence from the start, while PyTorch is still being imported."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # otherwise whoever started this process has it ignored
        signal.signal(signal.SIGINT, _end_at_once)
    from coleaf_framework._text import end_interrupted
    from coleaf_framework.cli.main import main as run

    signal.signal(signal.SIGINT, before)
    try:
        run()
    except KeyboardInterrupt as stopped:
        end_interrupted(stopped)


def _end_at_once(*_: object) -> None:
    """No KeyboardInterrupt, which a module may catch or turn into a failed import; nothing is to be saved yet."""
    os.write(2, b"coleaf: interrupted\n")
    os._exit(130)


if __name__ == "__main__":
    main()
