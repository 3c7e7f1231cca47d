"""Calls that torch.compile leaves alone. Imported only once PyTorch's compiler is, whose import takes a second."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

Arguments = ParamSpec("Arguments")
Returned = TypeVar("Returned")


@torch.compiler.disable  # type: ignore[untyped-decorator]
def run_uncompiled(
    function: Callable[Arguments, Returned], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Returned:
    """Call a function as it is, also from within a compiled module."""
    return function(*args, **kwargs)
