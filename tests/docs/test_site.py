"""What the site's builder doesn't notice, or late: .ci/build-site fails on all else."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
DIAGRAM = re.compile(r"^```mermaid\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def test_each_document_is_in_the_contents_of_the_site() -> None:
    """The builder says so too, but isn't run with each change."""
    contents = (ROOT / "docs/conf.py").read_text().splitlines()
    documents = [path.stem for path in sorted((ROOT / "docs").glob("*.md"))]

    assert [each for each in documents if f"docs/{each}" not in contents] == []


def test_no_line_of_a_diagram_has_a_semicolon_which_would_end_it_there() -> None:
    """The browser would show an error in place of the diagram, and only the browser tells."""
    diagrams = [each for path in DOCUMENTS for each in DIAGRAM.findall(path.read_text())]

    assert diagrams
    assert [line for each in diagrams for line in each.splitlines() if ";" in line] == []
