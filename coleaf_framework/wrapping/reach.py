"""Which segments the outputs of a network depend on, and which of its submodules mix segments.

Shape letters: see `protocol.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from coleaf_framework.adapters import flatten
from coleaf_framework.protocol import MODALITIES, AnchorOutput, StreamSpec
from coleaf_framework.wrapping.checks import Run, gradients_of
from coleaf_framework.wrapping.sandbox import isolated_random_state, jitter, restored, sandbox_copy, synthetic

_CHANGED = 1e-6
_MARGIN = 0.02


@dataclass(frozen=True)
class SegmentReach:
    """What the outputs of one segment depend on.

    Args:
        tokens_are_local: its tokens depend on the streams of their own modality in that segment alone.
        probs_are_local: its segment probabilities depend on no other segment.
    """

    tokens_are_local: bool
    probs_are_local: bool


def measure_reach(
    output: AnchorOutput, inputs: Mapping[str, Tensor], streams: Mapping[str, StreamSpec], name: str
) -> SegmentReach:
    """Measure what the outputs of the middle segment depend on, from gradients to the streams.

    Args:
        output: in evaluation mode, of at least two segments.
        inputs: the streams, with gradient.
        streams: what they are.
        name: of the network.

    Returns:
        Whether tokens, and segment probabilities, are local to their segment.
    """
    length = output.segment_probs.shape[1]
    middle = length // 2

    def depends(x: Tensor, modality: int) -> set[tuple[bool, bool]]:
        """(the stream is of this modality, the segment is this one) for all that x (B,T,M,...) depends on."""
        part = x[:, middle, modality]
        gradients = gradients_of((part * torch.randn_like(part)).sum(), list(inputs.values()), name)
        found = set()
        for stream, gradient in zip(inputs, gradients, strict=True):
            if gradient is not None:
                read = rearrange(gradient, "b (t k) w -> t (b k w)", t=length).any(1)
                same = streams[stream].modality == MODALITIES[modality]
                found |= {(same, t == middle) for t in range(length) if read[t]}
        return found

    of_tokens = [depends(output.tokens, m) for m in range(2)]
    of_probs = [depends(output.segment_probs, m) for m in range(2)]
    return SegmentReach(
        tokens_are_local=all(found <= {(True, True)} for found in of_tokens),
        probs_are_local=all(here for found in of_probs for _, here in found),
    )


def readers_of_mixed_segments(
    network: nn.Module,
    run: Run,
    streams: Mapping[str, StreamSpec],
    num_classes: int,
    length: int,
    among: set[str],
    *,
    on_original: bool = False,
) -> tuple[bool, str | None]:
    """Whether some of these parameters follow a layer that mixes segments, and the first classifier among those.

    One segment of the streams is changed: if more of a submodule's input changes, segments were mixed before it.

    Args:
        network: the Anchor; a copy is run.
        run: how to run it.
        streams: its input streams.
        num_classes: number of classes, C.
        length: number of segments, T.
        among: names of parameters.
        on_original: as in `measurement.measure`.

    Returns:
        Whether there are any, and the path of the first such submodule that returns C values for each position.
    """
    with ExitStack() as stack:
        if on_original:
            stack.enter_context(isolated_random_state())
            stack.enter_context(restored(network))
        else:
            network = stack.enter_context(sandbox_copy(network))
        jitter(network)
        network.eval()
        before = synthetic(network, streams, 2, length)
        after = {stream: x.detach().clone() for stream, x in before.items()}
        for stream, x in after.items():
            frames = streams[stream].frames
            part = slice(length // 2 * frames, (length // 2 + 1) * frames)
            x[:, part] = torch.randn_like(x[:, part])
        paths = {name.rpartition(".")[0] for name in among} - {""}
        first, second = (_inputs_of(network, run, x, paths) for x in (before, after))
    mixed = []
    for (path, given, returned), (_, changed_given, _) in zip(first, second, strict=False):
        pairs = zip(given, changed_given, strict=False)
        changed = [((a - b).abs() > _CHANGED).float().mean().item() for a, b in pairs]
        if max(changed, default=0.0) > 1 / length + _MARGIN:
            mixed.append((path, returned))
    classifiers = [path for path, shapes in mixed if any(shape[-1:] == (num_classes,) for shape in shapes)]
    return bool(mixed), classifiers[0] if classifiers else None


Seen = list[tuple[str, list[Tensor], list[tuple[int, ...]]]]


def _inputs_of(network: nn.Module, run: Run, streams: Mapping[str, Tensor], paths: set[str]) -> Seen:
    """Path, inputs and shapes of the outputs of each run of some submodules, in order."""
    seen: Seen = []

    def listen(path: str) -> Callable[..., None]:
        def hook(_: nn.Module, args: object, kwargs: dict[str, object], output: object) -> None:
            inputs = [x.detach().clone() for _, x in flatten((args, kwargs)) if x.is_floating_point()]
            seen.append((path, inputs, [tuple(x.shape) for _, x in flatten(output)]))

        return hook

    with ExitStack() as stack:
        for path in sorted(paths):
            module = network.get_submodule(path)
            if not isinstance(module, torch.jit.ScriptModule):
                handle = module.register_forward_hook(listen(path), with_kwargs=True)
                stack.callback(handle.remove)
        with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
            run(network, {stream: x.clone() for stream, x in streams.items()}, None)
    return seen
