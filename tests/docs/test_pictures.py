"""The pictures show what the commands print now; that of the demo is compared in tests/packaging/test_readme.py."""

import re
import shutil
from pathlib import Path

import pytest

import draw
from pictures import texts, without_figures

PICTURES = sorted(draw.PICTURES.glob("*.svg"))
LARGEST = 60_000
"""Bytes."""

needs_script = pytest.mark.skipif(
    shutil.which("script") is None, reason="script isn't installed (Debian: bsdutils)"
)


def shape(line: str) -> str:
    """Return a line without its figures, and of a link that is well just its name: the text has the user's."""
    words = without_figures(line)
    well = re.match(r"\[ OK \] \S+", words)
    return well[0] if well else words


def shapes(svg: str) -> list[str]:
    return [shape(line) for line in texts(svg)]


def ends(svg: str) -> tuple[list[str], list[str]]:
    """Return the first and the last state of a picture that repeats its prompt in each."""
    prompt, *_ = lines = shapes(svg)
    starts = [at for at, line in enumerate(lines) if line == prompt]
    return lines[: starts[1]], lines[starts[-1] :]


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
def test_a_picture_is_small_loads_nothing_and_is_drawn_for_light_and_dark(path: Path) -> None:
    text = path.read_text()

    assert texts(text)
    assert len(text) < LARGEST
    assert re.findall(r"href|src=|url\(|@import|@font-face|<script", text) == []
    assert "prefers-color-scheme:dark" in text


@needs_script
@pytest.mark.system
def test_the_picture_of_the_doctor_is_what_it_says_now() -> None:
    """If not: python docs/draw.py doctor."""
    assert shapes(draw.doctor()) == shapes((draw.PICTURES / "doctor.svg").read_text())


@needs_script
@pytest.mark.system
@pytest.mark.slow
def test_the_picture_of_the_status_begins_and_ends_as_it_does_now() -> None:
    """If not: python docs/draw.py status."""
    assert ends(draw.status()) == ends((draw.PICTURES / "status.svg").read_text())
