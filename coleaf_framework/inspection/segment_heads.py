"""Find the classifier that makes a network's segment probabilities; its input is the output token, as in the paper.

Shape letters: see `protocol.py`. A half is a network's output for one modality, before it is known which.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from coleaf_framework.adapters import Tap
from coleaf_framework.inspection.probe import Probe
from coleaf_framework.inspection.seen import Seen, gradients, same

VISUAL_FIRST = ("visual", "audio")
_SHIFTS = (-6.0, -3.0, 0.0, 3.0, 6.0)  # of a logit, when its effect on the outputs is observed


@dataclass(frozen=True, eq=False)
class Run:
    """One run of a classifier.

    Args:
        submodule: its path.
        index: which run.
        logits: its output, which the segment probabilities are a function of, element by element.
        layout: of the logits.
        tokens: its input.
        tokens_layout: of the tokens.
        part: path of the tokens among several inputs; None where there is one.
        exact: whether the segment probabilities are its output or the sigmoid or softmax of it.
    """

    submodule: str
    index: int
    logits: Seen
    layout: str
    tokens: Seen
    tokens_layout: str
    part: str | None
    exact: bool


@dataclass(frozen=True, eq=False)
class Classifier:
    """What makes the segment probabilities: one run for both halves, or one for each.

    Args:
        runs: one, whose tensors have an axis m, or two, in the order of the halves.
        flipped: whether the first half is the second on axis m; for one run.
    """

    runs: tuple[Run, ...]
    flipped: bool = False

    @property
    def exact(self) -> bool:
        """Whether the segment probabilities are its outputs, or the sigmoid or softmax of them."""
        return all(run.exact for run in self.runs)

    @property
    def stacked(self) -> bool:
        """Whether one run reads both halves."""
        return len(self.runs) == 1

    def tokens(self) -> list[Tensor]:
        """The tokens of the two halves, (B,T,D) each."""
        if self.stacked:
            return self.of_halves(self.runs[0].tokens.tensor)
        return [run.tokens.arranged(run.tokens_layout, "b t d") for run in self.runs]

    def token_tensors(self) -> list[Tensor]:
        """The tensors that hold the tokens: one, or one for each half."""
        return [run.tokens.tensor for run in self.runs]

    def of_halves(self, x: Tensor) -> list[Tensor]:
        """The parts of a tensor of the tokens' shape that belong to the two halves."""
        both = self.runs[0].tokens.arranged(self.runs[0].tokens_layout, "b t m d", x).unbind(2)
        return [*both[::-1]] if self.flipped else [*both]

    def on_axis(self, half: int) -> int:
        """The position of a half on axis m."""
        return 1 - half if self.flipped else half

    def name(self) -> str:
        """Where the tokens are, for messages."""
        return f"the input of {self.submodules()}"

    def submodules(self) -> str:
        """The paths of its submodules, for messages."""
        return " and ".join(dict.fromkeys(run.submodule for run in self.runs))

    def declaration(self, probe: Probe, audio: int) -> Tap | tuple[Tap, Tap]:
        """How its input is tapped, where half `audio` is the audio's."""
        if not self.stacked and self.runs[0].submodule == self.runs[1].submodule:
            call = {"audio": self.runs[audio].index, "visual": self.runs[1 - audio].index}
            return self._tap(probe, self.runs[audio], "b t d", call=call)
        if not self.stacked:
            return self._tap(probe, self.runs[audio], "b t d"), self._tap(probe, self.runs[1 - audio], "b t d")
        order = {"order": VISUAL_FIRST} if self.on_axis(audio) == 1 else {}
        return self._tap(probe, self.runs[0], "b t m d", **order)

    def _tap(self, probe: Probe, run: Run, usual: str, **changes: Any) -> Tap:
        changes.setdefault("call", which_run(probe, run.submodule, run.index))
        if run.tokens_layout != usual:
            changes["layout"] = run.tokens_layout
        if run.part is not None:
            changes["part"] = int(run.part) if run.part.isdigit() else run.part
        return Tap(run.submodule, at="input", **changes)


def find_classifier(probe: Probe, halves: Sequence[Tensor], num_classes: int) -> Classifier | None:
    """The classifier of two halves (B,T,C) of segment probabilities; None if it is not a submodule.

    Of submodules inside one another it is the outermost that works on each segment alone: the input of an MLP, and not
    its hidden layer, is the token.
    """
    runs = sorted(_candidate_runs(probe, halves, num_classes), key=lambda pair: pair[1].submodule.count("."))
    for best in (True, False):
        exact = [(fits, run) for fits, run in runs if run.exact == best and _is_head(probe, run)]
        for fits, run in exact:
            if len(fits) == 2 and fits[0] is not None and fits[1] is not None:
                return Classifier((run,), flipped=fits == (1, 0))
        for (fits, first), (others, second) in itertools.product(exact, exact):
            if fits == (0, None) and others == (None, 1) and first.submodule.count(".") == second.submodule.count("."):
                return Classifier((first, second))
    return None


def _candidate_runs(
    probe: Probe, halves: Sequence[Tensor], num_classes: int
) -> Iterator[tuple[tuple[int | None, ...], Run]]:
    """Runs whose output is one half, or both; first where the halves are on axis m, or which half it is."""
    inputs: dict[tuple[str, int], list[Seen]] = {}
    for seen in probe.seen:
        if seen.place.at == "input" and seen.place.submodule is not None and seen.has_gradient:
            inputs.setdefault((seen.place.submodule, seen.place.run), []).append(seen)
    for seen in probe.seen:
        place = seen.place
        if place.submodule is None or place.at == "input" or not seen.has_gradient or seen.place.path != "0":
            continue
        for target, tokens_target in (("b t m c", "b t m d"), ("b t c", "b t d")):
            layouts = seen.layouts(target, num_classes)
            given = [(x, x.layout(tokens_target, num_classes)) for x in inputs.get((place.submodule, place.run), [])]
            given = [(x, found) for x, found in given if found is not None]
            if not layouts or len(given) != 1:
                continue
            (tokens, tokens_layout), all_inputs = given[0], probe.base.runs[place.submodule, place.run, "input"]
            assert tokens_layout is not None
            part = tokens.place.path if len(all_inputs) > 1 else None
            read = ((layout, fit) for layout in layouts for fit in _fits(seen.arranged(layout, target), halves))
            for layout, (fits, exact) in read:
                yield fits, Run(place.submodule, place.run, seen, layout, tokens, tokens_layout, part, exact)


def _fits(values: Tensor, halves: Sequence[Tensor]) -> Iterator[tuple[tuple[int | None, ...], bool]]:
    if values.ndim == 4:
        for order in ((0, 1), (1, 0)):
            found = [match(values[:, :, place], half) for place, half in zip(order, halves, strict=True)]
            if all(found):
                yield order, min(found) == 2
        return
    matches = [match(values, half) for half in halves]
    for k, found_ in enumerate(matches):
        if found_:
            yield ((0, None) if k == 0 else (None, 1)), found_ == 2


def match(logits: Tensor, probs: Tensor) -> int:
    """2 if `probs` is `logits`, or its sigmoid or softmax; 1 if it rises with it element by element; else 0."""
    x, y = logits.detach().float(), probs.detach().float()
    if x.shape != y.shape:
        return 0
    if any(same(z, y) for z in (x, x.sigmoid(), x.softmax(-1))):
        return 2
    order = x.flatten().argsort()
    steps = y.flatten()[order].diff()
    rises = bool((steps >= -1e-6).all()) and float(y.max() - y.min()) > 1e-6
    return 1 if rises and len(steps) > 8 else 0


def _is_head(probe: Probe, run: Run) -> bool:
    """Whether a run works on each segment and half alone, on what other submodules have made."""
    target = "b t m c" if "m" in letters(run.layout) else "b t c"
    logits = run.logits.arranged(run.layout, target)
    one = (0, 3, 0) if target == "b t m c" else (0, 3)
    weights = torch.zeros_like(logits)
    weights[one] = torch.randn_like(weights[one])
    (gradient,) = gradients(logits, [run.tokens.tensor], weights)
    elsewhere = run.tokens.arranged(run.tokens_layout, target.replace("c", "d"), gradient).clone()
    elsewhere[one] = 0
    if not gradient.any() or elsewhere.any():
        return False
    own = {id(p) for p in probe.network.get_submodule(run.submodule).parameters()}
    others = [p for p in probe.network.parameters() if id(p) not in own]
    return any(bool(g.any()) for g in gradients(run.tokens.tensor, others))


def shifted_outputs(probe: Probe, classifier: Classifier) -> list[dict[str, Tensor]]:
    """The network's outputs while one class's logits are shifted, in all segments of the first video.

    Returns:
        For each half, path of an output -> (shifts, *shape), from the lowest shift of the half's logits to the highest.
    """
    found = []
    for half in (0, 1):
        run = classifier.runs[0] if classifier.stacked else classifier.runs[half]
        axis = classifier.on_axis(half) if classifier.stacked else None
        outputs: list[dict[str, Tensor]] = []
        for shift in _SHIFTS:
            changes = {(run.submodule, run.index): _shifted(run, axis, shift)}
            recording = probe.record(probe.base.streams, changes=changes)
            outputs.append({path: x.detach().float() for path, x in recording.returned})
        found.append({path: torch.stack([o[path] for o in outputs]) for path in outputs[0]})
    return found


def _shifted(run: Run, half: int | None, shift: float) -> Callable[[Any], Any]:
    """Shifts the logits of class 0 in all segments of video 0; of one half where the tensor holds both."""
    target = "b t m c" if half is not None else "b t c"

    def change(output: Any) -> Any:
        tensor = output if isinstance(output, Tensor) else output[0]
        values = run.logits.arranged(run.layout, target, tensor)
        delta = torch.zeros_like(values)
        delta[(0, slice(None), 0) if half is None else (0, slice(None), half, 0)] = shift
        if run.logits.low >= 0 and run.logits.high <= 1 + 1e-5:  # the sigmoid is inside
            values = torch.special.logit(values.clamp(1e-6, 1 - 1e-6)).add(delta).sigmoid()
        else:
            values = values + delta
        sizes = {"b": values.shape[0], "t": values.shape[1]} | ({} if half is None else {"m": 2})
        shifted = rearrange(values, f"{target} -> {run.layout}", **sizes)
        return shifted if isinstance(output, Tensor) else type(output)([shifted, *output[1:]])

    return change


def letters(layout: str) -> list[str]:
    """The axes of a layout: "(b t) c" -> ["b", "t", "c"]."""
    return layout.replace("(", " ").replace(")", " ").split()


def which_run(probe: Probe, submodule: str, index: int) -> Any:
    """A run of a submodule as a `Tap` names it."""
    count = sum(1 for path, _, at in probe.base.runs if path == submodule and at == "output")
    return "only" if count == 1 else "last" if index == count - 1 else index
