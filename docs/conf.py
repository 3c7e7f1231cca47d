"""The documentation as a site: `make docs`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "coleaf_framework"
copyright = "the coleaf_framework developers"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_design",
    "sphinx_copybutton",
    "symbols",
]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}
default_role = "code"
highlight_language = "none"  # of fences that name no language: printed output
smartquotes = False  # which make a dash of --

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autosummary_generate = False
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
python_display_short_literal_types = True
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"

html_theme = "furo"
pygments_style = "friendly"
pygments_dark_style = "github-dark"
html_title = "CoLeaF"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_logo = "_static/logo.svg"
html_favicon = "_static/logo.svg"
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "source_repository": "https://github.com/coleaf-framework/coleaf_framework/",
    "source_branch": "main",
    "source_directory": "docs/",
    "light_css_variables": {"color-brand-primary": "#0067a3", "color-brand-content": "#0067a3"},
    "dark_css_variables": {"color-brand-primary": "#6cb8ea", "color-brand-content": "#6cb8ea"},
}
copybutton_exclude = ".linenos, .gp, .go"
copybutton_selector = "div.highlight-python pre, div.highlight-sh pre, div.highlight-yaml pre, div.highlight-toml pre"

# Answered to a browser alone, or not before the package is published there.
linkcheck_ignore = [r"https?://(127\.0\.0\.1|localhost)(:\d+)?.*", r"https://github\.com/coleaf-framework/.*"]
linkcheck_anchors = False
linkcheck_timeout = 20
