"""What is written in a picture of a terminal."""

import re
from xml.etree import ElementTree as ET

TEXT = "{http://www.w3.org/2000/svg}text"


def texts(svg: str) -> list[str]:
    """Return the lines of a picture, without the empty ones."""
    root = ET.fromstring(svg)  # noqa: S314 -- it is ours
    return ["".join(line.itertext()) for line in root.iter(TEXT)]


def without_figures(line: str) -> str:
    """Return a line without what differs from run to run."""
    return re.sub(r"\b[0-9a-f]{4}…|[\d.]+|[█░]+|\s+", " ", line)
