"""A command line of curl's: which of its words are options, and which are URLs. No I/O but a look at files.

A URL that was taken for something else would get the token. So curl itself says which options take a
value (`curl --help all`), and an option that it doesn't list is refused.
"""

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from openfit_token._cli.terminal import WrongUsage, printable
from openfit_token._shared.frozen import frozen

URL: Final = "--url"
"""The option that URLs without an option are given to."""

_LISTED: Final = re.compile(r"^ *(?:(-\S), )?(--[\w.-]+)( [<[])?", re.MULTILINE)
_REFUSED: Final = frozenset(
    {
        # Others could get the token.
        *("-k", "--insecure", "--location-trusted", "--connect-to", "--resolve"),
        *("--unix-socket", "--abstract-unix-socket"),
        # They bring URLs and options that aren't on the command line, or that the token isn't for.
        *("-K", "--config", "-:", "--next", "--metalink"),
        # They would write the token into a file.
        *("--libcurl", "--trace", "--trace-ascii"),
        # It is needed here. -i shows the header of a response, too.
        *("-D", "--dump-header"),
    }
)
_OUTPUT: Final = frozenset({"-o", "--output"})
_FILES: Final = _OUTPUT | {"-O", "--remote-name", "--remote-name-all"}
_ONCE: Final = frozenset({"-C", "--continue-at", "--no-clobber"})
"""What the output of a first attempt makes a difference to."""
_UPLOAD: Final = frozenset({"-T", "--upload-file"})
_PARTS: Final = re.compile(r'[@<=;,{}"]')
"""What stands before and after the name of a file in the values of -d, -F, -T, -H and the like."""


@frozen
class Words:
    """The options with their values, if they take one, in order. The URLs are the values of `--url`."""

    pairs: tuple[tuple[str, str | None], ...]

    @property
    def urls(self) -> list[str]:
        """Return all URLs."""
        return [value for option, value in self.pairs if option == URL and value is not None]

    @property
    def prints(self) -> bool:
        """Return whether what is received goes to standard output."""
        return not any(option in _FILES for option, _ in self.pairs)

    @property
    def can_be_repeated(self) -> bool:
        """Return whether it is one request, whose body can be read a second time."""
        (*more, url) = self.urls
        patterns = [url, *(value or "" for option, value in self.pairs if option in _UPLOAD)]
        return (
            not more
            and not any(set("[{") & set(each) for each in patterns)
            and not any(option in _ONCE for option, _ in self.pairs)
            and not any(
                _is_stream(part.strip())
                for option, value in self.pairs
                if value is not None and option not in _OUTPUT
                for part in _PARTS.split(value)
            )
        )

    def words(self, urls: Sequence[str]) -> Iterator[str]:
        """Return the words for curl, with these URLs in place of those that were given."""
        those = iter(urls)
        for option, value in self.pairs:
            yield option
            if option == URL:
                yield next(those)
            elif value is not None:
                yield value


def listed(told: str) -> Mapping[str, bool]:
    """Return the options that `curl --help all` tells of, and whether they take a value."""
    return {
        option: found[3] is not None
        for found in _LISTED.finditer(told)
        for option in (found[1], found[2])
        if option
    }


def read(words: Sequence[str], known: Mapping[str, bool]) -> Words:
    """Read curl's arguments, as curl does.

    Raises:
        WrongUsage: an option isn't known, isn't possible with a token, or lacks its value; or there is
            no URL.
    """
    found = Words(tuple(_pairs(words, known)))
    if not found.urls:
        raise WrongUsage("curl: which URL?", "for example: openfit-token curl --silent /v1/me")
    return found


def _pairs(words: Sequence[str], known: Mapping[str, bool]) -> Iterator[tuple[str, str | None]]:
    rest = iter(words)
    for word in rest:
        if word == "--":
            yield from ((URL, each) for each in rest)
        elif not word.startswith("-"):
            yield URL, word
        elif word.startswith("--"):
            yield word, _value(word, "", rest) if _takes_value(word, known) else None
        else:
            yield from _cluster(word, known, rest)


def _cluster(
    word: str, known: Mapping[str, bool], rest: Iterator[str]
) -> Iterator[tuple[str, str | None]]:
    """Read short options in one word, such as -sSo: the last may take what follows as its value."""
    letters = word[1:] or "-"
    for at, letter in enumerate(letters, 1):
        option = f"-{letter}"
        if _takes_value(option, known):
            yield option, _value(option, letters[at:], rest)
            return
        yield option, None


def _takes_value(option: str, known: Mapping[str, bool]) -> bool:
    if option in _REFUSED:
        raise WrongUsage(
            f"curl: {printable(option)} can't be combined with a token",
            "see: openfit-token curl --help",
        )
    # An option without a value has an opposite, and only one of the two is listed.
    opposite = f"--{option[5:]}" if option.startswith("--no-") else f"--no-{option[2:]}"
    if option not in known and known.get(opposite, True):
        raise WrongUsage(
            f"curl: this curl lists no option {printable(option)}",
            "write it in full; `curl --help all` lists them",
        )
    return known.get(option, False)


def _value(option: str, attached: str, rest: Iterator[str]) -> str:
    value = attached or next(rest, None)
    if value is None:
        raise WrongUsage(f"curl: {printable(option)} lacks its value")
    return value


def _is_stream(part: str) -> bool:
    """Return whether a part of a value names what can be read only once: standard input, a pipe."""
    if part in {"-", "."}:
        return True
    try:
        mode = os.stat(part).st_mode  # noqa: PTH116 -- a word, as it was typed
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
