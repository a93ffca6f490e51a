"""What takes memory in a process, told from inside of it, as a line of JSON.

`python weigh.py imports MODULE` imports it: the KiB of each module, without what that imports.
`python weigh.py daemon ARGUMENT...` is `openfit-tokend ARGUMENT...`; each SIGUSR1: what is alive.
"""

import gc
import json
import signal
import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType


def resident() -> dict[str, int]:
    """Return the resident KiB of this process, and those of them that no file backs."""
    with open("/proc/self/smaps_rollup") as file:  # noqa: PTH123 -- pathlib would be weighed too
        sizes = {words[0]: words[1] for words in map(str.split, file)}
    return {"resident": int(sizes["Rss:"]), "anonymous": int(sizes["Anonymous:"])}


def imports(module: str) -> None:
    """Import a module, and print what it and each that came with it took."""
    bootstrap = sys.modules["_frozen_importlib"]
    find: Callable[..., object] = vars(bootstrap)[
        "_find_and_load"
    ]  # the interpreter calls it there
    taken: Counter[str] = Counter()
    inner = [0]  # KiB of what each module that is being imported has imported so far

    def weighed(name: str, *others: object) -> object:
        before = resident()["resident"]
        inner.append(0)
        try:
            return find(name, *others)
        finally:
            more = resident()["resident"] - before
            taken[name] += more - inner.pop()
            inner[-1] += more

    vars(bootstrap)["_find_and_load"] = weighed
    __import__(module)
    print(json.dumps({**resident(), "modules": taken}))


def alive() -> dict[str, tuple[int, int]]:
    """Return the number and the bytes of what is alive, by type."""
    seen: dict[int, object] = {}
    found = gc.get_objects()
    while found:
        each = found.pop()
        if id(each) not in seen and each is not seen and each is not found:
            seen[id(each)] = each
            found.extend(gc.get_referents(each))
    numbers: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for each in seen.values():
        name = type(each).__name__
        numbers[name] += 1
        sizes[name] += sys.getsizeof(each)
    return {name: (numbers[name], sizes[name]) for name in numbers}


def daemon(arguments: list[str]) -> None:
    """Be the daemon's command."""

    def tell(_number: int, _frame: FrameType | None) -> None:
        sizes = resident()  # before it is grown by looking
        print(json.dumps({**sizes, "alive": alive()}), flush=True)

    from openfit_tokend.cli import main  # noqa: PLC0415 -- only here

    signal.signal(signal.SIGUSR1, tell)
    main(arguments)


if __name__ == "__main__":
    if sys.argv[1] == "imports":
        imports(sys.argv[2])
    else:
        daemon(sys.argv[2:])
