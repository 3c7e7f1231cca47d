"""Refusals and warnings of `wrap` that follow from which loss term trains which parameters of the Anchor."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from coleaf_framework.collaboration import CoLeaFConfig, custom_loss, uses_default_loss
from coleaf_framework.wrapping.checks import FIELDS
from coleaf_framework.wrapping.measured import Measured
from coleaf_framework.wrapping.summary import summarize

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SignalChecks:
    """The checks of one network.

    Args:
        network: the Anchor.
        config: the loss terms.
        found: what was measured.
        mixing: names of parameters -> whether any follow a layer that mixes segments, and the first classifier among
            their submodules; see `reach.readers_of_mixed_segments`.
    """

    network: nn.Module
    config: CoLeaFConfig
    found: Measured
    mixing: Callable[[set[str]], tuple[bool, str | None]]

    @property
    def name(self) -> str:
        """The network's, for messages."""
        return type(self.network).__name__

    @property
    def contrasts_tokens(self) -> bool:
        """Whether contrast reads the tokens."""
        return self.config.enabled and self.config.contrast not in ("none", "bce")

    def run(self) -> None:
        """Refuse, then warn.

        Raises:
            ValueError: the first refusal, in one sentence.
        """
        if not self.found.sizes:  # nothing is to be trained
            return
        self._require_contrast()
        if self.contrasts_tokens:
            self._require_tokens_behind_the_encoder()
        self._require_labels()
        self._warn_of_tokens()
        self._warn_of_modality_labels()

    def _require_contrast(self) -> None:
        if not self.config.enabled or self.config.contrast == "none":
            return
        constant = self.found.contrast_is_constant
        if constant or not self.found.terms.get("contrast"):
            why = "is the same whatever its tokens are" if constant else "gives no parameter a gradient"
            raise ValueError(
                f"{self.name}: contrast {why}, so it trains nothing: declare tokens that the network computes, such as "
                "tokens=Tap(..., at='input') at its classifier, or pass config=CoLeaFConfig(contrast='none')"
            )

    def _require_tokens_behind_the_encoder(self) -> None:
        reach = self.found.reach
        missed = self.found.fields["segment_probs"] - self.found.fields["tokens"]
        if reach is None or not reach.tokens_are_local or reach.probs_are_local:
            return
        mixes, classifier = self.mixing(missed)
        if mixes:
            tap = f"Tap({classifier!r}, at='input')" if classifier else "Tap(..., at='input')"
            raise ValueError(
                f"{self.name}: tokens are from before the encoder: a token depends on its own segment alone and "
                f"segment_probs on others too, so contrast does not train {summarize(self.network, missed)}: take the "
                f"tokens at the input of the classifier, tokens={tap}"
            )

    def _require_labels(self) -> None:
        head = self.found.segment_head
        missed = head - self.found.reached_by(self.found.label_terms)
        if not missed:
            return
        names, terms = summarize(self.network, sorted(missed)), ", ".join(self.found.label_terms)
        if missed == head:
            raise ValueError(
                f"{self.name}: no label trains {names}, on which segment_probs depends: its loss ({terms}) reads other "
                f"outputs: {self._mend()}"
            )
        logger.warning(
            "%s: its loss (%s) trains a part of what computes segment_probs: no label reaches %s",
            self.name,
            terms,
            names,
        )

    def _mend(self) -> str:
        read_by_modalities = self.found.segment_head & self.found.fields["modality_probs"]
        if self.config.anchor_loss == "video" and (read_by_modalities or custom_loss(self.network) is not None):
            return "pass config=CoLeaFConfig(anchor_loss='own')"
        given = "pass wrap(..., loss=...) with a term that reads segment_probs"
        if read_by_modalities:
            return f"{given}, or config=CoLeaFConfig(anchor_loss='official')"
        return f"{given}, or derive modality_probs from them, outputs={{'modality_probs': DERIVE, ...}}"

    def _warn_of_tokens(self) -> None:
        below, reached = self.found.fields["segment_probs"], self.found.fields["tokens"]
        missed = below - reached
        if self.contrasts_tokens and self.found.size(below & reached) < self.found.size(below) / 2:
            logger.warning(
                "%s: tokens depend on %s of the %s parameters that compute segment_probs, and not on %s: take them "
                "nearer to the classifier",
                self.name,
                f"{self.found.size(below & reached):,}",
                f"{self.found.size(below):,}",
                summarize(self.network, sorted(missed)),
            )

    def _warn_of_modality_labels(self) -> None:
        official = self.config.anchor_loss == "official"
        reads = self.found.reads_modality_labels or official
        useless = "reference_labels does nothing" if self.config.enabled and self.config.reference_labels else None
        if self.config.labels == "denoised":
            useless = "labels=denoised teaches the Anchor nothing"
        if useless is not None and not reads:
            whose = (
                "the default loss"
                if uses_default_loss(self.config, self.network, self.found.label_loss)
                else "its loss"
            )
            logger.warning("%s: %s never reads Batch.modality_labels, so %s", self.name, whose, useless)

    def run_on_dead(self, dead: tuple[str, ...]) -> None:
        """Check the parameters that no loss gives a gradient.

        Raises:
            ValueError: they are most of those that its outputs depend on.
        """
        used: set[str] = set().union(*(self.found.fields[field] for field in FIELDS))
        untrained = used & set(dead)
        if self.found.size(untrained) > self.found.size(used) / 2:
            terms = ", ".join(self.found.terms)
            raise ValueError(
                f"{self.name}: no loss ({terms}) trains {self.found.size(untrained):,} of the "
                f"{self.found.size(used):,} parameters that its outputs depend on: "
                f"{summarize(self.network, sorted(untrained))}: pass wrap(..., loss=...) with terms that read these "
                "outputs, or declare the outputs that its loss should read"
            )
        hidden = set(dead) - used
        for path, (shape, names) in self.found.raw.items():
            if names & hidden:
                logger.warning(
                    "%s: its output %s %s depends on %s, which no declared field reads",
                    self.name,
                    path,
                    shape,
                    summarize(self.network, sorted(names & hidden)),
                )


def log_default(network: nn.Module, found: Measured) -> None:
    """Say in one sentence which default was taken, where it is not BCE on the video probabilities alone."""
    if found.label_loss.default == "modalities":
        logger.warning(
            "%s: it has no loss, and BCE on video_probs alone does not train %s, on which segment_probs depends, so "
            "labels teach it by BCE on video, audio and visual probabilities",
            type(network).__name__,
            summarize(network, sorted(found.missed_by_video)),
        )
