"""Checks of what a network returns in training and in evaluation, from call to call and for either modality.

Shape letters: see `protocol.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from coleaf_framework.adapters import Declaration, Out
from coleaf_framework.adapters.outputs import find
from coleaf_framework.protocol import MODALITIES, AnchorOutput
from coleaf_framework.wrapping.checks import FIELDS, Call, gradients_of, type_and_shape


def check_modalities_apart(output: AnchorOutput, name: str, inputs: Mapping[str, Tensor]) -> None:
    """Check that segments and tokens of either modality depend on a stream, and that the two modalities' differ.

    Args:
        output: in evaluation mode, with gradient.
        name: of the network.
        inputs: its streams, with gradient.

    Raises:
        ValueError: they do not; names the field.
    """
    for field in ("segment_probs", "tokens"):
        audio, visual = getattr(output, field).unbind(2)  # (B,T,C or D) each
        if torch.equal(audio, visual):
            raise ValueError(
                f"{name}: {field} of the two modalities are identical, so nothing tells what is heard from what is "
                "seen: declare the audio and the visual output apart, as a pair (audio, visual)"
            )
        for modality, half in zip(MODALITIES, (audio, visual), strict=True):
            scalar = (half * torch.randn_like(half)).sum()
            gradients = gradients_of(scalar, list(inputs.values()), name) if half.requires_grad else ()
            if not any(gradient is not None and gradient.any() for gradient in gradients):
                raise ValueError(
                    f"{name}: {field} of the {modality} modality depend on no stream: declare the output or submodule "
                    f"that computes them from the {modality} stream"
                )


def check_repeatable(call: Call, name: str, inputs: Mapping[str, Tensor]) -> None:
    """Check that evaluation mode gives the same outputs again, also after another batch.

    Args:
        call: (streams, mask) -> output.
        name: of the network, for the message.
        inputs: stream name -> (B, frames * T, width).

    Raises:
        ValueError: it does not; names the first field that changes.
    """

    def answer(streams: Mapping[str, Tensor]) -> AnchorOutput:
        return call({stream: x.detach().clone() for stream, x in streams.items()}, None)

    with torch.no_grad():
        first, again = answer(inputs), answer(inputs)
        answer({stream: torch.randn_like(x) for stream, x in inputs.items()})
        afterwards = answer(inputs)
    for field in FIELDS:
        expected = getattr(first, field)
        for other in (again, afterwards):
            if expected is not None and not torch.allclose(getattr(other, field), expected, rtol=1e-4, atol=1e-5):
                raise ValueError(
                    f"{name}: {field} of the same batch changes from call to call in evaluation mode: call dropout "
                    "with training=self.training, and keep no state between calls"
                )


def check_both_modes(
    run: object, name: str, in_training: list[Any], in_evaluation: list[Any], again: Callable[[], list[Any]]
) -> None:
    """Check that what is declared as logits is no probability in evaluation mode, as some networks return it.

    Args:
        run: how the network is run; nothing is checked unless it is a `Declaration`.
        name: of the network.
        in_training: what the network itself returned in training mode, once for each run.
        in_evaluation: the same in evaluation mode.
        again: the same for more videos, since few logits may be in [0, 1] by chance.

    Raises:
        ValueError: it is; names the field.
    """
    if not isinstance(run, Declaration) or not in_training or not in_evaluation:
        return
    for field, out in run.outputs.items():
        if not isinstance(out, Out) or out.kind != "logits" or not _are_in_unit_interval(out, in_evaluation, field):
            continue
        if not _are_in_unit_interval(out, in_training, field) and _are_in_unit_interval(out, again(), field):
            raise ValueError(
                f"{name}: {field} is declared as kind='logits', but in evaluation mode all its values are in [0, 1], "
                "so sigmoid would be applied twice in evaluation: pass an adapter that looks at net.training instead"
            )


def _are_in_unit_interval(out: Out, returned: list[Any], field: str) -> bool:
    tensors = [find(returned[-1], path, field) for path in (out.path, out.visual) if path is not None]
    return all(bool(((x >= 0) & (x <= 1)).all()) for x in tensors)


def returned_in_evaluation(values: list[Any]) -> str:
    """What the network itself returned before its adapter failed; empty where it did not return."""
    return f" (There it returns {type_and_shape(values[-1])}.)" if values else ""
