"""The README as a package registry shows it: its links lead to the files on GitHub, since it resolves none."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

REPOSITORY = "coleaf-framework/coleaf_framework"
PICTURES = (".svg", ".png", ".gif", ".jpg", ".webp")
# `](target)` of Markdown, `src="target"` and `href="target"` of HTML; not anchors, nor what has a scheme already.
RELATIVE = re.compile(r'(\]\(|\b(?:src|srcset|href)=")(?!#|[a-z]+:)([^)\s"]+)')


def with_absolute_links(text: str, version: str) -> str:
    """Replace each link to a file of the repository; pictures come raw, other files as GitHub's pages."""

    def absolute(link: re.Match[str]) -> str:
        before, target = link.groups()
        picture = target.lower().endswith(PICTURES)
        base = "https://raw.githubusercontent.com" if picture else "https://github.com"
        return f"{before}{base}/{REPOSITORY}/{'' if picture else 'blob/'}v{version}/{target}"

    return RELATIVE.sub(absolute, text)


class ReadmeHook(MetadataHookInterface):
    """Fills in the field `readme`, which pyproject.toml declares dynamic."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Called by hatchling with the table [project]."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": with_absolute_links(text, metadata["version"]),
        }
