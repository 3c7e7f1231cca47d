"""The recipes ma and jomold: a first run, its estimate of wrong training labels, and a run trained with that.

RUN/step1/              step 1, a run folder: MA's base model, or JoMoLD's noise estimator
RUN/removals.json       step 2 of ma: labels that are wrong in a modality
RUN/noise_ratios.npz    step 2 of jomold: shares of wrong labels
RUN/recipe.yaml         the configuration, from which `--resume` goes on before step 3 has begun
RUN/                    step 3, trained from scratch

Steps 1 and 2 train the Anchor alone, with weak labels alone, whatever is set for step 3.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from coleaf_framework._text import say
from coleaf_framework.collaboration import CoLeaFConfig, read_noise_ratios, write_noise_ratios
from coleaf_framework.data import AVVPDataset
from coleaf_framework.data.labels import LabelsConfig, SourceConfig, weak_labels_of
from coleaf_framework.labelling.exchange import draw_partners, remove_labels
from coleaf_framework.labelling.noise import estimate_noise_ratios
from coleaf_framework.protocol import MODALITIES
from coleaf_framework.record.config import RunConfig
from coleaf_framework.storage import CONFIG, WEIGHTS, make_folder, write_yaml
from coleaf_framework.training import CoLeaFTrainer
from coleaf_framework.training.distributed import DistributedContext
from coleaf_framework.training.experiment import build_model, open_split, train
from coleaf_framework.training.run_folder import RESUME, OnExisting, RunFolder

STEP1, PLAN = "step1", "recipe.yaml"


class Steps(ABC):
    """The parts in which the recipes of three steps differ.

    Attributes:
        file: what step 2 writes, in the run folder.
        told: what each step does.
        instead: what a user may give in place of steps 1 and 2.
    """

    file: str
    told: tuple[str, str, str]
    instead: str

    @abstractmethod
    def given(self, config: RunConfig) -> bool:
        """Whether a configuration has the result of steps 1 and 2 already."""

    @abstractmethod
    def check(self, config: RunConfig, data: AVVPDataset) -> None:
        """Check, before anything is trained, that the steps can be made.

        Args:
            config: of the recipe.
            data: the training split, without pseudo-labels.

        Raises:
            ValueError: they cannot; or step 3's model cannot be built.
        """

    def first(self, config: RunConfig) -> RunConfig:
        """The configuration of step 1, the Anchor alone by its published schedule."""
        return config.model_copy(
            update={"recipe": "published", "coleaf": CoLeaFConfig(enabled=False), "labels": LabelsConfig()}
        )

    @abstractmethod
    def write(self, trainer: CoLeaFTrainer, run: Path, data: AVVPDataset, path: Path) -> str:
        """Make step 2, on every rank; the first one writes.

        Args:
            trainer: of step 1.
            run: its folder.
            data: the training split.
            path: the file to write.

        Returns:
            A sentence on what was found.
        """

    @abstractmethod
    def last(self, config: RunConfig, path: Path, classes: Sequence[str]) -> RunConfig:
        """The configuration of step 3.

        Args:
            config: of the recipe.
            path: step 2's file.
            classes: the data's.

        Raises:
            ValueError: the file is of other classes.
        """


class MASteps(Steps):
    """Wu and Yang, CVPR 2021."""

    file = "removals.json"
    told = ("train the base model", "remove labels by exchanged tracks", "train without the removed labels")
    instead = "--labels ma=FILE"

    def given(self, config: RunConfig) -> bool:
        """Whether there are labels of kind ma."""
        return any(source.kind == "ma" for source in config.labels.sources)

    def check(self, config: RunConfig, data: AVVPDataset) -> None:
        """Each video needs another one that shares no label with it, and there must be no labels of modalities yet."""
        if data[0].modality_labels is not None:
            raise ValueError(
                f"recipe ma finds labels that are wrong in a modality, but {data.name} has labels of each modality: "
                "take the recipe published"
            )
        draw_partners(data.ids, weak_labels_of(data), config.trainer.seed)
        build_model(config, data)

    def write(self, trainer: CoLeaFTrainer, run: Path, data: AVVPDataset, path: Path) -> str:
        """The removals, see `labelling.exchange`."""
        return remove_labels(trainer, run, data, path, trainer.config.seed)

    def last(self, config: RunConfig, path: Path, classes: Sequence[str]) -> RunConfig:
        """With the removals; whether they are of these classes is checked where they are read."""
        removals = SourceConfig(kind="ma", path=path.resolve().as_posix())
        labels = LabelsConfig(sources=(*config.labels.sources, removals))
        return config.model_copy(update={"labels": labels})


class JoMoLDSteps(Steps):
    """Cheng et al., ECCV 2022."""

    file = "noise_ratios.npz"
    told = ("train the noise estimator", "estimate noise ratios", "train with denoised labels")
    instead = "--labels jomold=FILE"

    def given(self, config: RunConfig) -> bool:
        """Whether there are noise ratios."""
        return config.anchor.options.get("noise_ratios") is not None

    def check(self, config: RunConfig, data: AVVPDataset) -> None:
        """The network of step 3 must be another one than that of step 1."""
        if config.anchor.options.get("cross_attention") is False:
            raise ValueError(
                "recipe jomold: anchor.options.cross_attention=false is the network of step 1, which the recipe makes "
                "by itself: leave it out"
            )
        build_model(_with_ratios(config, dict.fromkeys(MODALITIES, 0.0)), data)

    def first(self, config: RunConfig) -> RunConfig:
        """The same network without cross-attention."""
        first = super().first(config)
        options = {key: x for key, x in config.anchor.options.items() if key != "noise_ratios"}
        anchor = first.anchor.model_copy(update={"options": {**options, "cross_attention": False}})
        return first.model_copy(update={"anchor": anchor})

    def write(self, trainer: CoLeaFTrainer, run: Path, data: AVVPDataset, path: Path) -> str:
        """The ratios, see `labelling.noise`."""
        ratios = estimate_noise_ratios(trainer, data)
        if trainer.distributed.first:
            write_noise_ratios(path, ratios, data.classes)
        audio, visual = ratios.mean(1).tolist()
        return (
            f"{path}: of a class's labels, {audio:.1%} (audio) and {visual:.1%} (visual) are taken for wrong on average"
        )

    def last(self, config: RunConfig, path: Path, classes: Sequence[str]) -> RunConfig:
        """With the ratios as numbers, so that the run's `config.yaml` holds them."""
        ratios = read_noise_ratios(path)
        ratios.require_classes(classes, path)
        return _with_ratios(config, {name: list(getattr(ratios, name)) for name in MODALITIES})


def _with_ratios(config: RunConfig, ratios: Mapping[str, object]) -> RunConfig:
    options = {**config.anchor.options, "noise_ratios": ratios}
    return config.model_copy(update={"anchor": config.anchor.model_copy(update={"options": options})})


STEPS: Mapping[str, Steps] = {"ma": MASteps(), "jomold": JoMoLDSteps()}


def missing_steps(config: RunConfig) -> Steps | None:
    """The steps that come before a configuration's training; None where there are none, or their result is given."""
    steps = STEPS.get(config.recipe)
    return None if steps is None or steps.given(config) else steps


def file_to_resume(out: Path) -> Path | None:
    """The file that holds the configuration of a run folder's training, in whichever step it is; None without one."""
    return next((out / name for name in (CONFIG, PLAN) if (out / name).is_file()), None)


def train_recipe(
    config: RunConfig,
    out: Path,
    on_existing: OnExisting = "refuse",
    *,
    profile: bool = False,
    accept_changes: bool = False,
) -> CoLeaFTrainer:
    """`training.experiment.train`, preceded by the further steps that the recipe has.

    With "resume" it goes on at the step under way. Under torchrun every process calls this.

    Raises:
        FileExistsError: `out` holds a run, in whichever step, that is neither to be resumed nor to be replaced.
        FileNotFoundError: `out` holds nothing to resume.
        ValueError: a step cannot be made with these data; or as `train` does.
    """
    shown = DistributedContext.join().first
    steps = missing_steps(config)
    if steps is None:
        if config.recipe in STEPS and shown:
            say(_without_steps(config.recipe, out, on_existing))
        return train(config, out, on_existing, profile=profile, accept_changes=accept_changes)
    data = open_split(config.data, "train")
    steps.check(config, data)
    _claim(out, steps, on_existing, config)
    done = _first_ranks((out / steps.file).is_file())
    if done:
        _tell(shown, 1, steps, ": done before")
        _tell(shown, 2, steps, f": done before, {out / steps.file}")
    else:
        try:
            _make_first_steps(steps, config, out, data, accept_changes=accept_changes)
        except KeyboardInterrupt as stopped:
            saved = str(stopped) or "nothing of the step under way was saved"
            raise KeyboardInterrupt(f"{saved}; --resume --out {out} goes on with the recipe") from None
    _tell(shown, 3, steps, f" in {out}")
    mode: OnExisting = "resume" if _first_ranks((out / CONFIG).is_file()) else "refuse"
    last = steps.last(config, out / steps.file, data.classes)
    return train(last, out, mode, profile=profile, accept_changes=accept_changes)


def _make_first_steps(steps: Steps, config: RunConfig, out: Path, data: AVVPDataset, *, accept_changes: bool) -> None:
    shown, step1 = DistributedContext.join().first, out / STEP1
    _tell(shown, 1, steps, f" in {step1}")
    mode: OnExisting = "resume" if _first_ranks((step1 / CONFIG).is_file()) else "refuse"
    trainer = train(steps.first(config), step1, mode, accept_changes=accept_changes)
    _tell(shown, 2, steps)
    found = steps.write(trainer, step1, data, out / steps.file)
    _first_ranks(True)  # the others wait until the file is there
    if shown:
        say(found)


def _claim(out: Path, steps: Steps, on_existing: OnExisting, config: RunConfig) -> None:
    """Make the folder ready for the first of the steps that are still to be made, and write the plan."""
    held = [name for name in (STEP1, steps.file, PLAN, CONFIG, WEIGHTS, RESUME) if (out / name).exists()]
    if on_existing == "refuse" and _first_ranks(bool(held)):
        raise FileExistsError(
            f"{out} holds another run ({', '.join(held)}): pass --resume to go on with it, or --overwrite"
        )
    if on_existing == "resume" and not _first_ranks(bool(held)):
        raise FileNotFoundError(f"{out} holds no run to go on with: leave out --resume")
    if not DistributedContext.join().first:
        return
    make_folder(out)
    if on_existing == "overwrite":
        for folder in (out, out / STEP1):
            RunFolder(folder, "overwrite").close()
        (out / steps.file).unlink(missing_ok=True)
    write_yaml(out / PLAN, config.with_absolute_root().model_dump(mode="json"))


def _first_ranks(answer: bool) -> bool:
    """The first rank's answer, on every rank, since it may write while the others look."""
    distributed = DistributedContext.join()
    return bool(distributed.highest(int(answer and distributed.first)))


def _tell(shown: bool, number: int, steps: Steps, what: str = "") -> None:
    if shown:
        say(f"step {number} of 3: {steps.told[number - 1]}{what}")
        sys.stdout.flush()  # before the epochs, which are told on standard error


def _without_steps(recipe: str, out: Path, on_existing: OnExisting) -> str:
    steps = STEPS[recipe]
    if on_existing == "resume" and (out / steps.file).is_file():
        return f"step 3 of 3: {steps.told[2]}, resumed in {out}"
    return f"recipe {recipe}: what steps 1 and 2 find is given ({steps.instead}), so step 3 alone is made"
