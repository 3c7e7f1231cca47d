"""Propose where the protocol's fields are in a network's outputs, each only on evidence, which is stated.

Shape letters: see `protocol.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from einops import reduce
from einops.einops import Reduction
from torch import Tensor

from coleaf_framework.adapters import DERIVE, Out
from coleaf_framework.inspection.flat_outputs import FlatOutput, flat_outputs
from coleaf_framework.inspection.functional_heads import find_functional_head
from coleaf_framework.inspection.modality_order import ModalityOrder, Order
from coleaf_framework.inspection.names import role_of
from coleaf_framework.inspection.probe import Probe
from coleaf_framework.inspection.proposed import Proposal, agreed, paths_of
from coleaf_framework.inspection.rivals import (
    Candidate,
    Head,
    explained,
    is_one_classifier,
    needs_more_than,
    without_logits_twice,
)
from coleaf_framework.inspection.seen import Seen, same
from coleaf_framework.inspection.segment_candidates import Segments, as_path, declare, segment_candidates
from coleaf_framework.inspection.segment_heads import Classifier, find_classifier
from coleaf_framework.inspection.video_level import choose_modality, choose_video, understood
from coleaf_framework.wrapping.checks import MIN_WIDTH

_MOST_CANDIDATES = 66  # pairs of twelve outputs


def propose(probe: Probe, num_classes: int, names: Mapping[str, str], modes: Mapping[str, str]) -> Proposal:
    """Propose a declaration of each field.

    Args:
        probe: has run the network.
        num_classes: number of classes, C.
        names: path of an output -> what the network's code calls it.
        modes: path of an output -> how it differs between training and evaluation, for those that do.
    """
    return _Proposer(probe, num_classes, names, modes).propose()


class _Proposer:
    def __init__(self, probe: Probe, num_classes: int, names: Mapping[str, str], modes: Mapping[str, str]) -> None:
        self.probe, self.num_classes, self.modes = probe, num_classes, modes
        self.returned = [s for s in probe.seen if s.place.submodule is None and s.has_gradient]
        self.names = {s.place.path: names.get(s.place.path, s.place.path) for s in self.returned}
        self.orders = ModalityOrder(probe)
        self.proposal = Proposal()

    def propose(self) -> Proposal:
        chosen = self._choose_segments()
        if chosen is None:
            missing = [name for name in ("tokens", "modality_probs", "video_probs") if name not in self.proposal.fields]
            for name in missing:
                self.proposal.leave_open(name, "it is found by the segment probabilities, which are not known")
        else:
            self._fields_of(*chosen)
        for name in list(self.proposal.fields):
            problem = next((p for path, p in self.modes.items() if path in paths_of(self.proposal.fields[name])), None)
            if problem is not None:
                del self.proposal.fields[name]
                self.proposal.leave_open(name, problem)
        return self.proposal

    def _fields_of(self, segments: Segments, head: Head, flat: list[FlatOutput]) -> None:
        """All fields, once it is known what the segment probabilities are."""
        order = self._order(segments, head)
        if segments.kind in ("evidence", "dirichlet") and not any("rises" in x.responses for x in flat):
            why = f"{segments.named()}: evidence, but nothing that it returns says which half of its axis e is presence"
            self.proposal.leave_open("segment_probs", why)
        elif order.audio is None:
            choices = f"{segments.named()}: which half is the audio's is not known: {order.why}"
            self.proposal.leave_open("segment_probs", f"{choices}. Names or the network's code tell")
        else:
            self.proposal.say("segment_probs", segments.out(order.audio), self._why_segments(segments, head, order))
        self._tokens(segments, head, order)
        self._video_level(segments, order, flat)

    # --- segment probabilities

    def _choose_segments(self) -> tuple[Segments, Head, list[FlatOutput]] | None:
        """The segment probabilities, what makes them, and how the flat outputs respond to it."""
        ranked: list[tuple[int, Segments, Head, list[FlatOutput]]] = []
        candidates = segment_candidates(self.returned, self.num_classes)
        if len(candidates) > _MOST_CANDIDATES:
            why = f"{len(candidates)} outputs and pairs of outputs have its shape, too many to tell apart"
            self.proposal.leave_open("segment_probs", why)
            return None
        for candidate in candidates:
            classifier = find_classifier(self.probe, candidate.halves, self.num_classes)
            head = classifier or find_functional_head(self.probe, candidate.halves)
            if head is None and len(candidates) > 1 and not candidate.stacked:
                continue
            if head is not None and same(*head.tokens()):  # two heads on one modality's tokens
                continue
            flat = self._flat(candidate, head)
            doubtful = any(role_of(self.names[s.place.path]) in ("uncertainty", "other") for s in candidate.sources)
            exact = classifier is not None and classifier.exact
            alike = is_one_classifier(classifier)
            rank = 16 * exact + 8 * (head is not None) + 4 * (not doubtful) + 2 * alike + explained(flat)
            ranked.append((rank, candidate, head, flat))
        if not ranked:
            why = "none of its outputs looks like segment probabilities (B,T,M,C), or (B,T,C) for either modality"
            more = self.num_classes + 1
            for seen in self.returned:
                if seen.layout("b t m c", more) is not None or seen.layout("b t c", more) is not None:
                    why += f"; {seen.place.path} has one class more: of a background? Then declare it with "
                    why += f"select={{'c': '0:{self.num_classes}'}}"
                    break
            self.proposal.leave_open("segment_probs", why)
            return None
        best = max(rank for rank, *_ in ranked)
        rest = without_logits_twice([found[1:] for found in ranked if found[0] == best])
        first = rest[0]
        rivals = [s for s, *_ in rest[1:] if not s.equals(first[0])]
        rivals += self._made_with(rest, candidates)
        if rivals:
            roles = [{role_of(self.names[s.place.path]) for s in found[0].sources} for found in rest]
            said = [found for found, role in zip(rest, roles, strict=True) if role == {"segment"}]
            if len(said) == 1 and len(rivals) < len(rest) and not any(None in role for role in roles):
                return said[0]
            self._agreed_fields(rest)
            self.proposal.leave_open(
                "segment_probs",
                f"{first[0].named()} or {' or '.join(s.named() for s in rivals)}: of one shape, and nothing tells "
                "which is meant. The network's code does: what its loss and its evaluation read",
            )
            return None
        return first

    def _made_with(self, chosen: Sequence[Candidate], candidates: Sequence[Segments]) -> list[Segments]:
        """Candidates that are computed from a chosen one and something else, as a mean of two heads is."""
        found = []
        for other in candidates:
            doubtful = any(role_of(self.names[s.place.path]) in ("uncertainty", "other") for s in other.sources)
            if not doubtful and any(needs_more_than(self.probe, other, segments, head) for segments, head, _ in chosen):
                found.append(other)
        return found

    def _agreed_fields(self, rivals: Sequence[tuple[Segments, Head, list[FlatOutput]]]) -> None:
        """Propose what is the same for all candidates for the segment probabilities."""
        proposals = []
        for segments, head, flat in rivals:
            proposer = copy.copy(self)
            proposer.proposal = Proposal()
            order = proposer._order(segments, head)
            proposer._tokens(segments, head, order)
            proposer._video_level(segments, order, [x for x in flat if not x.apart()])
            proposals.append(proposer.proposal)
        heads = [head.tokens() for _, head, _ in rivals if head is not None]
        if len(heads) == len(rivals) and all(
            same(x, y) for halves in heads[1:] for x, y in zip(heads[0], halves, strict=True)
        ):
            for proposal in proposals[1:]:  # equal tokens may be read at several places
                if "tokens" in proposal.fields and "tokens" in proposals[0].fields:
                    proposal.fields["tokens"] = proposals[0].fields["tokens"]
        common = agreed(proposals)
        for name, value in common.fields.items():
            # Nothing is derived while an output that may be the field is not understood.
            derivable = all(is_one_classifier(head) and x.of_one_half() for _, head, flat in rivals for x in flat)
            if value != DERIVE or derivable:
                self.proposal.say(name, value, common.evidence[name])

    def _why_segments(self, segments: Segments, head: Head, order: Order) -> str:
        made = f"made of the outputs of {head.submodules()}" if isinstance(head, Classifier) else "made of the tokens"
        why = f"{segments.named()}: {made if head is not None else 'the only one of its shape'}"
        why += f"; {'audio' if order.audio == 0 else 'visual'} first: {order.why}"
        return why + (f" ({order.overruled})" if order.overruled else "")

    def _order(self, segments: Segments, head: Head) -> Order:
        names = [self.names[s.place.path] for s in segments.sources] if not segments.stacked else ["", ""]
        halves = head.tokens() if head is not None else list(segments.halves)
        moved = [self._moved(half, segments, k) for k, half in enumerate(segments.halves)]
        if isinstance(head, Classifier) and not head.stacked and not any(names):
            names = [run.submodule.rsplit(".", 1)[-1] for run in head.runs]
            names = names if names[0] != names[1] else ["", ""]
        return self.orders.order(halves, moved, names)

    def _moved(self, half: Tensor, segments: Segments, k: int) -> dict[Any, bool]:
        found = {}
        for modality, recording in self.orders.others.items():
            tensors = dict(recording.returned)
            source = segments.sources[0 if segments.stacked else k]
            other = tensors[source.place.path]
            target = "b t m c e" if "e" in segments.layout.split() else "b t m c" if segments.stacked else "b t c"
            values = source.arranged(segments.layout, target, other)
            if "e" in target:
                values = values[..., 0]
            found[modality] = not same(half, values[:, :, k] if segments.stacked else values)
        return found

    # --- tokens

    def _tokens(self, segments: Segments, head: Head, order: Order) -> None:
        if head is None:
            self.proposal.leave_open(
                "tokens", "no submodule and no output is what the segment probabilities are made of"
            )
            return
        halves = head.tokens()
        width = halves[0].shape[-1]
        if width < MIN_WIDTH:
            self.proposal.leave_open("tokens", f"{head.name()}: only {width} wide, too narrow for a contrast")
            return
        if order.audio is None:
            self.proposal.leave_open("tokens", f"{head.name()}: which half is the audio's is not known")
            return
        returned = self._returned_tokens(halves, order.audio)
        value = returned if returned is not None else head.declaration(self.probe, order.audio)
        self.proposal.say("tokens", value, f"{head.name()}: the segment probabilities are made of it, {width} wide")

    def _returned_tokens(self, halves: Sequence[Tensor], audio: int) -> Any:
        """The declaration of outputs that are the tokens; None where there are none."""
        places: list[int | str | None] = [None, None]
        for seen in self.returned:
            layout = seen.layout("b t m d", self.num_classes)
            if layout is not None:
                both = seen.arranged(layout, "b t m d").unbind(2)
                for flipped in (0, 1):
                    if same(both[flipped], halves[0]) and same(both[1 - flipped], halves[1]):
                        return declare(seen, layout, "b t m d", audio if not flipped else 1 - audio, {})
            if seen.layout("b t d", self.num_classes) == "b t d":
                for k, half in enumerate(halves):
                    if places[k] is None and same(seen.tensor, half):
                        places[k] = as_path(seen.place.path)
        if places[0] is None or places[1] is None:
            return None
        return places[audio], places[1 - audio]

    # --- modality and video probabilities

    def _flat(self, segments: Segments, head: Head) -> list[FlatOutput]:
        """The outputs of one row per video, with how they respond to these segment probabilities."""
        sources = [(source, segments.layout) for source in segments.sources]
        if not isinstance(head, Classifier) and "e" in segments.layout.split():
            return []
        return flat_outputs(self.probe, self.returned, self.names, self.num_classes, sources, head)

    def _video_level(self, segments: Segments, order: Order, flat: list[FlatOutput]) -> None:
        modality = choose_modality(flat, order, self.orders)
        pooled = self._pooled_evidence(segments)
        if modality.chosen is None and pooled is not None and order.audio is not None:
            first, second = pooled
            changes = {"kind": segments.kind, "absence": as_path(second.place.path)}
            layout = str(first.layout("b m c", self.num_classes))
            self.proposal.say(
                "modality_probs",
                declare(first, layout, "b m c", order.audio, changes),
                f"{first.place.path} and {second.place.path} are the segments' evidence, pooled over time",
            )
        modality, video = understood(flat, modality, choose_video(flat, modality, self.orders))
        for name, verdict in (("modality_probs", modality), ("video_probs", video)):
            if name in self.proposal.fields:
                continue
            if verdict.chosen is None or len({x.kind for x in verdict.chosen}) > 1:
                self.proposal.leave_open(name, verdict.why)
            else:
                self.proposal.say(name, _declared(verdict.chosen), verdict.why)

    def _pooled_evidence(self, segments: Segments) -> tuple[Seen, Seen] | None:
        """The outputs (B,M,C) that are presence and absence evidence of the segments, pooled over time."""
        if segments.kind not in ("evidence", "dirichlet") or not segments.stacked:
            return None
        pair = segments.sources[0].arranged(segments.layout, "b t m c e").unbind(-1)
        flat = [(s, s.layout("b m c", self.num_classes)) for s in self.returned]
        laid = [(s, s.arranged(layout, "b m c")) for s, layout in flat if layout is not None]
        pools: tuple[Reduction, ...] = ("mean", "sum", "max")
        for pool in pools:
            pooled = [reduce(x, "b t m c -> b m c", pool) for x in pair]
            places = [next((s for s, y in laid if same(y, x)), None) for x in pooled]
            if places[0] is not None and places[1] is not None:
                return places[0], places[1]
        return None


def _declared(chosen: Sequence[FlatOutput]) -> Any:
    """The declaration of one output, of the audio's and the visual's, or of none."""
    if not chosen:
        return DERIVE
    changes: dict[str, Any] = {} if chosen[0].kind == "probs" else {"kind": chosen[0].kind}
    first = chosen[0]
    if first.index is not None:
        return declare(first.seen, first.layout, "b m c", first.index, changes)
    if len(chosen) == 1:
        return declare(first.seen, first.layout, "b c", 0, changes)
    paths = as_path(first.path), as_path(chosen[1].path)
    return Out(paths[0], visual=paths[1], **changes) if changes else paths
