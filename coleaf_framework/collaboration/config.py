"""Which terms train the branches, in which form, how strongly and from when."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from coleaf_framework._config import StrictConfig
from coleaf_framework.collaboration.noise_ratios import NoiseRatios, read_noise_ratios


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
    theta: Literal["counts", "expected"] = Field(
        "counts", description="weights of eq. 9-11 from thresholded counts; or from expected ones, without a threshold"
    )
    contrast_directions: Literal["anchor", "both"] = Field(
        "anchor", description="Anchor tokens as queries, eq. 8; or the mean with Reference tokens as queries"
    )
    pseudo_label_weight: float = Field(
        0.0,
        ge=0,
        description="of Table 2's BCE (the Reference's pseudo-labels for the Anchor), beside the contrast",
    )
    pseudo_label_thresholds: tuple[float, float] = Field(
        (0.5, 0.5), description="above which the Reference's audio, visual probability makes a pseudo-label"
    )
    pseudo_label_form: Literal["hard", "soft"] = Field(
        "hard", description="thresholded; or the Reference's probabilities themselves"
    )
    pseudo_label_classes: Literal["all", "weak"] = Field(
        "all", description="pseudo-labels of every class; or only of those in the weak label, others being 0"
    )
    pseudo_label_warmup: int = Field(1, ge=0, description="epochs before the Reference's pseudo-labels start")
    reference_labels: bool = Field(
        False,
        description="the Anchor's own loss sees a class in the modalities alone in which the Reference finds it "
        "(above threshold), from the Anchor's warm-up on",
    )
    reference_head_start: int = Field(
        0,
        ge=0,
        description="epochs that train the Reference alone, before all others; warm-ups and the decay of the learning "
        "rate count from their end, trainer.epochs from their beginning",
    )
    reference_ema: float = Field(
        0.0, ge=0, lt=1, description="the Anchor's teacher is the Reference's moving average, of this decay a step"
    )
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
    labels: Literal["weak", "refined", "denoised"] = Field(
        "weak",
        description="what modalities are taught: weak labels; the Anchor's refined ones (denoised, smoothed); or, for "
        "any Anchor, weak ones denoised by noise_ratios from the second epoch on (JoMoLD)",
    )
    noise_ratios: NoiseRatios | None = Field(
        None,
        description="for labels denoised: an .npz file of `coleaf noise-ratios`, or JoMoLD's; read at once, so that "
        "the run's config.yaml holds its numbers",
    )
    anchor_loss: Literal["own", "video", "official"] = Field(
        "own",
        description="the Anchor's own; if it has none, BCE on video probabilities, and on those of both modalities "
        "where the former trains no segment probabilities or the data set labels either modality; "
        "video: BCE on video probabilities alone; "
        "official: its terms audio, visual, video replaced by 2, 1, 2 x BCE",
    )

    segment_label_weight: float = Field(
        0.0,
        ge=0,
        description="of BCE on the Anchor's segment probabilities against the data's pseudo-labels (section labels), "
        "the sum of a mean for each modality (VALOR). Where labels of segments are given and neither this nor "
        "modality_label_weight is, it is 1",
    )
    segment_label_modalities: tuple[float, float] = Field(
        (1.0, 1.0), description="weights of audio and visual in that sum; [3, 1] as LSLD"
    )
    modality_label_weight: float = Field(
        0.0,
        ge=0,
        description="of BCE on the Anchor's modality probabilities against the largest pseudo-label of any segment "
        "(LEAP)",
    )
    segment_label_form: Literal["hard", "soft"] = Field(
        "soft", description="the data's pseudo-labels as they are; or hard, those above 0.5 as 1 and others as 0"
    )
    segment_label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="pseudo-labels y become (1 - s) y + s / 2, after segment_label_form"
    )
    segment_label_balance: float = Field(
        1.0,
        ge=1,
        description="largest weight of a positive label of a segment: negatives / positives of its class and modality "
        "in the training split, between 1 and this; 1 is off",
    )

    label_teacher_ema: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="a moving average of the Anchor, of this decay a step, refines the labels of segments: the mean of "
        "its segment probabilities, times the weak label, and the data's pseudo-labels where there are any",
    )
    label_teacher_warmup: int = Field(
        1, ge=0, description="epochs before the refined labels start; until then the data's pseudo-labels, if any"
    )
    mixup: float = Field(
        0.0,
        ge=0,
        description="alpha of Beta(alpha, alpha): each video of a micro-batch is mixed with another of its length, "
        "features and labels; 0 is off. For the Anchor alone as well",
    )

    @model_validator(mode="after")
    def _refuse_a_label_teacher_that_would_do_nothing(self) -> CoLeaFConfig:
        if self.label_teacher_ema and not self.reads_segment_labels:
            raise ValueError(
                "label_teacher_ema does nothing while segment_label_weight and modality_label_weight are 0"
            )
        if not self.label_teacher_ema and self.label_teacher_warmup != 1:
            raise ValueError("label_teacher_warmup does nothing while label_teacher_ema is 0")
        return self

    @model_validator(mode="after")
    def _refuse_mixup_where_labels_must_be_binary(self) -> CoLeaFConfig:
        if not self.mixup:
            return self
        for name, value in BINARY_LABELS.items():
            if getattr(self, name) == value and (self.enabled or name == "segment_label_form"):
                shown = str(value).lower() if isinstance(value, bool) else value
                raise ValueError(
                    f"mixup makes soft labels, but {name} {shown} reads labels as present or absent: use one of the two"
                )
        return self

    @model_validator(mode="after")
    def _refuse_pseudo_label_options_that_would_do_nothing(self) -> CoLeaFConfig:
        fields = type(self).model_fields
        if not (min(self.segment_label_modalities) >= 0 < max(self.segment_label_modalities)):
            raise ValueError(
                f"segment_label_modalities is {self.segment_label_modalities}, where two weights of at least 0, not "
                "both 0, were expected"
            )
        of_modalities_too = ("segment_label_form", "segment_label_smoothing")
        for name in (*of_modalities_too, "segment_label_balance", "segment_label_modalities"):
            if getattr(self, name) == fields[name].default or self.segment_label_weight:
                continue
            if name not in of_modalities_too or not self.modality_label_weight:
                raise ValueError(f"{name} does nothing while segment_label_weight is 0")
        return self

    @field_validator("noise_ratios", mode="before")
    @classmethod
    def _read_file(cls, given: Any) -> Any:
        return read_noise_ratios(Path(given)) if isinstance(given, str | Path) else given

    @model_validator(mode="after")
    def _denoise_by_ratios_that_something_reads(self) -> CoLeaFConfig:
        if (self.labels == "denoised") != (self.noise_ratios is not None):
            raise ValueError("labels denoised and noise_ratios need each other")
        if self.labels == "denoised" and self.reference_labels:
            raise ValueError(
                "labels denoised and reference_labels exclude each other: both replace the Anchor's labels"
            )
        if self.labels == "denoised" and self.anchor_loss == "video" and not self.enabled:
            raise ValueError("labels denoised are of modalities, which anchor_loss video does not read")
        return self

    @model_validator(mode="after")
    def _refuse_what_would_do_nothing(self) -> CoLeaFConfig:
        for name in ("theta", "contrast_directions"):
            changed = getattr(self, name) != type(self).model_fields[name].default
            if changed and (self.contrast != "event_aware" or self.contrast_form == "official"):
                raise ValueError(f"{name} is for the paper's form of contrast event_aware alone")
        if not all(0 <= threshold <= 1 for threshold in self.pseudo_label_thresholds):
            raise ValueError(f"pseudo_label_thresholds must be in [0, 1], got {self.pseudo_label_thresholds}")
        changed = [
            name
            for name in type(self).model_fields
            if name.startswith("pseudo_label_") and getattr(self, name) != type(self).model_fields[name].default
        ]
        if changed and not self.pseudo_label_weight:
            raise ValueError(f"{changed[0]} does nothing while pseudo_label_weight is 0")
        if self.reference_ema and not (self.teaching or self.reference_labels):
            raise ValueError("reference_ema does nothing where the Reference teaches the Anchor nothing")
        if self.reference_labels and self.anchor_loss == "video":
            raise ValueError("reference_labels are read by the Anchor's own loss, which anchor_loss video replaces")
        if self.pseudo_label_form == "soft" and self.pseudo_label_thresholds != (0.5, 0.5):
            raise ValueError("pseudo_label_thresholds are for pseudo_label_form hard alone")
        if self.positive_in_denominator and (self.contrast in ("bce", "none") or self.contrast_form == "official"):
            raise ValueError("positive_in_denominator is for the paper's form of contrast event_aware or nce alone")
        return self

    @property
    def teaching(self) -> tuple[str, ...]:
        """Names of the terms by which the Reference teaches the Anchor, those of weight 0 left out."""
        weights = {
            "contrast": 0.0 if self.contrast == "none" else self.contrast_weight,
            "cooccurrence": self.cooccurrence_weight,
            "pseudo_labels": self.pseudo_label_weight,
        }
        return tuple(name for name, weight in weights.items() if weight)

    @property
    def reads_segment_labels(self) -> bool:
        """Whether some term reads the data's pseudo-labels of segments."""
        return bool(self.segment_label_weight or self.modality_label_weight)

    @classmethod
    def strong(cls, **changes: Any) -> CoLeaFConfig:
        """The paper's values plus those measured to help both HAN and CMPAE; `changes` on top."""
        return cls(**{**STRONG, **changes})

    @classmethod
    def official(cls, **changes: Any) -> CoLeaFConfig:
        """The authors' code instead of the paper, wherever the two differ; `changes` on top."""
        return cls(**{**OFFICIAL, **changes})


# Values that read a label as present or absent (above 0.5), which a mixture of two videos' labels is not.
BINARY_LABELS: dict[str, Any] = {
    "labels": "refined",
    "cooccurrence_form": "official",
    "reference_loss": "official",
    "reference_labels": True,
    "pseudo_label_classes": "weak",
    "segment_label_form": "hard",
}

OFFICIAL = {
    "update": "reference_first",
    "contrast_form": "official",
    "cooccurrence_form": "official",
    "reference_loss": "official",
    "labels": "refined",
    "anchor_loss": "official",
}

# What passed the rule for defaults on both Anchors (docs/results.md), in place of the paper's values.
STRONG = {"pseudo_label_weight": 1.0, "pseudo_label_form": "soft"}
