"""A small line plot as SVG: sizes by their logarithm, costs from zero. Reads in light and dark."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log10
from pathlib import Path
from typing import Final

WIDTH: Final = 560
HEIGHT: Final = 280
LEFT: Final = 46
RIGHT: Final = 150
TOP: Final = 34
BOTTOM: Final = 44
APART: Final = 15
"""Pixels between two labels, so that they can be read."""
_BOX: Final = f'viewBox="0 0 {WIDTH} {HEIGHT}"'
_STYLE: Final = """\
<style>
text{font:12px sans-serif;fill:#57606a}.title{font-size:13px;fill:#24292f}
.grid{stroke:#8c959f;stroke-opacity:.3}.line{fill:none;stroke-width:2}
.c0{stroke:#0969da}.c1{stroke:#bf5f00}.c2{stroke:#6e7781}
.t0{fill:#0969da}.t1{fill:#bf5f00}.t2{fill:#6e7781}
@media (prefers-color-scheme:dark){text{fill:#9da7b1}.title{fill:#e6edf3}
.c0{stroke:#58a6ff}.c1{stroke:#f0a04b}.c2{stroke:#9da7b1}
.t0{fill:#58a6ff}.t1{fill:#f0a04b}.t2{fill:#9da7b1}}
</style>"""


@dataclass(frozen=True)
class Line:
    """A name, and a cost for each size."""

    name: str
    costs: Sequence[float]


@dataclass(frozen=True)
class Plot:
    """What is drawn: the title says the unit of the costs."""

    title: str
    across: str
    sizes: Sequence[int]

    def draw(self, lines: Sequence[Line], path: Path) -> None:
        """Write the plot."""
        most = max(max(line.costs) for line in lines)
        step = _step(most)
        top = step * ceil(most / step)
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" {_BOX}>',
            _STYLE,
            f'<text class="title" x="{LEFT}" y="18">{self.title}</text>',
            *self._axes(top, step),
        ]
        label = HEIGHT + 0.0
        order = sorted(range(len(lines)), key=lambda each: lines[each].costs[-1])
        for each in order:
            line = lines[each]
            points = [(self._x(s), _y(c, top)) for s, c in zip(self.sizes, line.costs, strict=True)]
            text = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            label = min(points[-1][1] + 4, label - APART)
            parts.append(f'<polyline class="line c{each}" points="{text}"/>')
            parts.append(
                f'<text class="t{each}" x="{points[-1][0] + 8:.1f}" y="{label:.1f}">'
                f"{line.name}: {line.costs[-1]:.1f}</text>"
            )
        path.write_text("\n".join([*parts, "</svg>", ""]))

    def _x(self, size: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * log10(size) / log10(self.sizes[-1])

    def _axes(self, top: float, step: float) -> list[str]:
        parts: list[str] = []
        for each in range(round(top / step) + 1):
            y = _y(each * step, top)
            parts.append(
                f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
                f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{each * step:g}</text>'
            )
        middle = (LEFT + WIDTH - RIGHT) / 2
        below = HEIGHT - BOTTOM + 18
        parts.extend(
            f'<text x="{self._x(size):.1f}" y="{below}" text-anchor="middle">{size:,}</text>'
            for size in self.sizes
        )
        parts.append(
            f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{self.across}</text>'
        )
        return parts


def _y(cost: float, top: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * cost / top


def _step(most: float) -> float:
    """Return a round distance between lines, so that there are three to six."""
    unit: float = 10.0 ** int(log10(most))
    return next(unit * part for part in (0.1, 0.2, 0.5, 1, 2, 5) if most / (unit * part) <= 6)
