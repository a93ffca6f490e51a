"""The blocks of a Markdown document, for those tests that do what it says."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
README: Final = ROOT / "README.md"
CLIENTS: Final = ROOT / "docs/clients.md"
INSTALL: Final = ROOT / "docs/install.md"
API: Final = "https://api.openfit.care/v1/..."
"""The only thing replaced in a document's commands: the API's address."""

_FENCE: Final = re.compile(r"^```(\w+)\n(.*?)^```$|^#+ (.*?)$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """The text between two fences, below the heading `section`."""

    section: str
    language: str
    text: str

    def typed(self, prompt: str) -> list[str]:
        """Return the commands after a prompt: `#` is root's, `$` a user's."""
        lines = self.text.splitlines()
        return [line[2:] for line in lines if line.startswith(f"{prompt} ")]


def blocks(document: Path) -> Iterator[Block]:
    """Return a document's blocks, in order."""
    section = ""
    for language, text, title in _FENCE.findall(document.read_text()):
        if title:
            # A comment in a block is no title: it was taken along with the block.
            section = title
        else:
            yield Block(section, language, text)


def in_section(document: Path, section: str, language: str) -> list[Block]:
    """Return the blocks of one language in a section of a document."""
    return [b for b in blocks(document) if (b.section, b.language) == (section, language)]
