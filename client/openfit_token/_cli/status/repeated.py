"""`openfit-token status --watch`: the status again and again, on a terminal in place.

The previous picture is erased by moving up over its lines. So the terminal is in no special mode that
would have to be ended, however this command ends, and the last picture stays.
"""

import re
import shutil
from collections.abc import Callable
from time import sleep
from typing import Final, NoReturn

from openfit_token._cli.output import put
from openfit_token._cli.terminal import complain, complaint, on_terminal
from openfit_token._client.health import Answer
from openfit_token.errors import DaemonUnreachable, Overloaded, Stopping

_EACH: Final = 1.0
"""Seconds from look to look."""
_PAINT: Final = re.compile(r"\x1b\[\d+m")


def repeat(
    found: Answer, look: Callable[[], Answer], shown: Callable[[Answer, str], str], form: str
) -> NoReturn:
    """Show what was found, then look each second, until Ctrl-C, or until nobody reads the output.

    If the daemon is gone, say so, and look until it is there again.
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
            width = shutil.get_terminal_size().columns
            picture = complaint(error, width) if in_place else ""
            if not in_place:
                complain(error)


def _repaint(picture: str, above: int) -> int:
    """Print over the previous `above` rows; return the number of rows that are there now."""
    columns, height = shutil.get_terminal_size()
    lines = picture.splitlines()
    taken = [max(1, -(-len(_PAINT.sub("", line)) // columns)) for line in lines]
    while len(lines) > 1 and sum(taken) >= height:  # what has scrolled away can't be painted over
        lines.pop()
        taken.pop()
    up = f"\x1b[{above}A" if above else ""
    put(f"{up}\r\x1b[J" + "".join(f"{line}\n" for line in lines))
    return sum(taken)
