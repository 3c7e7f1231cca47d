"""Published checkpoints: weights in, a network or a run folder out."""

from __future__ import annotations

import logging
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from coleaf_framework._config import reason
from coleaf_framework.adapters import is_declaration_file
from coleaf_framework.collaboration import CoLeaFConfig
from coleaf_framework.data import LLP_CLASSES
from coleaf_framework.metrics import DecisionConfig
from coleaf_framework.model.coleaf import require_record
from coleaf_framework.plugins import create_anchor, published_decision, published_options
from coleaf_framework.record.config import TrainerConfig
from coleaf_framework.storage import require_file
from coleaf_framework.training.recognizing import looks_like
from coleaf_framework.training.run_folder import OnExisting, RunFolder
from coleaf_framework.wrapping import wrap

logger = logging.getLogger(__name__)

_INSIDE = ("model", "state_dict")
_PARALLEL = "module."


def import_checkpoint(path: Path | str, name: str, **options: Any) -> nn.Module:
    """An Anchor plugin with the weights of a published checkpoint, on the CPU, in evaluation mode.

    Parameters of the checkpoint that the network does not have are logged: published files hold some that their own
    code never uses. So is the network's `import_note`, where it has one.

    Args:
        path: a `.pt` or `.pth` file: a state dict, bare or under "model" (or "state_dict"), with or without the prefix
            of DataParallel. It is read as tensors only; anything that would have to be executed is refused.
        name: of the Anchor plugin; `coleaf plugins` lists them.
        options: of its constructor, such as `num_classes`; its attribute `published_options` says those that a
            published checkpoint needs.

    Returns:
        The network, with every parameter filled.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, is no checkpoint, or lacks parameters of the network or has them in another shape;
            lists them, and names the plugins whose parameters it has, where there are any.
    """
    network = create_anchor(name, **_with_published(options, name))
    _load_into(network, Path(path), name)
    return network.eval()


def import_run(
    path: Path | str,
    name: str,
    out: Path | str,
    on_existing: OnExisting = "refuse",
    *,
    classes: Sequence[str] | None = None,
    **options: Any,
) -> nn.Module:
    """A published checkpoint as a run folder, for `coleaf evaluate` and `predict`; returns the network.

    Arguments and errors as in `import_checkpoint`; `out` and `on_existing` as in `CoLeaFTrainer`.

    Args:
        classes: names of the classes in the order of the checkpoint, which data must have to be scored; where None and
            there are 25, LLP's in the order of the published code.
    """
    shape = {key: options.pop(key) for key in ("streams", "num_classes") if key in options}
    options = _with_published(options, name)
    model = wrap(name, config=CoLeaFConfig(enabled=False), anchor_options=options, **shape)
    _load_into(model.anchor, Path(path), name)
    record, decision = require_record(model), DecisionConfig(**published_decision(model.anchor))
    if classes is not None and len(classes) != model.num_classes:
        raise ValueError(f"{path}: {len(classes)} class names for a network of {model.num_classes} classes")
    if classes is None and model.num_classes == len(LLP_CLASSES):
        classes = LLP_CLASSES
    if classes is None:
        logger.warning("%s: the names of its %d classes are not known, so their order is not held to any data's",
                       path, model.num_classes)  # fmt: skip
    else:
        record = record.with_classes(classes)
    model.record = record.changed(trainer=TrainerConfig(), decision=decision)
    folder = RunFolder(out, on_existing, can_resume=False)
    try:
        model.save(out)
    finally:
        folder.close()
    return model.anchor.eval()


def _with_published(options: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Constructor options, completed by those that a published checkpoint needs; given ones take precedence."""
    return {**({} if is_declaration_file(name) else published_options(name)), **options}


def _load_into(network: nn.Module, path: Path, name: str) -> None:
    tensors = _read(path)
    try:
        unused = _fill(network, _converted(network, tensors, path, name), f"{path}", name)
    except ValueError as problem:
        hint = looks_like(tensors, name)
        raise ValueError(f"{problem}. {hint}" if hint else f"{problem}") from None
    if unused:
        hint = looks_like(tensors, name)
        named = ", ".join(unused) + (f". {hint}" if hint else "")
        logger.warning("%s: %d parameters that %s does not use: %s", path, len(unused), name, named)
    if note := getattr(network, "import_note", None):
        logger.warning("%s: %s", path, note)


def _converted(network: nn.Module, tensors: Mapping[str, Tensor], path: Path, name: str) -> Mapping[str, Tensor]:
    """The tensors of a file under the network's names, by its `published_tensors` if it has that method."""
    convert = getattr(network, "published_tensors", None)
    try:
        return tensors if convert is None else dict(convert(dict(tensors)))
    except Exception as problem:  # a plugin's own code, which may index what another network's file lacks
        raise ValueError(f"{path} does not fit {name!r}: {reason(problem)}") from problem


def _read(path: Path) -> dict[str, Tensor]:
    require_file(path)
    try:
        if zipfile.is_zipfile(path) and zipfile.ZipFile(path).testzip() is not None:
            raise ValueError("its checksums do not fit")  # torch does not look at them
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as problem:
        raise ValueError(f"{path}: damaged, or holds more than tensors, which would be executed") from problem
    except Exception as problem:  # damaged bytes make the reader fail in every way there is
        reason = (str(problem) or type(problem).__name__).splitlines()[0]
        raise ValueError(f"{path}: damaged, or no checkpoint of tensors: {reason}") from problem
    for key in _INSIDE:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    named = isinstance(content, Mapping) and all(isinstance(key, str) for key in content)
    if not named or not content or not all(isinstance(x, Tensor) for x in content.values()):
        raise ValueError(f"{path}: expected a state dict (name -> tensor), bare or under one of {_INSIDE}")
    if all(key.startswith(_PARALLEL) for key in content):
        content = {key.removeprefix(_PARALLEL): x for key, x in content.items()}
    return dict(content)


def _plain(x: Tensor) -> bool:
    if x.layout != torch.strided or x.is_meta or x.is_quantized:
        return False
    return bool(torch.isfinite(x if x.is_complex() else x.double()).all())  # of 8 bits PyTorch asks nothing


def _fill(network: nn.Module, tensors: Mapping[str, Tensor], source: str, name: str) -> list[str]:
    """Load the weights into the network; returns the names of those that it does not have."""
    own = network.state_dict()
    missing = [key for key in own if key not in tensors]
    odd = [key for key in own if key in tensors and tensors[key].is_nested]
    if odd:  # has no shape to be compared
        raise ValueError(f"{source} does not fit {name!r}: {odd[0]} is not a plain tensor of finite values")
    problems = [f"it lacks {', '.join(missing)}"] if missing else []
    problems += [
        f"{key} is {tuple(tensors[key].shape)} there, {tuple(own[key].shape)} here"
        for key in own
        if key in tensors and tensors[key].shape != own[key].shape
    ]
    problems += [
        f"{key} is {tensors[key].dtype} there, {own[key].dtype} here"
        for key in own
        if key in tensors and tensors[key].is_floating_point() != own[key].is_floating_point()
    ]
    why = ". It was made with other options (num_classes, width, streams), or for another network" if problems else ""
    problems += [
        f"{key} is not a plain tensor of finite values" for key in own if key in tensors and not _plain(tensors[key])
    ]
    if problems:
        raise ValueError(f"{source} does not fit {name!r}: {'; '.join(problems)}{why}")
    network.load_state_dict({key: tensors[key] for key in own})
    return [key for key in tensors if key not in own]
