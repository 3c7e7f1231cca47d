"""`describe`: inspect a network's inputs, outputs and submodules, and propose a `wrap(...)` call for it.

Shape letters: see `protocol.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from coleaf_framework._config import reason, shown
from coleaf_framework.adapters import Calling, Declaration, Inputs, takes_mask
from coleaf_framework.inspection.arguments import FoundInputs, find_inputs, spelled
from coleaf_framework.inspection.modality_order import ModalityOrder
from coleaf_framework.inspection.modes import differences_between_modes
from coleaf_framework.inspection.names import returned_names
from coleaf_framework.inspection.page import FIELDS, Description, Page
from coleaf_framework.inspection.probe import Probe
from coleaf_framework.inspection.proposal import propose
from coleaf_framework.inspection.proposed import Proposal, agreed
from coleaf_framework.inspection.seen import BASE
from coleaf_framework.inspection.source_code import as_source, streams_text
from coleaf_framework.protocol import LLP_STREAMS, StreamSpec
from coleaf_framework.wrapping.dry_run import dry_run
from coleaf_framework.wrapping.making import make_network, plain_options, read_attribute, require_shape
from coleaf_framework.wrapping.measuring import runner, training_signal
from coleaf_framework.wrapping.sandbox import isolated_random_state, jitter, sandbox_copy, synthetic
from coleaf_framework.wrapping.summary import summarize


def describe(
    network: nn.Module | type[nn.Module] | str,
    *,
    streams: Mapping[str, StreamSpec] | None = None,
    num_classes: int | None = None,
    inputs: Inputs | None = None,
    follow_device: bool = False,
    anchor_options: Mapping[str, Any] | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> Description:
    """Inspect a network on synthetic batches: its inputs and outputs, and how to wrap it.

    A field is proposed only on evidence, which is printed; where two candidates remain, both are named and the field is
    left open. A network that is given as a class is made with a fixed seed, so that the answer is the same every time.

    Args:
        network: an instance, a class or the name of a plugin, as for `wrap`.
        streams: its input streams; with None, its attribute `streams`, or LLP's.
        num_classes: number of classes, C; with None, its attribute `num_classes`, or inferred from its outputs.
        inputs: how it is called; with None, found by the names of its arguments, and by trying.
        follow_device: as for `wrap`.
        anchor_options: as for `wrap`.
        progress: is told each step of the inspection.

    Returns:
        Description, and the call of `wrap` that passes the dry run, if one was found; `print` shows both.

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
        >>> description.proposed["segment_probs"], description.proposed["tokens"]
        (0, 1)
    """
    with isolated_random_state():
        net = make_network(network, streams, num_classes, plain_options("anchor_options", anchor_options))
    name = type(net).__name__
    own = {what: read_attribute(net, name, what) for what in ("streams", "num_classes")}
    own_streams = own["streams"] if isinstance(own["streams"], Mapping) else None
    own_classes = own["num_classes"] if type(own["num_classes"]) is int and own["num_classes"] > 0 else None
    passed_over = [
        f"its attribute {what} is {shown(own[what])}, which declares nothing: it is passed over"
        for what, usable in (("streams", own_streams), ("num_classes", own_classes))
        if own[what] is not None and usable is None
    ]
    given = streams if streams is not None else own_streams
    specs: Mapping[str, StreamSpec] = given if given is not None else LLP_STREAMS
    require_shape(name, specs, 1 if num_classes is None else num_classes)
    inspector = _Inspector(net, specs, follow_device, progress, passed_over)
    found = inspector.find_inputs(inputs)
    return inspector.describe(
        found, num_classes, own_classes, given is None or streams is not None, assumed=given is None
    )


class _Inspector:
    """One inspection of one network."""

    def __init__(
        self,
        net: nn.Module,
        specs: Mapping[str, StreamSpec],
        follow_device: bool,
        progress: Callable[[str], None],
        notes: list[str],
    ) -> None:
        self.notes = notes
        self.net, self.specs, self.follow_device, self.progress = net, specs, follow_device, progress
        self.name = type(net).__name__

    def find_inputs(self, inputs: Inputs | None) -> FoundInputs:
        """How the network is called; runs it.

        Raises:
            ValueError: it does not run; says why.
        """
        self.progress("running it")
        with sandbox_copy(self.net) as copied:
            batch = synthetic(copied, self.specs, *BASE)

            def attempt(how: Inputs | None) -> Any:
                return self._call(how)(copied, {name: x.clone() for name, x in batch.items()})

            try:
                if inputs is None:
                    return find_inputs(copied, self.specs, attempt)
                attempt(inputs)
            except (Exception, SystemExit) as problem:
                text = str(problem) if isinstance(problem, ValueError) and inputs is None else reason(problem)
                raise ValueError(self._refusal(text, inputs)) from problem
        return FoundInputs(inputs)

    def _refusal(self, text: str, inputs: Inputs | None) -> str:
        cuda = any(word in text for word in ("CUDA", "cuda", "NVIDIA", "same device"))
        hint = "If it calls `.cuda()`, pass follow_device=True (--follow-device). " if cuda else ""
        how = "in any order" if inputs is None else f"with inputs={as_source(inputs)}"
        return (
            f"{self.name} does not run on {streams_text(self.specs)} {how}: {text}. {hint}"
            "Pass streams=... (--stream) that fit it, or inputs=... with what else it takes"
        )

    def _call(self, inputs: Inputs | None) -> Calling:
        return Calling(inputs, self.specs, follow_device=self.follow_device)

    def describe(
        self, found: FoundInputs, num_classes: int | None, own_classes: int | None, say_streams: bool, *, assumed: bool
    ) -> Description:
        """The description, once it is known how the network is called."""
        with sandbox_copy(self.net) as copied:
            self.progress("comparing batches of other sizes")
            jitter(copied)  # so that nothing is zero, or equal, only since it is initialised so
            ways = (found.inputs, *found.rivals)
            try:
                probes = [Probe(copied, self._call(way), self.specs) for way in ways]
            except RuntimeError as problem:  # its outputs may be anything
                raise ValueError(
                    f"{self.name} runs, but its outputs cannot be analysed: {reason(problem)}"
                ) from problem
            found, right = _settle(found, probes)
            probe = probes[right[0]]
            if not any(seen.place.submodule is None for seen in probe.seen):
                why = "it returns no tensor of floating-point numbers"
                raise ValueError(f"{self.name} runs, but its outputs cannot be analysed: {why}")
            classes, notes = _classes(probe, num_classes, own_classes)
            notes = [*self.notes, *notes]
            page = Page(self.name, self.net, self.specs, probe, classes, found, assumed)
            page.notes += notes
            if classes is None:
                return page.without_call("the number of classes cannot be inferred: pass num_classes (--classes)")
            modes = differences_between_modes(probe)
            self.progress("looking for the fields")
            names = returned_names(self.net)
            proposals = [propose(probes[k], classes, names, modes.by_path) for k in right]
            page.notes += [*found.notes, *modes.notes]
            page.proposal = proposal = agreed(proposals)
            if found.rivals:
                both = " and as ".join(spelled(way) for way in (found.inputs, *found.rivals))
                problem_ = (
                    f"inputs: it runs as {both}, and no name says which is right: pass inputs=... (--inputs NAME,NAME)"
                )
                return page.without_call(problem_, proposal.fields)
            if modes.changing:
                return page.without_call(modes.changing, {"inputs": found.inputs, **proposal.fields})
        arguments: dict[str, Any] = {}
        segments = BASE[1] if probe.fixed_segments_error is not None or probe.folds_segments else None
        if segments is not None:
            arguments["segments"] = segments
        if say_streams:
            arguments["streams"] = dict(self.specs)
        if own_classes != classes:
            arguments["num_classes"] = classes
        self.progress("dry run")
        return self._conclude(page, proposal, found, arguments, classes, segments)

    def _conclude(
        self,
        page: Page,
        proposal: Proposal,
        found: FoundInputs,
        arguments: dict[str, Any],
        classes: int,
        segments: int | None,
    ) -> Description:
        """Try the proposal as `wrap` would, and describe what came of it."""
        adapter: Declaration | None = None
        proposed: dict[str, Any] = {}
        call = arguments
        if found.inputs is not None or not self._follows_protocol(page.probe, classes, segments):
            proposed = {"inputs": found.inputs, **proposal.fields}
            if proposal.open:
                return page.without_call("; ".join(f"{name} is open" for name in proposal.open), proposed)
            outputs = {name: proposal.fields[name] for name in FIELDS if name != "tokens"}
            how = {"inputs": found.inputs, "follow_device": self.follow_device}
            call = {"outputs": outputs, "tokens": proposal.fields["tokens"]} | {k: x for k, x in how.items() if x}
            call |= arguments
        else:
            page.proposal = None
        try:
            if proposed:
                tokens, device = proposal.fields["tokens"], self.follow_device
                adapter = Declaration(outputs, tokens, found.inputs, streams=self.specs, follow_device=device)
            masked = takes_mask(self.net, adapter)
            result = dry_run(self.net, runner(adapter), self.specs, classes, segments, masked)
            shape: dict[str, Any] = {"streams": self.specs, "num_classes": classes, "segments": segments}
            self.progress("measuring the training signal")
            page.signal = str(training_signal(self.net, adapter, **shape))
        except (ValueError, TypeError) as problem:
            return page.without_call(str(problem), proposed)
        if result.dead:
            dead = summarize(self.net, result.dead)
            page.notes.append(f"{len(result.dead)} parameters receive no gradient and would be frozen: {dead}")
        return page.with_call(proposed, call)

    def _follows_protocol(self, probe: Probe, classes: int, segments: int | None) -> bool:
        """Whether the network returns the protocol's fields by name, so that nothing needs to be declared."""
        if not {"segment_probs", "video_probs", "tokens"} <= {path for path, _ in probe.base.returned}:
            return False
        try:
            dry_run(self.net, runner(None), self.specs, classes, segments, takes_mask(self.net, None))
        except (ValueError, TypeError):
            return False
        return True


def _settle(found: FoundInputs, probes: Sequence[Probe]) -> tuple[FoundInputs, list[int]]:
    """Choose among ways of calling the network by the names of its branches.

    Args:
        found: the ways.
        probes: of each; the first is that of `found.inputs`.

    Returns:
        What is chosen, with the rivals that are left; and the numbers of these ways.
    """
    ways = [found.inputs, *found.rivals]
    wrong = [ModalityOrder(probes[k]).wrongly_named_branch() for k in range(len(ways))]
    right = [k for k, branch in enumerate(wrong) if branch is None]
    if len(right) > 1:  # with streams in the wrong arguments, segments may not come out as many as they went in
        segments = [
            sum("t" in axis for s in probes[k].seen if s.place.submodule is None for axis in s.axes) for k in right
        ]
        best = [k for k, n in zip(right, segments, strict=True) if n == max(segments)]
        if len(best) == 1:
            note = f"called as {spelled(ways[best[0]])}, the only way in which all outputs have T segments"
            return FoundInputs(ways[best[0]], (*found.notes, note)), best
    if len(ways) > 1 and len(right) == 1:
        branch = next(branch for branch in wrong if branch is not None)
        note = f"called as {spelled(ways[right[0]])}, since its {branch} would get the other modality otherwise"
        return FoundInputs(ways[right[0]], (*found.notes, note)), right
    if len(ways) == 1 and not right:
        note = f"its {wrong[0]} gets the streams of the modality that its name does not name"
        return FoundInputs(found.inputs, (*found.notes, note)), [0]
    return found, list(range(len(ways)))


def _classes(probe: Probe, given: int | None, own: int | None) -> tuple[int | None, list[str]]:
    """The number of classes: given, or the network's attribute if its outputs have it, or inferred from them."""
    if given is not None:
        return given, []
    outputs = [s for s in probe.seen if s.place.submodule is None]
    sizes = [{n for n, axis in zip(s.tensor.shape, s.axes, strict=True) if axis in ("", "t?")} for s in outputs]
    if own is not None and any(own in found for found in sizes):
        return own, []
    flat = Counter(
        s.tensor.shape[1] for s in outputs if s.tensor.ndim == 2 and s.axes[0] == "b" and s.axes[1] in ("", "t?")
    )
    inferred = max(flat, key=lambda size: flat[size]) if flat else None
    notes = []
    if own is not None and inferred is not None:
        notes = [f"its attribute num_classes is {own}, but no output has that length: {inferred} classes are assumed"]
    return inferred, notes
