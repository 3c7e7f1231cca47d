"""Find and create Anchors and References by name, through Python entry points.

A plugin is a class in any installed distribution, declared in its pyproject.toml:

    [project.entry-points."coleaf_framework.anchors"]
    mynet = "mypackage.networks:MyNet"

"mypackage.networks:MyNet" works as a name too, for a class, or a function that makes the network, in the current folder
or on the Python path.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import entrypoints
from torch import nn

from coleaf_framework._config import WrongTypeError, nearest, reason, shown, with_namespaces

GROUPS = {"anchor": "coleaf_framework.anchors", "reference": "coleaf_framework.references"}


@dataclass(frozen=True)
class Plugin:
    """One declared plugin.

    Args:
        kind: "anchor" or "reference".
        name: the plugin's name, as in `wrap("han")`.
        target: "module:Class".
        distribution: the distribution that declares it, with its version.
        error: why the import fails; None where it works or was not tried.
    """

    kind: str
    name: str
    target: str
    distribution: str
    error: str | None = None


def _declared(kind: str) -> list[tuple[Plugin, entrypoints.EntryPoint]]:
    plugins = {}
    for entry in entrypoints.get_group_all(GROUPS[kind]):
        distro = "unknown distribution"
        if entry.distro:  # the metadata folder has underscores in the name, pip shows hyphens
            distro = f"{entry.distro.name.replace('_', '-')} {entry.distro.version}"
        plugin = Plugin(kind, entry.name, f"{entry.module_name}:{entry.object_name}", distro)
        plugins[plugin] = entry  # the same distribution twice on the path counts once
    return sorted(plugins.items(), key=lambda pair: (pair[0].name, pair[0].distribution))


def list_plugins(kind: str) -> list[Plugin]:
    """Every declared plugin of a kind ("anchor" or "reference"), each imported to see whether it works.

    Plugins that share a name are all listed, each with an error that says so.
    """
    declared = _declared(kind)
    names = [plugin.name for plugin, _ in declared]
    checked = []
    for plugin, entry in declared:
        error = None
        if names.count(plugin.name) > 1:
            error = f"name declared {names.count(plugin.name)} times; it cannot be used"
        else:
            try:
                entry.load()
            except Exception as problem:  # a broken plugin breaks only itself
                error = f"{type(problem).__name__}: {problem}"
        checked.append(Plugin(kind, plugin.name, plugin.target, plugin.distribution, error))
    return checked


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


def find_plugin(kind: str, name: str) -> Any:
    """The class or function of a plugin ("anchor" or "reference"), or of "module:Class" or "module:function".

    Raises:
        ValueError, ImportError: as `create_anchor` does.
    """
    if not isinstance(name, str):
        raise WrongTypeError(f"{kind} {shown(name)}: expected the name of a plugin, or module:Class")
    if ":" in name:
        return import_network(name)
    declared = _declared(kind)
    named = [(plugin, entry) for plugin, entry in declared if plugin.name == name]
    if not named:
        known = sorted({plugin.name for plugin, _ in declared})
        raise ValueError(
            f"no {kind} is called {name!r}.{nearest(name, known)} "
            f"Known {kind}s: {', '.join(known) or 'none (is the distribution installed?)'}"
        )
    if len(named) > 1:
        owners = " and ".join(f"{plugin.distribution} ({plugin.target})" for plugin, _ in named)
        raise ValueError(f"{kind} {name!r} is declared by {owners}: uninstall one of them")
    plugin, entry = named[0]
    try:
        return entry.load()
    except Exception as problem:
        raise ImportError(
            f"{kind} {name!r} ({plugin.target}, from {plugin.distribution}) does not import: "
            f"{type(problem).__name__}: {problem}"
        ) from problem


def _create(kind: str, name: str, kwargs: dict[str, Any]) -> nn.Module:
    made = construct(find_plugin(kind, name), kwargs, f"{kind} {name!r}")
    require_network(made, f"{kind} {name!r}")
    return made  # type: ignore[no-any-return]


def require_network(made: Any, what: str) -> None:
    """Check that a constructor returned a callable `torch.nn.Module`.

    Raises:
        TypeError: it did not; the message begins with `what`.
    """
    if not isinstance(made, nn.Module):
        raise WrongTypeError(f"{what} made a {type(made).__name__}, not a torch.nn.Module")
    if "_parameters" not in vars(made):
        raise WrongTypeError(f"{what} does not call super().__init__() in its constructor")
    if not callable(made.forward):
        raise WrongTypeError(f"{what} has the value {shown(made.forward)} where its method forward was expected")


def construct(factory: Callable[..., Any], kwargs: Mapping[str, Any], what: str) -> Any:
    """`factory(**kwargs)`, with error messages that begin with `what`; `{"namespace": {...}}` becomes a Namespace.

    Raises:
        TypeError: as `require_arguments`.
        ValueError: the constructor fails; names the arguments and the reason.
    """
    require_arguments(factory, kwargs, what)
    try:
        return factory(**{key: with_namespaces(value) for key, value in kwargs.items()})
    except (Exception, SystemExit) as problem:  # a user's constructor may raise anything
        given = ", ".join(f"{key}={shown(value)}" for key, value in kwargs.items() if key != "streams")
        raise ValueError(f"{what} cannot be made{' with ' if given else ''}{given}: {reason(problem)}") from problem


def require_arguments(factory: Callable[..., Any], kwargs: Mapping[str, Any], what: str) -> None:
    """Check that the signature of `factory` accepts `kwargs`.

    Raises:
        TypeError: it does not; names `what`, the wrong argument and the closest valid one.
    """
    try:
        signature = inspect.signature(factory)
    except ValueError:  # a builtin without one
        return
    try:
        signature.bind(**kwargs)
    except TypeError as problem:
        unknown = [key for key in kwargs if key not in signature.parameters]
        hint = nearest(unknown[0], signature.parameters) if unknown else ""
        raise WrongTypeError(f"{what} cannot be made from {sorted(kwargs)}: {problem}.{hint}") from None


def create_anchor(name: str, /, **kwargs: Any) -> nn.Module:
    """Create an Anchor: `create_anchor("han", num_classes=25)`.

    Args:
        name: of a plugin, or "module:Class" or "module:function".
        kwargs: arguments of its constructor. Such code gets `streams` and `num_classes` only if it takes them.

    Raises:
        ValueError: unknown name (lists the known ones), or a name that two distributions declare (names both).
        ImportError: the plugin cannot be imported; says why.
        TypeError: its constructor does not take these arguments, or does not return a network.
    """
    if isinstance(name, str) and ":" in name:
        taken = inspect.signature(import_network(name)).parameters
        kwargs = {key: x for key, x in kwargs.items() if key in taken or key not in ("streams", "num_classes")}
    return _create("anchor", name, kwargs)


def published_decision(anchor: object) -> dict[str, Any]:
    """The published thresholds of an Anchor, from its attribute `decision`; empty where it has none.

    Args:
        anchor: a network, or the name of an Anchor plugin.

    Raises:
        ValueError, ImportError: as `create_anchor` does.
    """
    return _published(anchor, "decision")


def published_training(anchor: object) -> dict[str, Any]:
    """The published schedule of an Anchor, from its attribute `published_training`; empty where it has none.

    Args:
        anchor: a network, or the name of an Anchor plugin.

    Returns:
        Keys and values of the section `trainer`.

    Raises:
        ValueError, ImportError: as `create_anchor` does.
    """
    return _published(anchor, "published_training")


def published_options(anchor: object) -> dict[str, Any]:
    """Options of the constructor with which an Anchor takes a published checkpoint, from its attribute of that name.

    Args:
        anchor: a network, or the name of an Anchor plugin.

    Raises:
        ValueError, ImportError: as `create_anchor` does.
    """
    return _published(anchor, "published_options")


def _published(anchor: object, attribute: str) -> dict[str, Any]:
    own = getattr(find_plugin("anchor", anchor) if isinstance(anchor, str) else anchor, attribute, None)
    return dict(own) if isinstance(own, Mapping) else {}


def takes_option(kind: str, name: str, option: str) -> bool:
    """Whether the constructor of a plugin ("anchor" or "reference") has a parameter of that name.

    Raises:
        ValueError, ImportError: as `create_anchor` does.
    """
    return option in inspect.signature(find_plugin(kind, name)).parameters


def create_reference(name: str, /, **kwargs: Any) -> nn.Module:
    """Create a Reference: `create_reference("class_token", streams=..., num_classes=25, width=512)`.

    Raises:
        ValueError, ImportError, TypeError: as `create_anchor` does.
    """
    return _create("reference", name, kwargs)


def list_anchors() -> list[str]:
    """Names of the declared Anchors, sorted."""
    return sorted({plugin.name for plugin, _ in _declared("anchor")})


def list_references() -> list[str]:
    """Names of the declared References, sorted."""
    return sorted({plugin.name for plugin, _ in _declared("reference")})
