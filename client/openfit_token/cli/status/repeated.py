"""`openfit-token status --watch`: the status again and again, on a terminal in its place.

The picture before is wiped by moving up over its lines. So the terminal is never in a mode that
somebody would have to end, however this command is ended, and the last picture stays.
"""

import re
import shutil
from collections.abc import Callable
from time import sleep
from typing import Final, NoReturn

from openfit_token.cli.output import put
from openfit_token.cli.status.health import Answer
from openfit_token.cli.terminal import complain, complaint, on_terminal
from openfit_token.errors import DaemonUnreachable, Overloaded, Stopping

_EACH: Final = 1.0
"""Seconds from look to look."""
_PAINT: Final = re.compile(r"\x1b\[\d+m")


def repeat(
    found: Answer, look: Callable[[], Answer], shown: Callable[[Answer, str], str], form: str
) -> NoReturn:
    """Show what was found, then look each second, until Ctrl-C or the output's reader ends it.

    A daemon that is gone is said, and looked for until it is there again.
    """
    in_place = on_terminal() and form == "text"
    picture = shown(found, form)
    above = 0
    while True:
        if in_place:
            above = _repaint(picture, above)
        elif picture:
            put(picture if form == "json" else f"{picture}\n")
        sleep(_EACH)
        try:
            picture = shown(look(), form)
        except (DaemonUnreachable, Overloaded, Stopping) as error:
            picture = complaint(error) if in_place else ""
            if not in_place:
                complain(error)


def _repaint(picture: str, above: int) -> int:
    """Paint over the `above` rows before; give the rows that are there now."""
    columns, height = shutil.get_terminal_size()
    lines = picture.splitlines()
    taken = [max(1, -(-len(_PAINT.sub("", line)) // columns)) for line in lines]
    while len(lines) > 1 and sum(taken) >= height:  # what has scrolled away can't be painted over
        lines.pop()
        taken.pop()
    up = f"\x1b[{above}A" if above else ""
    put(f"{up}\r\x1b[J" + "".join(f"{line}\n" for line in lines))
    return sum(taken)
