"""Put any audio-visual video parsing network into CoLeaF's training loop (ECCV 2024)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coleaf_framework.adapters import DERIVE, Constant, Declaration, Out, Tap, read_declaration, write_declaration
    from coleaf_framework.collaboration import CoLeaFConfig
    from coleaf_framework.inspection import describe
    from coleaf_framework.model import CoLeaF, load_anchor
    from coleaf_framework.plugins import create_anchor, create_reference, list_anchors, list_references
    from coleaf_framework.protocol import AnchorOutput, Batch, ReferenceOutput, StreamSpec
    from coleaf_framework.record import TrainerConfig, recipe
    from coleaf_framework.results import select_thresholds
    from coleaf_framework.training import CoLeaFTrainer, import_checkpoint
    from coleaf_framework.wrapping import check_anchor, training_signal, wrap

__all__ = [
    "DERIVE",
    "AnchorOutput",
    "Batch",
    "CoLeaF",
    "CoLeaFConfig",
    "CoLeaFTrainer",
    "Constant",
    "Declaration",
    "Out",
    "ReferenceOutput",
    "StreamSpec",
    "Tap",
    "TrainerConfig",
    "check_anchor",
    "create_anchor",
    "create_reference",
    "describe",
    "import_checkpoint",
    "list_anchors",
    "list_references",
    "load_anchor",
    "read_declaration",
    "recipe",
    "select_thresholds",
    "training_signal",
    "wrap",
    "write_declaration",
]
# PyTorch takes seconds to import, in which the command line must already answer Ctrl-C: each name is imported when it
# is first asked for (PEP 562).
_HOMES = {
    "adapters": ("DERIVE", "Constant", "Declaration", "Out", "Tap", "read_declaration", "write_declaration"),
    "collaboration": ("CoLeaFConfig",),
    "model": ("CoLeaF", "load_anchor"),
    "plugins": ("create_anchor", "create_reference", "list_anchors", "list_references"),
    "protocol": ("AnchorOutput", "Batch", "ReferenceOutput", "StreamSpec"),
    "record": ("TrainerConfig", "recipe"),
    "results": ("select_thresholds",),
    "training": ("CoLeaFTrainer", "import_checkpoint"),
    "inspection": ("describe",),
    "wrapping": ("check_anchor", "training_signal", "wrap"),
}
_SUBPACKAGES = {"data", "losses", "metrics", *_HOMES}


def __getattr__(name: str) -> Any:
    if name in _SUBPACKAGES:
        return import_module(f"{__name__}.{name}")
    for home, names in _HOMES.items():
        if name in names:
            globals()[name] = found = getattr(import_module(f"{__name__}.{home}"), name)
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
