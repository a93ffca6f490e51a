"""What must hold: a figure, the most it may be, and what would be better still."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Bar:
    """One line of what must hold. `stretch`: a second, lower bar."""

    what: str
    figure: float
    most: float
    stretch: float | None = None

    @property
    def verdict(self) -> str:
        """Say whether it holds."""
        if self.figure > self.most:
            return "NOT MET"
        if self.stretch is None:
            return "met"
        return "stretch met" if self.figure <= self.stretch else "met, not the stretch"


def judge(bars: Iterable[Bar]) -> None:
    """Print the bars as a table."""
    print("| must hold | figure | at most | stretch | |\n|---|---|---|---|---|")
    for bar in bars:
        stretch = "" if bar.stretch is None else f"{bar.stretch:g}"
        print(f"| {bar.what} | **{bar.figure:.2f}** | {bar.most:g} | {stretch} | {bar.verdict} |")
    print(flush=True)
