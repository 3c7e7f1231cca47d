"""Networks of the library transformers: finding checkpoints, and loading them whole or not at all."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from coleaf_framework._config import reason
from coleaf_framework.storage import file_digest

WEIGHTS_FILES = ("model.safetensors", "pytorch_model.bin")
"""Names of a network's weights; transformers reads the second, a pickle, without running code (weights_only)."""

# Buffers that a network makes itself, and that checkpoints of some versions lack.
_MADE = ("position_ids", "token_type_ids", "relative_position_index", "num_batches_tracked")


def load_pretrained(kind: Any, name: str, what: str, *, option: str = "", **arguments: Any) -> Any:
    """`kind.from_pretrained(name)`.

    Args:
        kind: Class of transformers.
        name: Name or folder of a checkpoint.
        what: What is loaded, for the message.
        option: What the user gave the name by, and a blank; begins the message.
        **arguments: Of `from_pretrained`.

    Raises:
        ValueError: It cannot be loaded; says why.
    """
    try:
        return kind.from_pretrained(name, **arguments)
    except Exception as problem:  # files, network, formats: the library raises almost anything
        raise ValueError(f"{option}{name}: no {what} can be loaded from it: {reason(problem)[:300]}") from problem


def load_network(kind: Any, name: str, *, option: str = "", **arguments: Any) -> Any:
    """A network in float32 and evaluation mode, all of whose weights come from the checkpoint.

    transformers draws weights that a checkpoint lacks at random, and goes on.

    Args: As of `load_pretrained`.

    Raises:
        ValueError: It cannot be loaded, or weights are missing; says why, and which.
    """
    what = kind.__name__
    network, seen = load_pretrained(kind, name, what, option=option, output_loading_info=True, **arguments)
    missing = sorted(key for key in seen["missing_keys"] if not key.endswith(_MADE))
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ValueError(f"{option}{name}: lacks the weights {missing[0]}{more} of a {what}")
    return network.float().eval()


def find_folder(model: str, weights: Path | None) -> Path | None:
    """Where a model of the Hugging Face hub lies on this machine; nothing is downloaded.

    Args:
        model: Its name on the hub, OWNER/NAME.
        weights: Folder that may hold a folder NAME; None for the hub's cache.

    Returns:
        The folder, or None where it is in neither.
    """
    if weights is not None:
        folder = weights / model.rpartition("/")[2]
        return folder if folder.is_dir() else None
    found = importlib.import_module("huggingface_hub").try_to_load_from_cache(model, "config.json")
    return Path(found).parent if isinstance(found, str) else None


def how_to_download(model: str, weights: Path | None) -> str:
    """The command after which `find_folder` finds a model."""
    to = f" --local-dir {weights / model.rpartition('/')[2]}" if weights is not None else ""
    return f"hf download {model} config.json {WEIGHTS_FILES[0]}{to}"


def load_local(kind: Any, folder: Path) -> tuple[Any, str]:
    """A network in float32 and evaluation mode, from a folder in transformers' form.

    Args:
        kind: Class of transformers.
        folder: With config.json and one of `WEIGHTS_FILES`; the first that is there is read.

    Returns:
        The network on the CPU; first 16 hex digits of the SHA-256 of the file that was read.

    Raises:
        FileNotFoundError: There is neither file.
        ValueError: As `load_network`.
    """
    file = next((folder / name for name in WEIGHTS_FILES if (folder / name).is_file()), None)
    if file is None:
        raise FileNotFoundError(f"{folder}: has neither {' nor '.join(WEIGHTS_FILES)}")
    as_safetensors = file.name == WEIGHTS_FILES[0]
    network = load_network(kind, str(folder), local_files_only=True, use_safetensors=as_safetensors)
    return network.requires_grad_(False), file_digest(file)
