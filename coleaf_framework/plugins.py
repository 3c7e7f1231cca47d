"""Find and create Anchors and References by name, through Python entry points.

A plugin is a class in any installed distribution, declared in its pyproject.toml:

    [project.entry-points."coleaf_framework.anchors"]
    mynet = "mypackage.networks:MyNet"

"mypackage.networks:MyNet" works as a name too, for a class, or a function that makes the network, in the current folder
or on the Python path.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import entrypoints
from torch import nn

from coleaf_framework._config import WrongTypeError, nearest, reason, shown, with_namespaces
from coleaf_framework._imports import import_function, import_network, import_object, importable_name, loaded_function

__all__ = [
    "GROUPS",
    "Plugin",
    "construct",
    "create_anchor",
    "create_reference",
    "find_plugin",
    "import_function",
    "import_network",
    "import_object",
    "importable_name",
    "list_anchors",
    "list_plugins",
    "list_references",
    "loaded_function",
    "published_decision",
    "published_options",
    "published_training",
    "require_arguments",
    "require_network",
    "takes_option",
]

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
        paper: the paper that it follows, from its attribute of that name; None where it has none or was not imported.
        licence: of the repository whose facts it follows; None likewise.
    """

    kind: str
    name: str
    target: str
    distribution: str
    error: str | None = None
    paper: str | None = None
    licence: str | None = None


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
        if names.count(plugin.name) > 1:
            error = f"name declared {names.count(plugin.name)} times; it cannot be used"
            checked.append(replace(plugin, error=error))
            continue
        try:
            made = entry.load()
        except Exception as problem:  # a broken plugin breaks only itself
            checked.append(replace(plugin, error=f"{type(problem).__name__}: {problem}"))
            continue
        checked.append(replace(plugin, paper=_text_of(made, "paper"), licence=_text_of(made, "licence")))
    return checked


def _text_of(made: object, attribute: str) -> str | None:
    """An attribute of a plugin's class, where it is a text that says something."""
    text = getattr(made, attribute, None)
    return text.strip() or None if isinstance(text, str) else None


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
            f"Known {kind}s: {', '.join(known) or 'none'}. A new name is known once its distribution is installed again"
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

    Returns:
        The network, as the plugin's constructor or function returned it.

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

    Args:
        name: of a plugin, or "module:Class" or "module:function".
        kwargs: arguments of its constructor.

    Returns:
        The network, as the plugin's constructor or function returned it.

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
