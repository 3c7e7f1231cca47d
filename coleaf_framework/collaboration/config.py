"""Which terms train the branches, in which form, how strongly and from when."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from coleaf_framework._config import StrictConfig


class CoLeaFConfig(StrictConfig):
    """The collaborative part of training; the defaults are the paper's.

    Each ablation of the paper is a value here, or of the Reference:
    Table 2 `contrast`, Table 3 `self_modality_weight: 0`, Table 4 `cooccurrence_weight: 0` and the class-token
    Reference's option `class_tokens: false`, Table 5 `enabled: false`.

    Where the authors' code departs from the paper, a value chooses between the two, so that each departure can be
    measured by itself; `CoLeaFConfig.official()` has them all (docs/recipes.md).
    """

    enabled: bool = Field(True, description="False trains the Anchor alone, by the same loop")
    contrast: Literal["event_aware", "nce", "bce", "none"] = Field(
        "event_aware", description="event_aware, nce, bce or none; Table 2"
    )
    contrast_weight: float = Field(1.0, gt=0, description="of eq. 8")
    cooccurrence_weight: float = Field(1.0, ge=0, description="of eq. 13; Table 4")
    self_modality_weight: float = Field(1.0, ge=0, description="of the BCE after eq. 12; Table 3")
    threshold: float = Field(0.5, ge=0, le=1, description="theta of eq. 9 and 12")
    temperature: float = Field(0.2, gt=0, description="tau of eq. 8")
    normalize_tokens: bool = Field(True, description="L2-normalise tokens before the contrast")
    positive_in_denominator: bool = Field(False, description="InfoNCE's sum instead of eq. 8's")
    anchor_warmup: int = Field(1, ge=0, description="epochs before the Anchor's collaborative terms start")
    reference_warmup: int = Field(3, ge=0, description="epochs before self-modality distillation starts")
    update: Literal["together", "reference_first"] = Field(
        "together", description="one step for both branches; or the Reference first, then the Anchor against it"
    )
    contrast_form: Literal["paper", "official"] = Field(
        "paper", description="eq. 8; or Reference tokens as queries, smoothed targets, 0.009 audio and 1 visual"
    )
    cooccurrence_form: Literal["paper", "official"] = Field(
        "paper", description="eq. 13; or a sum over where the Reference is confident"
    )
    reference_loss: Literal["paper", "official"] = Field(
        "paper", description="BCE; or an asymmetric focal BCE in two phases, with pseudo-labels inside the label"
    )
    labels: Literal["weak", "refined"] = Field(
        "weak", description="what modalities are taught: weak labels; or the Anchor's refined ones (denoised, smoothed)"
    )
    anchor_loss: Literal["own", "video", "official"] = Field(
        "own",
        description="the Anchor's own, or BCE on video probabilities if it has none; video: the latter in any case; "
        "official: its terms audio, visual, video replaced by 2, 1, 2 x BCE",
    )

    @model_validator(mode="after")
    def _refuse_what_would_do_nothing(self) -> CoLeaFConfig:
        if self.positive_in_denominator and (self.contrast in ("bce", "none") or self.contrast_form == "official"):
            raise ValueError("positive_in_denominator is for the paper's form of contrast event_aware or nce alone")
        return self

    @classmethod
    def official(cls, **changes: Any) -> CoLeaFConfig:
        """The authors' code instead of the paper, wherever the two differ; `changes` on top."""
        return cls(**{**OFFICIAL, **changes})


OFFICIAL = {
    "update": "reference_first",
    "contrast_form": "official",
    "cooccurrence_form": "official",
    "reference_loss": "official",
    "labels": "refined",
    "anchor_loss": "official",
}
