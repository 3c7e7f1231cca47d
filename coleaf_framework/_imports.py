"""Import code by "module:Class" or "module:function", from the current folder or an installed package."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from coleaf_framework._config import nearest, shown


def import_network(text: str) -> Callable[..., Any]:
    """The class, or the function that makes a network, named by "module:Class" or "module:function".

    Raises:
        ValueError: as `import_object`; or it is neither a class of networks nor a function (names the closest match).
    """
    module, network = import_object(text)
    if isinstance(network, nn.Module):
        raise ValueError(f"{text}: is a network that is made already: name its class, or a function that makes it")
    is_class = isinstance(network, type) and issubclass(network, nn.Module)
    if not (is_class or (callable(network) and not isinstance(network, type))):
        name = text.partition(":")[2]
        known = [key for key, x in vars(module).items() if isinstance(x, type) and issubclass(x, nn.Module)]
        known += [key for key, x in vars(module).items() if inspect.isfunction(x)]
        raise ValueError(f"{text}: {module.__name__} has no torch.nn.Module {name!r}.{nearest(name, known)}")
    made: Callable[..., Any] = network
    return made


def import_function(text: str, what: str) -> Callable[..., Any]:
    """The function named by "module:function", as an adapter or a loss is.

    Args:
        text: its name.
        what: what it is for, which begins the message.

    Raises:
        ValueError: as `import_object`; or it is no function (names the closest match).
    """
    if not isinstance(text, str) or not all(text.partition(":")):
        raise ValueError(f"{what} is {shown(text)}, where module:function was expected")
    module, function = import_object(text)
    if not callable(function) or isinstance(function, type):
        name = text.partition(":")[2]
        known = [key for key, x in vars(module).items() if inspect.isfunction(x)]
        raise ValueError(f"{what} {text}: {module.__name__} has no function {name!r}.{nearest(name, known)}")
    found: Callable[..., Any] = function
    return found


def loaded_function(text: str) -> object | None:
    """The function that "module:function" names, if its module is loaded; None for anything else. Imports nothing."""
    module, _, name = text.partition(":")
    found = getattr(sys.modules.get(module), name, None) if name else None
    return found if inspect.isfunction(found) else None


def import_object(text: str) -> tuple[ModuleType, Any]:
    """The module of "module:name", and what it holds under that name; None where it holds nothing.

    The module is one of an installed package or the current folder, which is added at the end of the Python path, so
    that its files do not shadow installed modules.

    Raises:
        ValueError: no such module, or another module of that name hides the one in the current folder.
    """
    module_name, _, name = text.partition(":")
    if module_name.endswith(".py"):
        raise ValueError(f"{text}: write the module, not its file: {module_name.removesuffix('.py')}:{name}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as problem:  # a user's module may raise anything on import
        raise ValueError(f"{text}: {module_name!r} does not import: {type(problem).__name__}: {problem}") from problem
    _require_not_hidden(text, module_name.partition(".")[0])
    return module, getattr(module, name, None)


def importable_name(thing: object) -> str | None:
    """ "module:name" of a class or function by which it can be imported again; None for a local one or `__main__`'s."""
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if module in (None, "__main__") or not isinstance(name, str):
        return None
    return f"{module}:{name}" if getattr(sys.modules.get(module), name, None) is thing else None


def _require_not_hidden(text: str, top: str) -> None:
    """Check that no other module of the same name hides the one in the current folder."""
    here = next((path for path in (Path.cwd() / f"{top}.py", Path.cwd() / top / "__init__.py") if path.is_file()), None)
    loaded = getattr(sys.modules.get(top), "__file__", None)
    if here is not None and isinstance(loaded, str) and Path(loaded).resolve() != here.resolve():
        raise ValueError(f"{text}: {top!r} is {loaded}, not {here}, which has the same name: rename that file")
