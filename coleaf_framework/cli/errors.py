"""How a command that fails says so: in one sentence on standard error, with exit code 1."""

from __future__ import annotations

import errno
import os
import sys
from typing import NoReturn

from coleaf_framework._text import say
from coleaf_framework.cli.importing import importing


def end_failed(problem: Exception) -> NoReturn:
    """Say what went wrong and leave.

    A user's mistake is a ValueError, an OSError, an ImportError or a FloatingPointError, whose text is the sentence.
    Anything else is a fault in somebody's code: its type is said too, and how to see where it came from.
    """
    if isinstance(problem, RuntimeError | MemoryError):
        problem = _explained(problem)
    text = _sentence(problem)
    if not isinstance(problem, ValueError | OSError | ImportError | FloatingPointError):
        first_line = text.partition("\n")[0]  # PyTorch goes on with addresses of its own code
        text = f"{type(problem).__name__}: {first_line}"
        say("(`coleaf --debug ...` shows where this came from)", sys.stderr)
    if os.strerror(errno.EMFILE) in text:
        text += ": raise the limit, as by `ulimit -n 4096`"
    say(f"coleaf: {text}", sys.stderr)
    sys.exit(1)


def _explained(problem: Exception) -> Exception:
    """An error that says what it means to the user, for errors of PyTorch that do not."""
    with importing():
        from coleaf_framework._config import out_of_memory
        from coleaf_framework.training.distributed import lost_contact

    if lost_contact(problem):
        return ConnectionError("stopped, since another rank has gone, whose own message tells why")
    if out_of_memory(problem):
        text = str(problem).splitlines()[0]
        return OSError(
            f"there is not enough memory for this: {text}; a smaller network, a smaller trainer.batch_size, or a "
            "larger trainer.accumulate takes less"
        )
    return problem


def _sentence(problem: Exception) -> str:
    """An error's text. Errors of the operating system are put as the others are, the file first."""
    if isinstance(problem, OSError) and problem.errno is not None:
        return f"{problem.filename}: {problem.strerror}" if problem.filename is not None else str(problem.strerror)
    return str(problem)
