"""A terminal's text as SVG, in the colours that our commands use. It reads in light and in dark.

What moves is one long text behind a window of some rows: at each moment another line is the topmost.
"""

import re
from collections.abc import Iterator, Sequence
from html import escape
from typing import Final, NamedTuple

_WIDTH: Final = 8.4
"""Pixels of a column; each line is fitted to it, whatever font the reader has."""
_HEIGHT: Final = 19
"""Pixels of a row."""
_PAD: Final = 14
_REST: Final = 5.0
"""Seconds that the last picture stays before all begins again."""
_COLOUR: Final = re.compile(r"\x1b\[(\d+)m")
_STYLE: Final = """\
text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:#24292f;white-space:pre}
rect{fill:#f6f8fa;stroke:#d0d7de}.c1{font-weight:bold}.c2{fill:#6e7781}
.c31{fill:#cf222e}.c32{fill:#116329}.c33{fill:#9a6700}.c36{fill:#0969da}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}rect{fill:#161b22;stroke:#30363d}.c2{fill:#8b949e}
.c31{fill:#ff7b72}.c32{fill:#56d364}.c33{fill:#e3b341}.c36{fill:#79c0ff}}
@media (prefers-reduced-motion:reduce){.roll{animation:none!important}}"""


class Scroll(NamedTuple):
    """From a moment on, in seconds, this line is the topmost."""

    since: float
    top: int


def plain(line: str) -> str:
    """Return a line without its colours."""
    return _COLOUR.sub("", line)


def picture(
    about: str, lines: Sequence[str], rows: int | None = None, scrolls: Sequence[Scroll] = ()
) -> str:
    """Return lines with their colours as SVG.

    Args:
        about: what they show, for those who don't see it.
        lines: all of them.
        rows: how many are in sight; None: all.
        scrolls: which, in the order of time; the last ones stay where nothing may move.
    """
    rows = len(lines) if rows is None else rows
    width = round(max(len(plain(line)) for line in lines) * _WIDTH) + 2 * _PAD
    height = rows * _HEIGHT + 2 * _PAD
    size = f'width="{width}" height="{height}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {width} {height}">',
            f"<title>{escape(about)}</title>",
            f"<style>{_STYLE}{_motion(scrolls)}</style>",
            f'<rect x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="6"/>',
            f'<svg x="{_PAD}" y="{_PAD}" width="{width}" height="{rows * _HEIGHT}">',
            '<g class="roll">',
            *_texts(lines),
            "</g></svg></svg>",
            "",
        ]
    )


def _motion(scrolls: Sequence[Scroll]) -> str:
    if not scrolls:
        return ""
    whole = scrolls[-1].since + _REST
    steps = "".join(
        f"{100 * since / whole:.2f}%{{transform:translateY({-top * _HEIGHT}px)}}"
        for since, top in scrolls
    )
    last = f"transform:translateY({-scrolls[-1].top * _HEIGHT}px)"
    return (
        f"\n.roll{{{last};animation:roll {whole:.1f}s step-end infinite}}"
        f"\n@keyframes roll{{{steps}}}"
    )


def _texts(lines: Sequence[str]) -> Iterator[str]:
    for row, line in enumerate(lines):
        text = plain(line).rstrip()
        if text:
            yield (
                f'<text y="{row * _HEIGHT + 14}" textLength="{len(text) * _WIDTH:.1f}"'
                f' lengthAdjust="spacingAndGlyphs">{"".join(_spans(line.rstrip()))}</text>'
            )


def _spans(line: str) -> Iterator[str]:
    colour = "0"
    for at, part in enumerate(_COLOUR.split(line)):
        if at % 2:
            colour = part
        elif part:
            text = escape(part, quote=False)
            yield text if colour == "0" else f'<tspan class="c{colour}">{text}</tspan>'
