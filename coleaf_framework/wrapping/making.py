"""The network given to `wrap`: constructed if it is a class or a name, with checked streams and classes."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from coleaf_framework._config import WrongTypeError, reason, shown
from coleaf_framework.collaboration import CoLeaFConfig, takes_progress
from coleaf_framework.model.coleaf import CoLeaF
from coleaf_framework.model.standardize import StandardizedAnchor
from coleaf_framework.plugins import construct, create_anchor, require_network
from coleaf_framework.protocol import StreamSpec

logger = logging.getLogger(__name__)


def plain_options(what: str, options: Any, set_elsewhere: Collection[str] = ()) -> dict[str, Any]:
    """Check the options of a constructor and return them as a dict.

    Args:
        what: name of the option argument, for error messages.
        options: a mapping of argument names to values, or None.
        set_elsewhere: names that it must not contain.

    Returns:
        A new dict; empty for None.

    Raises:
        TypeError, ValueError: not such a mapping; names `what` and the first wrong key.
    """
    if options is not None and not isinstance(options, Mapping):
        raise WrongTypeError(f"{what} is {shown(options)}, where a mapping of arguments to values was expected")
    for key in options or {}:
        if not isinstance(key, str) or not key.isidentifier():
            raise ValueError(f"{what}: {key!r} cannot be the name of an argument")
        if key in set_elsewhere:
            raise ValueError(f"{what}: {key} follows from the data or the Anchor: leave it out")
    return dict(options or {})


def require_types(config: Any, adapter: Any, reference: Any, loss: Any) -> None:
    """Check the types of `wrap`'s arguments of these names, and that the loss is used and has nothing to train.

    Args:
        config: a `CoLeaFConfig`.
        adapter: a function, or None.
        reference: name of a Reference.
        loss: a function, or None.

    Raises:
        TypeError, ValueError: one is wrong; names it.
    """
    if not isinstance(config, CoLeaFConfig):
        raise WrongTypeError(f"config is {config!r}, where a CoLeaFConfig was expected")
    if adapter is not None and not callable(adapter):
        raise WrongTypeError(
            f"adapter is {adapter!r}, where a function (network, streams) -> AnchorOutput was expected"
        )
    if loss is not None and (not callable(loss) or isinstance(loss, type)):
        raise WrongTypeError(f"loss is {loss!r}, where a function (raw, batch) or (raw, batch, progress) was expected")
    if isinstance(loss, nn.Module) and next(loss.parameters(), None) is not None:
        raise ValueError("loss has parameters of its own, which nothing would train: make them parts of the network")
    if loss is not None:
        takes_progress(loss)
        if config.anchor_loss == "video":
            raise ValueError("anchor_loss 'video' is BCE on video probabilities alone, so loss=... would do nothing")
    if not isinstance(reference, str):
        raise WrongTypeError(f"reference is {shown(reference)}, where the name of a Reference plugin was expected")


def require_classes(what: str, num_classes: Any) -> None:
    """Check a number of classes.

    Args:
        what: beginning of the message.
        num_classes: the number.

    Raises:
        TypeError: it is no whole number above 0; the sentence begins with `what`.
    """
    if isinstance(num_classes, bool) or not isinstance(num_classes, int | np.integer) or num_classes < 1:
        raise WrongTypeError(f"{what} is {num_classes!r}, where a whole number above 0 was expected")


def require_shape(name: str, streams: Any, num_classes: Any) -> None:
    """Check that `streams` maps each name to a `StreamSpec` and that `num_classes` is a positive integer.

    Args:
        name: of the network, for the message.
        streams: stream name -> its spec, at least one.
        num_classes: number of classes, C.

    Raises:
        TypeError, ValueError: one of them is invalid; names it.
    """
    require_classes(f"{name}: num_classes", num_classes)
    if not isinstance(streams, Mapping) or not streams:
        raise WrongTypeError(f"{name}: streams is {streams!r}, where a mapping of names to StreamSpec was expected")
    for stream, spec in streams.items():
        if not isinstance(stream, str) or not stream.isidentifier():
            raise ValueError(f"{name}: stream name {stream!r} cannot be the name of an argument")
        if not isinstance(spec, StreamSpec):
            raise WrongTypeError(f"{name}: stream {stream!r} is declared by {spec!r}, where a StreamSpec was expected")


def declared_segments(anchor: nn.Module, name: str, given: int | None) -> int | None:
    """The only number of segments, T, that a network works for: its attribute `fixed_segments`, or what was given.

    Args:
        anchor: the network.
        name: of its class, for messages.
        given: to `wrap`; None where it was left out.

    Returns:
        T, at least 1; None where neither fixes one.

    Raises:
        ValueError: one of them is no whole number of at least 1, or the two differ.
    """
    own = read_attribute(anchor, name, "fixed_segments")
    for what, value in ((f"{name}: fixed_segments", own), ("segments", given)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ValueError(f"{what} must be a whole number of at least 1, got {value!r}")
    if given is not None and own is not None and given != own:
        raise ValueError(f"{name} works for T = {own} segments only (fixed_segments), but wrap was given {given}")
    return given if own is None else own


_REFUSED: Mapping[type[nn.Module], str] = {
    CoLeaF: "its .anchor",
    StandardizedAnchor: "its .anchor, and statistics=...",
    nn.DataParallel: "its .module",
    nn.parallel.DistributedDataParallel: "its .module",
}


def make_network(
    network: nn.Module | Callable[..., nn.Module] | str,
    streams: Mapping[str, StreamSpec] | None,
    num_classes: int | None,
    options: dict[str, Any],
) -> nn.Module:
    """The network given to `wrap`, made if it is a class, a function that makes it, or a name."""
    shape = {"streams": streams, "num_classes": num_classes}
    given = {key: value for key, value in shape.items() if value is not None}
    if isinstance(network, str):
        return create_anchor(network, **{**given, **options})
    if isinstance(network, nn.Module):
        for wrapper, inner in _REFUSED.items():
            if isinstance(network, wrapper):
                raise WrongTypeError(f"wrap takes the network itself, got a {type(network).__name__}: pass {inner}")
        if hasattr(network, "_orig_mod"):
            raise WrongTypeError("wrap takes the network itself, got a compiled one: pass its ._orig_mod")
        if getattr(network, "_compiled_call_impl", None) is not None:
            raise WrongTypeError("wrap takes the network itself, got a compiled one: pass it before its .compile()")
        if isinstance(network, torch.jit.ScriptModule):
            raise WrongTypeError("wrap takes the network itself, got a scripted one: pass the module that was scripted")
        if options:
            raise ValueError(
                f"anchor_options {sorted(options)} are for a class, a function or a name, not for a network"
            )
        return network
    if not callable(network) or (isinstance(network, type) and not issubclass(network, nn.Module)):
        raise WrongTypeError(
            f"wrap takes a torch.nn.Module, its class, a function that makes it, or a name, got {network!r}"
        )
    parameters = inspect.signature(network).parameters
    taken = {key: value for key, value in given.items() if key in parameters}
    name = getattr(network, "__name__", type(network).__name__)
    what = f"{name} (pass anchor_options={{...}}, or --option, with what it lacks)"
    made: nn.Module = construct(network, {**taken, **options}, what)
    require_network(made, name)
    return made


def read_attribute(network: nn.Module, name: str, what: str) -> Any:
    """An attribute of a network, None where it has none.

    Args:
        network: the network.
        name: of its class, for the message.
        what: name of the attribute.

    Returns:
        Its value, unchecked, or None.

    Raises:
        ValueError: the attribute is a property that raises an error; says which.
    """
    try:
        return getattr(network, what, None)
    except Exception as problem:
        raise ValueError(f"{name}: its {what} cannot be read: {reason(problem)}") from problem


def declared(anchor: nn.Module, name: str, what: str, given: Any, *, given_wins: bool = False) -> Any:
    """What a network declares as an attribute, or what `wrap` was given in its place.

    A network may declare some of the given streams; it then gets these alone. An attribute of that name that is
    something else is passed over.

    Args:
        anchor: the network.
        name: of its class, for messages.
        what: "streams" or "num_classes".
        given: to `wrap`; None where it was left out.
        given_wins: whether `given` may differ from the attribute, as where the latter counts a background class.

    Returns:
        Streams by name, or the number of classes.

    Raises:
        ValueError: neither says it, or the two differ.
    """
    own = read_attribute(anchor, name, what)
    if given is not None and own is not None and not _is_declared(what, own):
        logger.info("%s: its attribute %s is %s, no declaration: it is passed over", name, what, shown(own))
        own = None
    if given is None and own is None:
        raise ValueError(f"{name} does not declare `{what}`: set it as an attribute, or pass wrap(..., {what}=...)")
    if what == "streams" and given is not None and own is not None and all(given.get(k) == v for k, v in own.items()):
        if unused := given.keys() - own.keys():
            logger.info("%s takes %s; %s of the data go unused", name, sorted(own), sorted(unused))
        return own
    if given is not None and own is not None and given != own:
        if not given_wins:
            if what == "streams":
                raise ValueError(f"{name} needs the streams {_listed(own)}, but was given {_listed(given)}")
            raise ValueError(
                f"{name} declares {what}={own!r}, but wrap was given {given!r}; if its outputs have more than the "
                "classes, say by outputs={...} or an adapter where those are"
            )
        logger.info("%s has the attribute %s=%r, but %r was given, which is what counts", name, what, own, given)
    return given if given is not None else own


def _listed(streams: Any) -> str:
    """Streams as a sentence names them: name, modality, width, and what is not 1."""
    if not _is_declared("streams", streams):
        return shown(streams)

    def of(spec: StreamSpec) -> str:
        frames = f", {spec.frames} frames a segment" if spec.frames > 1 else ""
        averaged = f", means of {spec.averaged} frames" if spec.averaged > 1 else ""
        return f"{spec.modality}, width {spec.width}{frames}{averaged}"

    return "; ".join(f"{stream} ({of(spec)})" for stream, spec in streams.items())


def _is_declared(what: str, own: Any) -> bool:
    if what == "num_classes":
        return isinstance(own, int | np.integer) and not isinstance(own, bool)
    return isinstance(own, Mapping) and bool(own) and all(isinstance(spec, StreamSpec) for spec in own.values())
