"""`describe`: inspect a network's inputs, outputs and submodules, and propose a `wrap(...)` call for it.

Shape letters: see `protocol.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from coleaf_framework._config import reason
from coleaf_framework.adapters import DERIVE, Calling, Constant, Declaration, Inputs, Out, Tap
from coleaf_framework.protocol import LLP_STREAMS, StreamSpec
from coleaf_framework.wrapping.candidates import ambiguities, candidates, possible_taps
from coleaf_framework.wrapping.dry_run import dry_run, sandbox_copy, synthetic
from coleaf_framework.wrapping.making import make_network, plain_options, read_attribute, require_shape
from coleaf_framework.wrapping.probe import BASE, Observation, find_inputs, observe_network
from coleaf_framework.wrapping.wrapper import summarize

_MOST_TRIES = 60
_WIDTH = 80


@dataclass(frozen=True)
class Description:
    """Result of `describe`; `print` it to read it.

    Args:
        network: class name of the network.
        lines: the description, line by line.
        call: a `wrap(...)` call that passes the dry run; None where none was found.
        problem: why none was found; None otherwise.
    """

    network: str
    lines: tuple[str, ...]
    call: str | None
    problem: str | None

    def __str__(self) -> str:
        last = ["", "a call that fits (it passed the dry run; audio and visual were told apart by their gradients to"]
        last += ["the streams: check their order):", "", f"    {self.call}"]
        if self.call is None:
            last = ["", f"no call was found that fits: {self.problem}"]
        return "\n".join([*self.lines, *last])


def describe(
    network: nn.Module | type[nn.Module] | str,
    *,
    streams: Mapping[str, StreamSpec] | None = None,
    num_classes: int | None = None,
    inputs: Inputs | None = None,
    follow_device: bool = False,
    anchor_options: Mapping[str, Any] | None = None,
) -> Description:
    """Inspect a network on synthetic batches: its inputs and outputs, possible taps, and how to wrap it.

    Args:
        network: an instance, a class or the name of a plugin, as for `wrap`.
        streams: its input streams; with None, its attribute `streams`, or LLP's.
        num_classes: number of classes, C; with None, its attribute `num_classes`, or inferred from its outputs.
        inputs: how it is called; with None, every order of the streams is tried.
        follow_device: as for `wrap`.
        anchor_options: as for `wrap`.

    Raises:
        ValueError, TypeError: the network cannot be constructed or run; says why.

    Example:
        >>> import torch
        >>> class Net(nn.Module):  # returns (segment probabilities, tokens)
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.audio, self.visual, self.fc = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        ...
        ...     def forward(self, audio, visual):
        ...         a, v = self.audio(audio), self.visual(visual)
        ...         tokens = torch.stack([a + 0.1 * v, v + 0.1 * a], dim=2)
        ...         return self.fc(tokens).sigmoid(), tokens
        >>> streams = {"audio": StreamSpec(6, "audio"), "visual": StreamSpec(8, "visual")}
        >>> description = describe(Net(), streams=streams, num_classes=3)
        >>> '"segment_probs": 0' in description.call, "tokens=1" in description.call
        (True, True)
    """
    net = make_network(network, streams, num_classes, plain_options("anchor_options", anchor_options))
    name = type(net).__name__
    own = {what: read_attribute(net, name, what) for what in ("streams", "num_classes")}
    given = streams if streams is not None else own["streams"]
    specs: Mapping[str, StreamSpec] = given if given is not None else LLP_STREAMS
    classes = num_classes if num_classes is not None else own["num_classes"]
    require_shape(name, specs, 1 if classes is None else classes)
    # Which arguments the proposed call must contain.
    needed = {"streams": given is None or streams is not None, "num_classes": not hasattr(net, "num_classes")}

    def calling(how: Inputs | None) -> Calling:
        return Calling(how, specs, follow_device=follow_device)

    if inputs is None:
        with sandbox_copy(net) as copied:
            batch = synthetic(copied, specs, *BASE)

            def attempt(how: Inputs | None) -> Any:
                return calling(how)(copied, {name: x.clone() for name, x in batch.items()})

            inputs, problem = find_inputs(net, specs, attempt)
        if problem is not None:
            cuda = " If it calls `.cuda()`, pass follow_device=True." if "CUDA" in problem and not follow_device else ""
            raise ValueError(
                f"{name} does not run on {_streams_text(specs)} in any order: {problem}.{cuda} "
                "Pass streams=... that fit it, or inputs=... with what else it takes"
            )
    try:
        observed, classes = observe_network(net, specs, calling(inputs), inputs, classes)
    except (RuntimeError, RecursionError, NotImplementedError) as problem_:  # its outputs may be anything
        raise ValueError(f"{name} runs, but its outputs cannot be analysed: {reason(problem_)}") from problem_
    lines = _page(net, name, specs, observed, given is None)
    if classes is None:
        return Description(name, lines, None, "the number of classes cannot be inferred: pass num_classes")
    segments = BASE[1] if observed.fixed_segments_error is not None or observed.folds_segments else None
    declared = {"inputs": inputs, "follow_device": follow_device}
    how, dead, problem = _first_that_fits(net, specs, classes, segments, observed, declared)
    if how is None:
        return Description(name, lines, None, problem)
    if dead:
        note = f"{len(dead)} parameters receive no gradient and would be frozen: {summarize(net, dead)}"
        lines = (*lines, "", "dead       " + note)
    for message in ambiguities(observed, how.get("outputs", {})):
        lines = (*lines, f"ambiguous  {message}")
    arguments = {**how, **{key: value for key, value in declared.items() if value}}
    arguments |= {"segments": segments} if segments is not None else {}
    arguments |= {"streams": dict(specs)} if needed["streams"] else {}
    arguments |= {"num_classes": classes} if needed["num_classes"] else {}
    return Description(name, lines, _call_text("net", arguments), None)


def _first_that_fits(
    net: nn.Module,
    streams: Mapping[str, StreamSpec],
    classes: int,
    segments: int | None,
    observed: Observation,
    declared: Mapping[str, Any],
) -> tuple[dict[str, Any] | None, tuple[str, ...], str]:
    problem = "none of its outputs looks like segment probabilities (B,T,M,C), or (B,T,C) for either modality"
    try:  # a network that follows the protocol needs no declaration
        result = dry_run(net, lambda n, x, mask: n(**x), streams, classes, segments, False)
    except (ValueError, TypeError):
        pass
    else:
        return {}, result.dead, ""
    for outputs, tokens in itertools.islice(candidates(observed), _MOST_TRIES):
        if tokens is None:
            problem = "no output or submodule looks like tokens (B,T,M,D), or (B,T,D) for either modality"
            continue
        try:
            adapter = Declaration(outputs, tokens, streams=streams, **declared)
            result = dry_run(net, adapter, streams, classes, segments, adapter.takes_mask)
        except (ValueError, TypeError) as failed:
            problem = str(failed)
        else:
            return {"outputs": outputs, "tokens": tokens}, result.dead, ""
    return None, (), problem


def _page(
    net: nn.Module, name: str, streams: Mapping[str, StreamSpec], observed: Observation, assumed: bool
) -> tuple[str, ...]:
    parameters = sum(p.numel() for p in net.parameters())
    lines = [f"{name}, {parameters:,} parameters", ""]
    lines.append("takes      " + _streams_text(streams) + (" (LLP's, since none were given)" if assumed else ""))
    if observed.inputs is not None:
        lines.append("called as  " + _text(observed.inputs))
    lines += [
        "",
        f"returns    (b videos, t segments, m modalities, c classes, d width; shapes at B={BASE[0]}, T={BASE[1]})",
    ]
    for x in observed.outputs:
        gradient = "" if x.has_gradient else ", no gradient"
        lines.append(f"  {x.path:<18} {x.shape!s:<20} {x.layout:<12} {x.low:.3g} to {x.high:.3g}{gradient}")
    taps = possible_taps(observed)
    lines += ["", "tokens could be tapped at" + ("" if taps else ": nothing that looks like tokens")]
    lines += [f"  {_text(tap)}  {shape}" for tap, shape in taps[:8]]
    lines.append("")
    if observed.fixed_segments_error is not None:
        lines.append(f"segments   runs on T={BASE[1]}, not on T=20: {observed.fixed_segments_error.splitlines()[0]}")
    elif observed.folds_segments:
        lines.append("segments   T=20 is folded into the batch: 10 segments are written into it")
    else:
        lines.append("segments   any number")
    return tuple(lines)


def _streams_text(streams: Mapping[str, StreamSpec]) -> str:
    return ", ".join(f"{name} (B,{'T' if s.frames == 1 else f'{s.frames}T'},{s.width})" for name, s in streams.items())


def _text(value: Any) -> str:
    """An argument of `wrap` as source code."""
    if isinstance(value, Out | Tap | Constant | StreamSpec):
        fields = value.__dataclass_fields__
        parts = []
        for i, (key, about) in enumerate(fields.items()):
            given = getattr(value, key)
            if i == 0 or (isinstance(value, StreamSpec) and i == 1):
                parts.append(_text(given))
            elif given != about.default:
                parts.append(f"{key}={_text(given)}")
        return f"{type(value).__name__}({', '.join(parts)})"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f'"{key}": {_text(x)}' for key, x in value.items()) + "}"
    if isinstance(value, Tensor):
        return "..."
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_text, value)) + ("," if len(value) == 1 else "") + ")"
    return "DERIVE" if value == DERIVE else repr(value).replace("'", '"')


def _call_text(network: str, arguments: Mapping[str, Any]) -> str:
    lines = []
    for key, value in arguments.items():
        if isinstance(value, Mapping) and len(_text(value)) > _WIDTH:
            lines.append(f"        {key}={{")
            lines += [f'            "{name}": {_text(x)},' for name, x in value.items()]
            lines.append("        },")
        else:
            lines.append(f"        {key}={_text(value)},")
    return "\n".join(["wrap(", f"        {network},", *lines, "    )"])
