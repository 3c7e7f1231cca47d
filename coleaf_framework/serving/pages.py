"""The service's own pages. Nothing in them comes from the network, so they work on a machine without one."""

from __future__ import annotations

import html
import string
from collections.abc import Mapping
from importlib import resources
from typing import Any

from coleaf_framework.serving.limits import Limits

_SELF_CONTAINED = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
STATIC_CSP = f"{_SELF_CONTAINED}; form-action 'none'"
_PLAYS = f"{_SELF_CONTAINED}; script-src 'unsafe-inline'; img-src data:; media-src data: blob:"
PLAYER_CSP = f"{_PLAYS}; form-action 'none'; sandbox allow-scripts allow-downloads"
"""Of the player, which so has an origin of its own: its script cannot call the service."""
UPLOAD_CSP = f"{_PLAYS}; form-action 'self'; connect-src 'self'"
"""Of the upload page; the player in its frame inherits it, so it allows what the player needs."""


def upload_page(about: str, limits: Limits) -> str:
    """The page to upload a video on."""
    text = (resources.files("coleaf_framework.serving") / "page" / "upload.html").read_text(encoding="utf-8")
    return string.Template(text).substitute(
        about=html.escape(about),
        megabytes=f"{min(limits.page_megabytes, limits.upload_megabytes):g}",
        seconds=f"{limits.video_seconds:g}",
    )


def routes_page(openapi: Mapping[str, Any]) -> str:
    """OpenAPI's description as a page; FastAPI's own loads its script from the network.

    Args:
        openapi: The description.
    """
    rows = []
    for path, methods in openapi["paths"].items():
        for method, route in methods.items():
            body = ", ".join(route.get("requestBody", {}).get("content", {}))
            answers = "<br>".join(
                html.escape(f"{status} {', '.join(told.get('content', {}))}: {told['description']}")
                for status, told in sorted(route["responses"].items())
            )
            cells = (f"{method.upper()} {path}", route.get("summary", ""), body)
            rows.append(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}<td>{answers}</td></tr>")
    text = (resources.files("coleaf_framework.serving") / "page" / "routes.html").read_text(encoding="utf-8")
    return string.Template(text).substitute(summary=html.escape(openapi["info"]["summary"]), rows="\n".join(rows))
