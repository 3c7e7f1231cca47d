"""Writes docs/configuration.md: `python docs/configuration_page.py > docs/configuration.md`."""

from __future__ import annotations

import sys
import textwrap

import yaml

from coleaf_framework._config import StrictConfig
from coleaf_framework.record import RunConfig


def configuration_page() -> str:
    """Every section and key with its default, as the Markdown page docs/configuration.md."""
    lines = [
        "# Configuration",
        "",
        "A YAML file with any of these sections (`coleaf train --config FILE`), changed by",
        "`--set section.key=value`. A run folder's `config.yaml` is one, resolved.",
    ]
    about = RunConfig.model_fields["recipe"]
    whole = f"`recipe`, default `{about.default}`: {about.description} ([recipes](recipes.md))."
    lines += ["", *textwrap.wrap(whole, 100, break_on_hyphens=False)]
    for section, field in RunConfig.model_fields.items():
        made = field.annotation
        if not (isinstance(made, type) and issubclass(made, StrictConfig)):
            continue
        lines += ["", f"## {section}", "", "| key | default | meaning |", "|---|---|---|"]
        for key, about in made.model_fields.items():
            default = about.get_default(call_default_factory=True)
            shown = yaml.safe_dump(list(default) if isinstance(default, tuple) else default, default_flow_style=True)
            shown = shown.replace("\n...", "").strip()
            lines.append(f"| `{key}` | `{shown}` | {about.description or ''} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(configuration_page() + "\n")
