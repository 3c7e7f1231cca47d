"""Find out which half of a network's output is audio, from what each half depends on.

Shape letters: see `protocol.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import reduce
from torch import Tensor

from coleaf_framework.inspection.names import modality_of
from coleaf_framework.inspection.probe import Probe, Recording, log_energies
from coleaf_framework.inspection.seen import Seen, gradients, same
from coleaf_framework.protocol import MODALITIES, Modality

_PROBES = 8
_MOST_BRANCHES = 16
_MIN_RESIDUAL = 0.2  # share of the identity in a Jacobian; a random one of width D has 1 / D (standard deviation)
_MIN_EXCESS = 0.15
_MIN_ENERGY_GAP = 3.0  # of a log-ratio of squared gradients; networks that mix both alike have up to 2 by chance


@dataclass(frozen=True)
class Order:
    """Which half is the audio's.

    Args:
        audio: 0 or 1; None without evidence.
        why: the evidence, or what is missing, in a few words.
        overruled: a sentence, where names say otherwise; None where they do not.
    """

    audio: int | None
    why: str
    overruled: str | None = None


class ModalityOrder:
    """Evidence of modality, shared by all questions about one network.

    Args:
        probe: what runs the network.
    """

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.others: dict[Modality, Recording] = {m: probe.other(m) for m in MODALITIES}
        self._tensors = {m: dict(r.tensors()) for m, r in self.others.items()}
        self._unimodal: dict[Modality, list[Seen]] | None = None

    def moves(self, seen: Seen) -> dict[Modality, bool]:
        """Whether a tensor moves with the streams of each modality."""
        return {m: self._moved(seen.tensor, tensors.get(seen.place)) for m, tensors in self._tensors.items()}

    def unimodal(self) -> dict[Modality, list[Seen]]:
        """The tensors inside the network that depend on the streams of one modality alone."""
        if self._unimodal is None:
            self._unimodal = {m: [] for m in MODALITIES}
            for seen in self.probe.seen:
                moved = self.moves(seen)
                if seen.place.submodule is not None and sum(moved.values()) == 1:
                    self._unimodal["audio" if moved["audio"] else "visual"].append(seen)
        return self._unimodal

    def wrongly_named_branch(self) -> str | None:
        """A submodule that bears one modality's name and reads the other's streams alone; None where there is none."""
        moved: dict[str, dict[Modality, bool]] = {}
        for seen in self.probe.seen:
            path = seen.place.submodule
            if path is not None and seen.place.at == "output" and modality_of(path.rsplit(".", 1)[-1]) is not None:
                found = moved.setdefault(path, dict.fromkeys(MODALITIES, False))
                moved[path] = {m: found[m] or moves for m, moves in self.moves(seen).items()}
        for path, found in moved.items():
            if sum(found.values()) == 1 and not found[modality_of(path.rsplit(".", 1)[-1]) or "audio"]:
                return path
        return None

    def order(
        self, halves: Sequence[Tensor], moved: Sequence[dict[Modality, bool]], names: Sequence[str] = ("", "")
    ) -> Order:
        """Which of two halves is the audio's.

        Args:
            halves: two tensors of one shape, (B,T,D) or (B,C), in the network's graph.
            moved: for each, whether it moves with either modality's streams.
            names: what the network calls them, or ''.
        """
        said = self._by_name(names)
        only = [[m for m in MODALITIES if moves[m]] for moves in moved]
        if only[0] != only[1] and min(map(len, only)) == 1:
            alone = 0 if len(only[0]) == 1 else 1
            audio = alone if only[alone] == ["audio"] else 1 - alone
            which = "its" if len(only[1 - alone]) == 1 else "one half's"
            return self._told(audio, f"{which} streams are those of one modality alone", said, names)
        votes = [vote for vote in (self._residual(halves), self._same_segment(halves)) if vote is not None]
        if votes and len({audio for audio, _ in votes}) == 1:
            return self._told(votes[0][0], votes[0][1], said, names)
        if votes:
            return Order(None, "what depends on what contradicts itself")
        if said is None:
            said, names = self._by_branch_names(halves)
        gap = self._energy_gap(halves)
        by_energy = 0 if gap > 0 else 1
        if said is not None and (by_energy == said or abs(gap) < _MIN_ENERGY_GAP):
            return Order(said, f"the names {names[0]} and {names[1]}")
        if said is not None:
            return Order(None, f"the names {names[0]} and {names[1]}, and what each depends on, contradict each other")
        if abs(gap) > _MIN_ENERGY_GAP:
            factor = math.exp(abs(gap) / 2)
            return Order(by_energy, f"one half depends {factor:.1f} times more on audio than the other")
        return Order(None, "both halves depend on both modalities alike")

    def _by_branch_names(self, halves: Sequence[Tensor]) -> tuple[int | None, Sequence[str]]:
        """What the names of the submodules say that only one half depends on, as `mlp_a` and `mlp_v`."""
        named = [
            (seen, modality)
            for seen in self.probe.seen
            if seen.place.submodule is not None and seen.place.at == "output" and seen.has_gradient
            if (modality := modality_of(seen.place.submodule.rsplit(".", 1)[-1])) is not None
        ]
        tensors = [seen.tensor for seen, _ in named]
        reached = [[bool(g.any()) for g in gradients(half, tensors)] for half in halves]
        found: dict[int, list[str]] = {0: [], 1: []}
        for (seen, modality), first, second in zip(named, *reached, strict=True):
            if first != second:
                half = 0 if first else 1
                found[half if modality == "audio" else 1 - half].append(str(seen.place.submodule))
        if bool(found[0]) == bool(found[1]):
            return None, ("", "")
        audio = 0 if found[0] else 1
        paths = list(dict.fromkeys(found[audio]))
        return audio, (paths[0], paths[-1])

    def _told(self, audio: int, why: str, said: int | None, names: Sequence[str]) -> Order:
        if said is None or said == audio:
            return Order(audio, why)
        return Order(audio, why, f"their names, {names[0]} and {names[1]}, say the opposite")

    def _by_name(self, names: Sequence[str]) -> int | None:
        said = [modality_of(name) for name in names]
        if said[0] == said[1] or (None in said and sum(map(bool, names)) < 2):
            return None
        if "audio" in said:
            return said.index("audio")
        return 1 - said.index("visual")

    def _moved(self, x: Tensor, y: Tensor | None) -> bool:
        return y is None or not same(x, y)

    def _residual(self, halves: Sequence[Tensor]) -> tuple[int, str] | None:
        """The half whose Jacobian to a branch of one modality holds the identity, as a residual connection does."""
        if halves[0].ndim != 3:
            return None
        said = set()
        for modality, tensors in self.unimodal().items():
            branches = [s.tensor for s in tensors if s.has_gradient and self._fits(s, halves[0])]
            branches = branches[:_MOST_BRANCHES]
            shares = [self._identity_shares(half, branches) for half in halves]
            clear: list[tuple[Tensor, int]] = []
            for branch, one, other in zip(branches, *shares, strict=True):
                # What a mixing layer adds to the other half is made of a branch that comes before it.
                if _is_clear(one, other, branch.shape[-1]) and not any(_depends(branch, b) for b, _ in clear):
                    clear.append((branch, 0 if one > other else 1))
            said |= {half if modality == "audio" else 1 - half for _, half in clear}
        if len(said) != 1:
            return None
        return said.pop(), "each half adds to its own modality's branch (residual connection)"

    def _fits(self, seen: Seen, half: Tensor) -> bool:
        layout = seen.layout("b t d", 0)
        return layout is not None and tuple(seen.arranged(layout, "b t d").shape) == tuple(half.shape)

    def _identity_shares(self, half: Tensor, branches: list[Tensor]) -> list[float]:
        """The share of the identity in the Jacobian of a half to each branch, in [-1, 1]."""
        if not branches or not half.requires_grad:
            return [0.0] * len(branches)
        traces, norms = torch.zeros(len(branches)), torch.zeros(len(branches))
        for _ in range(_PROBES):
            signs = torch.randint(0, 2, half.shape, device=half.device).to(half.dtype) * 2 - 1
            for k, gradient in enumerate(gradients(half, branches, signs)):
                laid = signs if gradient.shape == signs.shape else signs.transpose(0, 1)
                if laid.shape == gradient.shape:
                    traces[k] += float((gradient * laid).sum())
                    norms[k] += float(gradient.square().sum())
        shares = traces / (_PROBES * norms).clamp_min(1e-20).sqrt() / math.sqrt(half.numel())
        return [float(share) for share in shares]

    def _same_segment(self, halves: Sequence[Tensor]) -> tuple[int, str] | None:
        """The half whose segment depends on its own modality's segment more than on its other segments."""
        if halves[0].ndim != 3:
            return None
        names, specs, length = list(self.probe.specs), self.probe.specs, halves[0].shape[1]
        shares = []
        for half in halves:
            inside, total = dict.fromkeys(MODALITIES, 0.0), dict.fromkeys(MODALITIES, 1e-30)
            for t in (1, length // 2, length - 2):
                weights = torch.zeros_like(half)
                weights[:, t] = torch.randn_like(weights[:, t])
                streams = [self.probe.base.streams[n] for n in names]
                for name, g in zip(names, gradients(half, streams, weights), strict=True):
                    energy = reduce(g.square(), "b (t k) d -> t", "sum", t=length)
                    inside[specs[name].modality] += float(energy[t])
                    total[specs[name].modality] += float(energy.sum())
            shares.append(inside["audio"] / total["audio"] - inside["visual"] / total["visual"])
        if shares[0] - shares[1] > 2 * _MIN_EXCESS and shares[0] > 0 > shares[1]:
            return 0, "each half depends on its own modality's segment, and on all segments of the other's"
        if shares[1] - shares[0] > 2 * _MIN_EXCESS and shares[1] > 0 > shares[0]:
            return 1, "each half depends on its own modality's segment, and on all segments of the other's"
        return None

    def _energy_gap(self, halves: Sequence[Tensor]) -> float:
        logs = [log_energies(half, self.probe.base, self.probe.specs) for half in halves]
        return logs[0] - logs[1]


def _is_clear(one: float, other: float, width: int) -> bool:
    """Whether the identity is in one Jacobian and not in the other, beyond what random ones have."""
    return max(one, other) > max(_MIN_RESIDUAL, 4 / width) and min(one, other) < max(one, other) / 2


def _depends(x: Tensor, on: Tensor) -> bool:
    return x is not on and bool(gradients(x, [on])[0].any())
