"""Write the arguments of `wrap` as source code, and streams in a few words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from coleaf_framework.adapters import DERIVE, Constant, Out, Tap
from coleaf_framework.protocol import StreamSpec

_WIDTH = 80


def streams_text(streams: Mapping[str, StreamSpec]) -> str:
    """Streams and their shapes: "audio (B,T,128), visual (B,8T,2048)"."""
    return ", ".join(f"{name} (B,{'T' if s.frames == 1 else f'{s.frames}T'},{s.width})" for name, s in streams.items())


def as_source(value: Any) -> str:
    """An argument of `wrap` as source code."""
    if isinstance(value, Out | Tap | Constant | StreamSpec):
        fields = value.__dataclass_fields__
        parts = []
        for i, (key, about) in enumerate(fields.items()):
            given = getattr(value, key)
            if i == 0 or (isinstance(value, StreamSpec) and i == 1):
                parts.append(as_source(given))
            elif given != about.default:
                parts.append(f"{key}={as_source(given)}")
        return f"{type(value).__name__}({', '.join(parts)})"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f'"{key}": {as_source(x)}' for key, x in value.items()) + "}"
    if isinstance(value, Tensor):
        return "..."
    if isinstance(value, tuple):
        return "(" + ", ".join(map(as_source, value)) + ("," if len(value) == 1 else "") + ")"
    return "DERIVE" if value == DERIVE else repr(value).replace("'", '"')


def call_text(network: str, arguments: Mapping[str, Any]) -> str:
    """A call of `wrap` as source code."""
    lines = []
    for key, value in arguments.items():
        if isinstance(value, Mapping) and len(as_source(value)) > _WIDTH:
            lines.append(f"        {key}={{")
            lines += [f'            "{name}": {as_source(x)},' for name, x in value.items()]
            lines.append("        },")
        else:
            lines.append(f"        {key}={as_source(value)},")
    return "\n".join(["wrap(", f"        {network},", *lines, "    )"])
