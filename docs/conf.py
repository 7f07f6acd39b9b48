"""
How Sphinx makes a site of these pages; ``make docs`` runs it. Nothing is fetched, neither here nor by a reader.

What only Sphinx understands stands in the pages as a comment, ``<!-- rst … -->``: GitHub shows them without it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from docutils.parsers.rst import Directive

from airflow_provider_anyformat import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

REPOSITORY = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text())["project"]["urls"][
    "Repository"
]

project = "airflow-provider-anyformat"
author = "the authors of airflow-provider-anyformat"
copyright = "the authors of airflow-provider-anyformat, Apache License 2.0"  # noqa: A001 - Sphinx's name
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_heading_anchors = 3

html_theme = "furo"
html_theme_options = {
    "source_repository": REPOSITORY,
    "source_branch": "main",
    "source_directory": "docs/",
    "footer_icons": [{"name": "Repository", "url": REPOSITORY, "html": "Repository", "class": ""}],
}
html_title = f"airflow-provider-anyformat {release}"
html_copy_source = False
html_static_path = ["static"]
html_css_files = ["tables.css"]
html_show_sphinx = False

autodoc_member_order = "bysource"
# Defaults as they are written, rather than as they are evaluated.
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
python_maximum_signature_line_length = 80
toc_object_entries_show_parents = "hide"
# What is not ours is not linked, for that would need the network.
nitpick_ignore_regex = [("py:.*", r"(?!airflow_provider_anyformat).*")]


class SandboxHelp(Directive):
    """What ``python -m airflow_provider_anyformat.sandbox --help`` prints."""

    def run(self) -> list[nodes.Node]:
        """Ask the command itself."""
        command = [sys.executable, "-m", "airflow_provider_anyformat.sandbox", "--help"]
        environment = os.environ | {"COLUMNS": "86", "NO_COLOR": "1"}
        text = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout  # noqa: S603
        return [nodes.literal_block(text, text, language="text")]


def read_comments(app: Sphinx, name: str, source: list[str]) -> None:
    """Let Sphinx read what GitHub does not show."""
    del app, name
    source[0] = re.sub(r"<!-- rst\n(.*?)-->", r"```{eval-rst}\n\1```", source[0], flags=re.DOTALL)


def link_pictures(app: Sphinx, page: nodes.document) -> None:
    """Let a click show a picture as large as it is: Sphinx links every picture that has a width."""
    del app
    for picture in page.findall(nodes.image):
        picture["width"] = "100%"


def shown_signature(
    app: Sphinx, what: str, name: str, thing: object, options: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Show a parameter that may be left out as a stub does, and no signature that is only inherited."""
    del app, name, options
    if what == "exception" and "__init__" not in vars(thing):
        return "", None
    if signature is not None:
        signature = re.sub(r" \| (?:[\w.~]*\.)?NotGiven\b", "", signature)
        signature = signature.replace("= NOT_GIVEN", "= ...").replace("<factory>", "[]")
    return signature, returns


def setup(app: Sphinx) -> dict[str, Any]:
    """Add what is not Sphinx's own."""
    app.add_directive("sandbox-help", SandboxHelp)
    app.connect("source-read", read_comments)
    app.connect("doctree-read", link_pictures)
    app.connect("autodoc-process-signature", shown_signature)
    return {"parallel_read_safe": True}
