"""Man pages: roff (man(7)) from the little Markdown that our documents use.

Headings, paragraphs, lists, tables, blocks of code; in the text code, emphasis and links. Tables
become lists, a term for each row: they must fit a terminal. Mermaid and comments are left out.
"""

import re
from collections.abc import Iterator
from typing import Final

_SPAN: Final = re.compile(
    r"`(?P<code>[^`]+)`|\*\*(?P<strong>[^*]+)\*\*|\*(?P<emphasis>[^*]+)\*"
    r"|\[(?P<text>[^]]+)\]\((?P<target>[^)]+)\)"
)
_LEFT_OUT: Final = re.compile(r"\A# .*\n|<!--[^>]*-->\n?")
"""The title, which the page's own head has, and comments."""
_CODE_SIGNS: Final = {"-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"}


def header(name: str, section: int, date: str, source: str) -> str:
    """Return the first line of a page."""
    return f'.TH {name.upper()} {section} "{date}" "{source}" ""\n.nh\n'


def section(title: str) -> str:
    """Return a section's head."""
    return f'.SH "{_escaped(title.upper())}"\n'


def bold(text: str) -> str:
    """Return what is typed as it stands, such as an option."""
    return rf"\fB{code(text)}\fR"


def italic(text: str) -> str:
    """Return the name of what is typed in its place."""
    return rf"\fI{code(text)}\fR"


def code(text: str) -> str:
    """Return text whose signs are to be copied as they are."""
    return "".join(_CODE_SIGNS.get(sign, sign) for sign in _escaped(text))


def term(tag: str, body: str) -> str:
    """Return one item of a list of terms; both are roff already."""
    return f".TP\n{_line(tag)}\n{_line(body)}\n"


def example(lines: str) -> str:
    """Return lines that keep their form."""
    body = "\n".join(_line(code(line)) for line in lines.rstrip("\n").split("\n"))
    return f".RS 4\n.EX\n{body}\n.EE\n.RE\n"


def prose(text: str) -> str:
    """Return text with its code, emphasis and links."""
    parts: list[str] = []
    at = 0
    for match in _SPAN.finditer(text):
        parts += [_escaped(text[at : match.start()]), _span(match)]
        at = match.end()
    return "".join([*parts, _escaped(text[at:])])


def body(markdown: str) -> str:
    """Return a document's text; its first heading, the title, is left out."""
    parts: list[str] = []
    opened = True  # behind a head nothing more begins a paragraph
    for block in _blocks(_LEFT_OUT.sub("", markdown).split("\n")):
        part = _shown(block)
        if part:
            begins = opened or block[0][0] in "#|-"
            parts.append(part if begins else f".PP\n{part}")
            opened = block[0][0] == "#"
    return "".join(parts)


def _blocks(lines: list[str]) -> Iterator[list[str]]:
    """Return the lines of each block of code, head, table, item and paragraph."""
    block: list[str] = []
    for line in [*lines, ""]:
        if block and block[0].startswith("```"):
            block.append(line)
            if line == "```":
                yield block
                block = []
            continue
        if block and (not line.strip() or _begins(line, block[0])):
            yield block
            block = []
        if line.strip():
            block.append(line)


def _begins(line: str, first: str) -> bool:
    """Return whether a line begins a block, and doesn't go on with the one whose first line this is."""
    return line.startswith(("#", "- ", "```")) or (line[0] == "|") != (first[0] == "|")


def _shown(block: list[str]) -> str:
    """Return one block as roff; "" for what isn't shown."""
    match block[0].split(" ", 1):
        case [fence, *_] if fence.startswith("```"):
            return "" if "mermaid" in fence else example("\n".join(block[1:-1]))
        case ["##", title]:
            return section(title.replace("`", ""))
        case ["###", title]:
            return f".SS {_line(prose(title))}\n"
        case ["-", _]:
            return f".IP \\(bu 2\n{_paragraph(block)}\n"
        case ["|", _]:
            return "".join(_table(block))
        case _:
            return f"{_paragraph(block)}\n"


def _paragraph(lines: list[str]) -> str:
    return _line(prose(" ".join(line.strip() for line in lines).removeprefix("- ")))


def _table(rows: list[str]) -> Iterator[str]:
    """Return the rows as terms: the first cell, and the others behind it, each by its column's name."""
    heads, _rule, *cells = ([cell.strip() for cell in row[1:-1].split("|")] for row in rows)
    for first, *others in cells:
        texts = [
            prose(cell if len(others) == 1 or number == 0 else f"{head}: {cell}")
            for number, (head, cell) in enumerate(zip(heads[1:], others, strict=True))
            if cell
        ]
        yield term(prose(first), "; ".join(texts) or r"\&")


def _span(match: re.Match[str]) -> str:
    if match["code"]:
        return bold(match["code"])
    if match["strong"]:
        return rf"\fB{_escaped(match['strong'])}\fR"
    if match["emphasis"]:
        return rf"\fI{_escaped(match['emphasis'])}\fR"
    text = prose(match["text"])
    return f"{text} <{code(match['target'])}>" if "://" in match["target"] else text


def _escaped(text: str) -> str:
    """Return text that roff takes for nothing else."""
    plain = text.replace("\\", "\\e").replace("…", "...").replace('"', "\\(dq")
    return "".join(sign if sign.isascii() else f"\\[u{ord(sign):04X}]" for sign in plain)


def _line(text: str) -> str:
    """Keep a line from being taken for a request."""
    return f"\\&{text}" if text.startswith((".", "'")) else text
