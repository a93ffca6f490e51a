"""How Sphinx makes the site of the documents, which `.ci/build-site` builds.

Its sources are the Markdown files of the repository as they stand, so that they read as well where the
repository is browsed. What only the site needs is here: the contents, the diagrams, the names of the API.
Nothing on a page comes from another host.
"""

from typing import Any, Final

from sphinx.application import Sphinx

from openfit_token import __version__

project = "openfit-tokend"
version = release = __version__
copyright = ""  # noqa: A001 -- Sphinx's name; LICENSE says it
root_doc = "README"
include_patterns = ["*.md", "docs/*.md", "docs/decisions/*.md"]
exclude_patterns = [
    "[.]*",
    "benchmarks",
    "build",
    "client",
    "daemon",
    "dist",
    "emulator",
    "systemd",
    "tests",
]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]

myst_heading_anchors = 4
"""Headings down to this level can be linked to, by the names that GitHub gives them."""
suppress_warnings = ["misc.highlighting_failure"]
"""A block in a language that Pygments doesn't know is shown without colours."""
default_role = "code"
napoleon_use_ivar = True
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
nitpick_ignore_regex = [(r"py:.*", r"(?!openfit_token\b).*")]
"""Python's names and those of other packages: their documents can't be asked for without a network."""

html_theme = "furo"
html_title = f"openfit-tokend {__version__}"
html_static_path = ["static", "../build/mermaid"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
copybutton_exclude = ".linenos, .gp, .go"  # prompts, and what a command printed
copybutton_selector = "div:not(.highlight-mermaid) > div.highlight > pre"

_CONTENTS: Final = {
    "README": """

```{toctree}
:hidden:
:caption: To use it

docs/install
docs/containers
docs/configuration
docs/clients
docs/recipes
docs/proxy
docs/hub
docs/windows
docs/fleet
```

```{toctree}
:hidden:
:caption: To run it

docs/operations
docs/troubleshooting
docs/performance
docs/security
Reporting a vulnerability <SECURITY>
```

```{toctree}
:hidden:
:caption: Reference

docs/protocol
docs/api
CHANGELOG
```

```{toctree}
:hidden:
:caption: How it is built

docs/architecture
docs/decisions/README
CONTRIBUTING
```
""",
    "docs/decisions/README": """

```{toctree}
:glob:
:hidden:

0*
```
""",
}
"""What the site has at the end of a page, and the repository doesn't."""


def setup(app: Sphinx) -> None:
    """Add what the site needs to Sphinx."""
    app.connect("source-read", _add_contents)
    app.connect("html-page-context", _add_library)
    app.connect("autodoc-process-docstring", _show_code, priority=400)  # before napoleon


def _add_contents(_app: Sphinx, page: str, source: list[str]) -> None:
    source[0] += _CONTENTS.get(page, "")


def _show_code(
    _app: Sphinx, _what: str, _name: str, _object: object, _options: object, lines: list[str]
) -> None:
    """Mark as code what our docstrings indent below a paragraph."""
    for at in reversed(range(2, len(lines))):
        if lines[at].startswith(" ") and not lines[at - 1] and lines[at - 2][:1].strip():
            lines[at:at] = ["::", ""]


def _add_library(
    app: Sphinx, _page: str, _template: str, context: dict[str, Any], _tree: object
) -> None:
    if "highlight-mermaid" in context.get("body", ""):
        app.add_js_file("mermaid.min.js")
        app.add_js_file("diagrams.js")
