"""The model card of a run, README.md of its repository, from the run's record and given measurements."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from coleaf_framework._config import shown
from coleaf_framework._extras import require_library
from coleaf_framework._text import one_line
from coleaf_framework.collaboration import CoLeaFConfig
from coleaf_framework.metrics import DecisionConfig
from coleaf_framework.record.config import DataConfig
from coleaf_framework.record.run_record import RunRecord
from coleaf_framework.record.trainer_config import TrainerConfig

_REPOSITORY = "https://github.com/coleaf-framework/coleaf_framework"
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]*")
_NONE_MEASURED = (
    "None: the run keeps no predictions of a split with ground truth. `coleaf predict RUN --split test` makes them, "
    "and the next `coleaf push` writes their scores here."
)
_LIMITS = """\
For research on audio-visual video parsing: which of the classes above is heard, seen, or both, and when. It knows no
other class, and says nothing about who is seen or heard. It takes features of the widths above, and answers wrongly,
without an error, for features of another extractor that have the same widths. Decisions about people should not rest on
it."""
_CITATION = """\
```bibtex
@inproceedings{sardari2024coleaf,
  title     = {{CoLeaF}: A Contrastive-Collaborative Learning Framework for Weakly Supervised
               Audio-Visual Video Parsing},
  author    = {Sardari, Faegheh and Mustafa, Armin and Jackson, Philip J. B. and Hilton, Adrian},
  booktitle = {European Conference on Computer Vision (ECCV)},
  year      = {2024}
}
```"""


@dataclass(frozen=True)
class Measured:
    """Scores of a split.

    Args:
        data: name of the data set.
        split: name of the split.
        scores: name of a metric -> percent, for programs that read the card.
        text: all scores, in Markdown.
    """

    data: str
    split: str
    scores: dict[str, float]
    text: str


def require_licence(licence: str | None) -> None:
    """Check the spelling of a licence.

    Raises:
        ValueError: it is not spelt as the Hub spells licences.
    """
    if licence is not None and not _LICENCE.fullmatch(licence):
        raise ValueError(
            f"licence {licence!r}: expected the Hub's identifier, such as apache-2.0, mit, cc-by-nc-4.0 or other"
        )


def model_card(
    record: RunRecord,
    repo_id: str,
    *,
    licence: str | None = None,
    measured: Sequence[Measured] = (),
    caveats: Sequence[str] = (),
    epochs_done: int | None = None,
    has_decision: bool = False,
) -> str:
    """The card, in Markdown with a head in YAML.

    Args:
        record: of the run, as it is published.
        repo_id: "user/name", by which the card says how to load.
        licence: the Hub's identifier of the weights' licence; None where none was chosen, which the card says.
        measured: scores of each split.
        caveats: sentences on the run.
        epochs_done: how many epochs it was trained for; None where that is not known.
        has_decision: whether thresholds lie beside the weights.

    Returns:
        Text of the file README.md.

    Raises:
        ImportError: huggingface_hub is not installed.
        ValueError: the licence is misspelt.
    """
    require_licence(licence)
    anchor = _anchor(record)
    sections = [
        f"# {escaped(repo_id.rpartition('/')[2])}",
        f"{escaped(anchor)}, {_how(record)} [coleaf_framework]({_REPOSITORY}) for audio-visual video parsing: which "
        "events of a video are heard, seen, or both, and when.",
        *_synthetic(record),
        "## Use",
        _use(record, repo_id, has_decision=has_decision),
        "## Scores",
        "\n\n".join(each.text for each in measured) or _NONE_MEASURED,
        *(["## Caveats", "\n".join(f"- {escaped(caveat)}" for caveat in caveats)] if caveats else []),
        "## Data",
        _data(record),
        "## Training",
        _training(record, epochs_done),
        "## Intended use and limits",
        _LIMITS,
        "## Licence",
        _licence(licence),
        "## Citation",
        _CITATION,
    ]
    return f"---\n{_head(record, repo_id, licence, measured)}\n---\n\n" + "\n\n".join(sections) + "\n"


def escaped(text: str) -> str:
    """A text on one line, in which no character is markup in Markdown or HTML.

    Example:
        >>> escaped("a_b | <i>")
        'a\\\\_b \\\\| \\\\<i\\\\>'
    """
    return re.sub(r"([\\`*_{}\[\]<>#|~&!$])", r"\\\1", one_line(text))


def _code(text: str) -> str:
    """A text as code, whatever quotes it holds."""
    text = one_line(text).replace("|", "¦")
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def _head(record: RunRecord, repo_id: str, licence: str | None, measured: Sequence[Measured]) -> str:
    """The card's YAML metadata, for the Hub's search and its box of scores."""
    hub = require_library("huggingface_hub", "a model card", "hub")
    results = [
        hub.EvalResult(
            task_type="video-classification",
            task_name="Audio-visual video parsing",
            dataset_type=re.sub(r"[^a-z0-9]+", "-", each.data.lower()).strip("-") or "data",
            dataset_name=each.data,
            dataset_split=each.split,
            metric_type="f1",
            metric_name=f"F-score, {name}, percent",
            metric_value=round(value, 2),
        )
        for each in measured
        for name, value in each.scores.items()
    ]
    about: dict[str, Any] = {"eval_results": results, "model_name": repo_id.rpartition("/")[2]} if results else {}
    if licence is not None:
        about["license"] = licence
    data = hub.ModelCardData(
        library_name="coleaf_framework",
        pipeline_tag="video-classification",
        tags=["audio-visual-video-parsing", "weakly-supervised", *(["coleaf"] if record.coleaf.enabled else [])],
        **about,
    )
    return str(data.to_yaml()).strip()


def _anchor(record: RunRecord) -> str:
    return record.anchor.name or record.model.anchor_class or "a network of its author's own"


def _how(record: RunRecord) -> str:
    if record.train is None:
        return "in the form of"  # untrained, or trained elsewhere
    return "trained by CoLeaF (ECCV 2024) with" if record.coleaf.enabled else "trained alone, without CoLeaF, with"


def _synthetic(record: RunRecord) -> list[str]:
    """A warning at the top, where no real video was seen."""
    name = record.train.name if record.train is not None else ""
    made_up = "synthetic" in name or (record.data is not None and record.data.root is None)
    return ["> **Trained on synthetic features.** Its scores say nothing of real videos."] if made_up else []


def _use(record: RunRecord, repo_id: str, *, has_decision: bool) -> str:
    name = record.anchor.name
    own = name is None or ":" in name
    given = ", trust=True" if own and name else ", anchor=network" if own else ""
    option = " --trust" if own and name else " --anchor wrap.yaml" if own else ""
    lines = ["pip install 'coleaf-framework[hub]'"]
    if record.features is not None:
        lines.append(f"coleaf parse video.mp4 --run {repo_id}{option}")
    lines.append(f"coleaf evaluate {repo_id} --data FOLDER{option}")
    text = "```sh\n" + "\n".join(lines) + "\n```\n\n```python\nfrom coleaf_framework import CoLeaF, load_anchor\n\n"
    text += f'anchor = load_anchor("{repo_id}"{given})  # the network alone, which takes the streams below\n'
    text += f'model = CoLeaF.from_pretrained("{repo_id}"{given})  # with the Reference, to train on\n```\n\n'
    if own and name:
        text += (
            f"The network is {_code(name)}, code of its author's that is not in this repository: install it first, "
            "and read it before you pass `--trust` or `trust=True`.\n\n"
        )
    elif own:
        text += (
            f"The network is {_code(str(record.model.anchor_class))}, code of its author's that is not in this "
            "repository: make it yourself, and pass it, or a declaration file that says how it is made.\n\n"
        )
    if has_decision:
        text += (
            f"Thresholds that were chosen for it are in `decision.yaml`: `hf download {repo_id} decision.yaml "
            "--local-dir .`, then `--decision decision.yaml`. Without them the thresholds of its config.yaml hold.\n\n"
        )
    return text + (
        f"To cite exact weights, name the commit: `{repo_id}@COMMIT` loads it. Weights are safetensors; nothing here "
        "is executed."
    )


def _data(record: RunRecord) -> str:
    about, train = record.model, record.train
    rows = []
    if train is not None:
        rows.append(f"Trained on {train.videos:,} videos of {escaped(train.name)}.")
    else:
        rows.append("Whether and on what it was trained is not recorded.")
    names = ", ".join(map(escaped, about.class_names))
    rows.append(f"\n**{about.num_classes} classes:** {names}\n")
    rows += ["| stream | modality | width | rows a segment |", "|---|---|---:|---:|"]
    for name, stream in about.streams.items():
        spec = stream.spec
        rows.append(f"| {escaped(name)} | {spec.modality} | {spec.width} | {spec.frames} |")
    rows.append("")
    if (features := record.features) is None:
        rows.append("The record does not say how the features were extracted.")
    else:
        weights = ", ".join(f"{escaped(net)} {_code(digest)}" for net, digest in features.weights.items())
        rows.append(
            f"Features by the recipe {_code(features.recipe)}, version {features.version}: {features.frame_rate} "
            f"frames and {features.sample_rate:,} samples a second, windows of {features.window} s, decoded by "
            f"{escaped(features.decoder)}; networks: {weights or 'none'} (SHA-256, first digits)."
        )
    return "\n".join(rows)


def _training(record: RunRecord, epochs_done: int | None) -> str:
    rows = []
    if record.trainer is not None:
        seed, epochs = record.trainer.seed, record.trainer.epochs
        done = f"{epochs_done} of {epochs} epochs" if epochs_done is not None else f"at most {epochs} epochs"
        kept = "the one that validated best is kept" if record.trainer.monitor else "the last one is kept"
        rows.append(f"- recipe `{record.recipe or 'made in Python'}`, seed {seed}, {done}; {kept}")
    version = record.made_of.version if record.made_of is not None else None
    rows.append(f"- coleaf_framework {version or 'of a version that is not recorded'}")
    if record.coleaf.enabled:
        rows.append(f"- Reference {_code(str(record.reference.name))}")
    rows += [f"- {setting}" for setting in _settings(record)]
    if record.labels is not None:
        kinds = ", ".join(source.kind for source in record.labels.sources)
        rows.append(f"- pseudo-labels of the training split: {kinds}")
    return "\n".join([*rows, "", "Whatever is not listed is the default; `config.yaml` has all of it."])


def _settings(record: RunRecord) -> list[str]:
    """Each setting that is not the default and is not in the card's text, in Markdown."""
    told = {"seed", "epochs", "root", "streams"}
    sections: tuple[tuple[str, BaseModel | None, BaseModel], ...] = (
        ("coleaf", record.coleaf, CoLeaFConfig()),
        ("data", record.data, DataConfig()),
        ("decision", record.decision, DecisionConfig()),
        ("trainer", record.trainer, TrainerConfig()),
    )
    own = {"anchor.options": record.anchor.options, "reference.options": record.reference.options}
    for name, section, default in sections:
        values, usual = section.model_dump() if section is not None else {}, default.model_dump()
        own[name] = {key: x for key, x in values.items() if x != usual[key] and key not in told}
    if record.model.default_loss != "video":
        own["model"] = {"default_loss": record.model.default_loss}
    rows = [_code(f"{section}.{key} = {shown(x)}") for section, values in own.items() for key, x in values.items()]
    given = {"loss of the Anchor": record.model.loss or None}
    if record.train is not None:
        given |= {"optimiser": record.train.optimizer, "schedule": record.train.schedule}
    return rows + [f"{what}: {_code(str(x))}, given from Python" for what, x in given.items() if x is not None]


def _licence(licence: str | None) -> str:
    chosen = (
        f"Weights: {_code(licence)}."
        if licence is not None
        else "No licence was chosen for these weights, so that nobody but their author may use them: ask the author."
    )
    return (
        f"{chosen} The data set and the networks that made its features have licences of their own, which this does "
        "not change."
    )
