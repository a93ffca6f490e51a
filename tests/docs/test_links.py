"""Links between the documents lead somewhere."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
TOPS = (ROOT, ROOT / "tests")
"""Where places begin; a decision's table of tests says that it leaves out `tests/`."""
LINK = re.compile(r"(?<!`)\[[^]\n]+\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
MENTIONED = re.compile(
    r"`((?:docs|tests|client|daemon|systemd|benchmarks|\.ci)/[\w./-]+?)(?:::\w+)?`"
)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(document: Path) -> set[str]:
    """Return the anchors that GitHub makes of the headings."""
    heads = re.findall(r"^#+ (.+)$", CODE.sub("", document.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def broken(document: Path) -> list[str]:
    text = CODE.sub("", document.read_text())
    found: list[str] = []
    for target in LINK.findall(text):
        if "://" in target or target.startswith("mailto:"):
            continue
        file, _, anchor = target.partition("#")
        path = (document.parent / file).resolve() if file else document
        if not path.exists() or (anchor and anchor not in anchors(path)):
            found.append(target)
    return found


def test_each_link_leads_to_a_file_and_each_anchor_to_a_heading() -> None:
    found = [(document, each) for document in DOCUMENTS for each in broken(document)]

    assert [f"{name(document)}: {each}" for document, each in found] == []


def test_each_place_of_the_repository_that_is_named_is_there() -> None:
    places = [
        (document, each)
        for document in DOCUMENTS
        for each in MENTIONED.findall(CODE.sub("", document.read_text()))
    ]

    assert [
        f"{name(document)}: {each}"
        for document, each in places
        if not any((top / each).exists() for top in TOPS)
    ] == []


def test_a_broken_link_and_a_broken_anchor_are_found(tmp_path: Path) -> None:
    (tmp_path / "b.md").write_text("# Some *head*: `x`\n")
    document = tmp_path / "a.md"
    document.write_text("[a](b.md#some-head-x) [b](b.md#other) [c](c.md) [d](https://e.org/#f)\n")

    assert broken(document) == ["b.md#other", "c.md"]


def test_the_index_of_decisions_has_each_once() -> None:
    decisions = ROOT / "docs" / "decisions"

    listed = LINK.findall((decisions / "README.md").read_text())

    assert sorted(listed) == sorted(each.name for each in decisions.glob("0*.md"))
