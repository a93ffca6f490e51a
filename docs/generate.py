"""Write what in docs/ is made from the code: blocks of documents, and the man pages.

    python docs/generate.py            # write
    python docs/generate.py --check    # only tell what is not current; exit 1 if something isn't

A block stands between `<!-- made: NAME -->` and `<!-- end: NAME -->`.
"""

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from generator import claims, man_pages, settings, states, wire

DOCS: Final = Path(__file__).parent

BLOCKS: Final[Mapping[str, Callable[[], str]]] = {
    "states": lambda: states.diagram(states.edges()),
    "state-table": lambda: states.table(states.edges()),
    "version": wire.version,
    "errors": wire.error_table,
    "limits": wire.limit_table,
    "environments": settings.environments,
    "passwords": settings.passwords,
    "top": settings.top_reference,
    "profile": settings.profile_reference,
    "fleet": settings.fleet_reference,
    "claim-table": lambda: claims.table(claims.edges()),
}
_BLOCK: Final = re.compile(r"(<!-- made: ([\w-]+) -->\n).*?(<!-- end: \2 -->)", re.DOTALL)


def made() -> Mapping[Path, str]:
    """Return each file that is made, or has a block that is, as it should be."""
    documents = {path: _filled(path.read_text()) for path in sorted(DOCS.glob("*.md"))}
    found = {path: text for path, text in documents.items() if _BLOCK.search(text)}
    pages = man_pages.pages(documents[DOCS / "configuration.md"], documents[DOCS / "protocol.md"])
    return found | {DOCS / "man" / name: text for name, text in pages.items()}


def stale() -> list[Path]:
    """Return the files that aren't as they should be."""
    return [path for path, text in made().items() if not path.exists() or path.read_text() != text]


def main(arguments: list[str]) -> int:
    """Write, or check; return the exit status."""
    found = stale()
    check = arguments == ["--check"]
    for path in found:
        print(f"{path}: {'not current' if check else 'written'}")
        if not check:
            path.write_text(made()[path])
    return int(check and bool(found))


def _filled(text: str) -> str:
    return _BLOCK.sub(lambda found: f"{found[1]}{BLOCKS[found[2]]()}\n{found[3]}", text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
