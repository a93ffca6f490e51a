"""Which paths are trusted: one table of trees, made of real files, and what is said of each."""

import grp
import os
import shlex
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from daemons import needs_root
from openfit_token._shared.trusted_path import Untrusted, judge_directory, judge_file, judge_socket
from others import EVE
from users import account, being, give_acl

ME, SERVICE = 50_001, 50_003
"""Users without accounts, as in a container; the group of the same number is a private one."""
USERS = {"root": 0, "me": ME, "eve": EVE, "service": SERVICE}

LOADED_FOR_ME = (grp, shlex)
"""Loaded now, since `me` may not read every interpreter's library."""

JUDGES: dict[str, Callable[[str], object]] = {
    "directory": judge_directory,
    "file": lambda path: judge_file(path, os.stat(path)),  # noqa: PTH116 -- of a text
    "own socket": partial(judge_socket, service=False),
    "named socket": partial(judge_socket, service=True),
}


class Case(NamedTuple):
    """A tree, and whether something in it is trusted by `me`."""

    rule: str
    tree: str
    """Each thing is: path, owner[:group], and a mode or "-> target"; a file's path ends with "."."""
    judged: str
    path: str
    wrong: str = ""
    """The component that is refused; empty: none."""


CASES = (
    Case("one's own", "a me 755, a/b me 700", "directory", "a/b"),
    Case("root's", "a root 755, a/b root 755", "directory", "a/b"),
    Case("another's", "a eve 755", "directory", "a", "a"),
    Case("above it another's", "a eve 755, a/b me 700", "directory", "a/b", "a"),
    Case("far above another's", "a eve 755, a/b me 700, a/b/c me 700", "directory", "a/b/c", "a"),
    Case("everybody writes", "a me 757", "directory", "a", "a"),
    Case("everybody writes above it", "a root 777, a/b me 700", "directory", "a/b", "a"),
    Case("a group writes", "a me:eve 775", "directory", "a", "a"),
    Case("a group writes above it", "a root:eve 775, a/b me 700", "directory", "a/b", "a"),
    Case("a group reads", "a me:eve 755, a/b me:eve 750", "directory", "a/b"),
    Case("one's private group writes", "a me:me 775, a/b me:me 770", "directory", "a/b"),
    Case("one's private group writes root's", "a root:me 775, a/b me 700", "directory", "a/b"),
    Case("root's private group writes", "a root:root 775", "directory", "a"),
    Case("in a sticky one, one's own", "a root 1777, a/b me 700", "directory", "a/b"),
    Case("in a sticky one, root's", "a root 1777, a/b root 755", "directory", "a/b"),
    Case("in a sticky one, another's", "a root 1777, a/b eve 755", "directory", "a/b", "a/b"),
    Case("in another's sticky one", "a eve 1777, a/b me 700", "directory", "a/b", "a"),
    Case("a sticky one itself", "a root 1777", "directory", "a", "a"),
    Case("one's own sticky one itself", "a me 1777", "directory", "a", "a"),
    Case("nothing there", "a me 755", "directory", "a/b/c"),
    Case("nothing there below another's", "a eve 755", "directory", "a/b", "a"),
    Case("one's own link", "a me 755, b me -> a", "directory", "b"),
    Case("root's link", "a me 755, b root -> {place}/a", "directory", "b"),
    Case("another's link", "a me 755, b eve -> a", "directory", "b", "b"),
    Case("another's link above it", "a me 755, a/c me 700, b eve -> a", "directory", "b/c", "b"),
    Case("a link to another's", "a eve 755, b me -> a", "directory", "b", "a"),
    Case("a link in another's", "a me 755, c eve 755, c/b me -> ../a", "directory", "c/b", "c"),
    Case("a link through another's", "a eve 755, a/c me 700, b me -> a/c", "directory", "b", "a"),
    Case("a link to a link", "a me 755, b me -> a, c root -> b", "directory", "c"),
    Case("a link to another's link", "a me 755, b eve -> a, c me -> b", "directory", "c", "b"),
    Case("another's link in a sticky one", "s root 1777, s/b eve -> /", "directory", "s/b", "s/b"),
    Case("one's own in a sticky one", "s root 1777, a me 700, s/b me -> ../a", "directory", "s/b"),
    Case("back up", "a me 755, b me 755", "directory", "a/../b"),
    Case("back up from another's", "a eve 755, b me 755", "directory", "a/../b", "a"),
    Case(
        "back up in a sticky one",
        "s root 1777, s/a me 700, s/b eve 700",
        "directory",
        "s/a/../b",
        "s/b",
    ),
    Case("dots and slashes", "a me 755, a/b me 700", "directory", "./a//./b/"),
    Case("one's own file", "a me 755, a/f. me 600", "file", "a/f."),
    Case("root's file", "a root 755, a/f. root 644", "file", "a/f."),
    Case("another's file", "a me 755, a/f. eve 644", "file", "a/f.", "a/f."),
    Case("a file that everybody writes", "f. me 602", "file", "f.", "f."),
    Case("a file that a group writes", "f. root:eve 660", "file", "f.", "f."),
    Case("a file that one's private group writes", "f. me:me 660", "file", "f."),
    Case("a file in another's", "a eve 755, a/f. me 600", "file", "a/f.", "a"),
    Case("a file in a group's", "a root:eve 775, a/f. root 644", "file", "a/f.", "a"),
    Case("one's own file in a sticky one", "a root 1777, a/f. me 600", "file", "a/f."),
    Case("another's file in a sticky one", "a root 1777, a/f. eve 644", "file", "a/f.", "a/f."),
    Case("a link to one's own file", "f. me 600, b me -> f.", "file", "b"),
    Case("a link to another's file", "f. eve 644, b me -> f.", "file", "b", "b"),
    Case("another's link to one's own file", "f. me 600, b eve -> f.", "file", "b", "b"),
    Case("a socket of one's own", "a me 700, a/s. me 600", "own socket", "a/s."),
    Case("whosever socket in a safe place", "a root 755, a/s. eve 666", "own socket", "a/s."),
    Case("a service's, not named", "a service 755, a/s. service 666", "own socket", "a/s.", "a"),
    Case("a service's, named", "a service 755, a/s. service 660", "named socket", "a/s."),
    Case(
        "two of a service",
        "a service 755, a/b service 755, a/b/s. service 666",
        "named socket",
        "a/b/s.",
        "a",
    ),
    Case(
        "a service's below another's",
        "a eve 755, a/b service 755, a/b/s. service 666",
        "named socket",
        "a/b/s.",
        "a",
    ),
    Case(
        "a service's below one's own",
        "a me 755, a/b service 755, a/b/s. service 666",
        "named socket",
        "a/b/s.",
    ),
    Case(
        "a service's in a sticky one",
        "a root 1777, a/b eve 755, a/b/s. eve 666",
        "named socket",
        "a/b/s.",
        "a/b",
    ),
    Case(
        "a service's that a group writes",
        "a service:eve 775, a/s. service 666",
        "named socket",
        "a/s.",
        "a",
    ),
    Case(
        "a service's that its own private group writes",
        "a service 2775, a/s. service 666",
        "named socket",
        "a/s.",
    ),
    Case(
        "a service's private group writes one's own",
        "a me:service 775, a/s. me 666",
        "named socket",
        "a/s.",
        "a",
    ),
    Case(
        "a service's that all write", "a service 777, a/s. service 666", "named socket", "a/s.", "a"
    ),
    Case(
        "a service's sticky one", "a service 1777, a/s. service 666", "named socket", "a/s.", "a/s."
    ),
    Case(
        "a link of a service",
        "a service 755, s. eve 666, a/b service -> ../s.",
        "named socket",
        "a/b",
        "a/b",
    ),
    Case(
        "root's link in a service's",
        "a service 755, s. root 666, a/b root -> ../s.",
        "named socket",
        "a/b",
        "a/b",
    ),
    Case(
        "a link to a service's",
        "a service 755, a/s. service 666, b me -> a/s.",
        "named socket",
        "b",
    ),
    Case("one's own socket in a sticky one", "a root 1777, a/s. me 600", "named socket", "a/s."),
    Case(
        "another's socket in a sticky one",
        "a root 1777, a/s. eve 666",
        "named socket",
        "a/s.",
        "a/s.",
    ),
)


def make(place: Path, tree: str) -> None:
    """Make what a case says; modes come last, so that they hinder nobody."""
    for thing in tree.split(", "):
        path, owner, *rest = thing.split()
        user, _, group = owner.partition(":")
        uid, gid = USERS[user], USERS[group or user]
        if rest[0] == "->":
            (place / path).symlink_to(rest[1].format(place=place))
        elif path.endswith("."):
            (place / path).touch()
        else:
            (place / path).mkdir()
        os.chown(place / path, uid, gid, follow_symlinks=False)
        if rest[0] != "->":
            (place / path).chmod(int(rest[0], 8))


def verdict(judged: str, path: str) -> str:
    """Return the component that is refused, or nothing."""
    try:
        JUDGES[judged](path)
    except Untrusted as untrusted:
        return untrusted.place
    except FileNotFoundError:
        pass
    return ""


@needs_root
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule.replace(" ", "-"))
def test_the_table_of_trees(place: Path, case: Case) -> None:
    place.chmod(0o755)
    make(place, case.tree)

    with being(ME):
        found = verdict(case.judged, f"{place}/{case.path}")

    assert found == (case.wrong and f"{place}/{case.wrong}")


@pytest.mark.parametrize(
    ("tree", "wrong", "said", "remedy"),
    [
        ("a eve 755", "a", f"belongs to {EVE}, not to root or {ME}", "chown {me} {place}/a, or"),
        ("a root 777", "a", "can be written by everybody (mode 0777)", "chmod go-w {place}/a"),
        ("a me:eve 2775", "a", f"can be written by the group {EVE} (mode 2775)", "chmod go-w {place}/a"),
        ("a root 1777", "a", "can be written by everybody (mode 1777)", "use a path in a"),
        ("a eve -> /", "a", f"belongs to {EVE}, not to root or {ME}", "chown -h {me} {place}/a"),
    ],
)  # fmt: skip
@needs_root
def test_the_error_names_the_component_the_reason_and_what_mends_it(
    place: Path, tree: str, wrong: str, said: str, remedy: str
) -> None:
    place.chmod(0o755)
    make(place, tree)

    with being(ME), pytest.raises(Untrusted) as caught:
        judge_directory(f"{place}/a")

    assert str(caught.value) == f"{place}/{wrong} {said}"
    assert str(caught.value.hint).startswith(remedy.format(place=place, me=ME))


@needs_root
def test_what_the_error_says_mends_it(place: Path) -> None:
    make(place, "a root:eve 775, a/b eve 777")
    (place / "a").chmod(0o775)

    for _ in range(3):
        with pytest.raises(Untrusted) as caught:
            judge_directory(f"{place}/a/b")
        subprocess.run(str(caught.value.hint).partition(", or ")[0], shell=True, check=True)  # noqa: S602 -- as a person would

    judge_directory(f"{place}/a/b")


def test_links_in_a_circle_have_an_end(place: Path) -> None:
    (place / "a").symlink_to("b")
    (place / "b").symlink_to("a")

    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        judge_directory(f"{place}/a")


def test_the_users_own_temporary_directory_is_safe_and_the_shared_one_is_not(place: Path) -> None:
    judge_directory(str(place))

    with pytest.raises(Untrusted, match=r"^/tmp "):
        judge_directory("/tmp")  # noqa: S108 -- the real one


def test_a_link_to_its_own_directory_leads_there(tmp_path: Path) -> None:
    (tmp_path / "here").symlink_to(".")

    judge_directory(str(tmp_path / "here"))


@needs_root
def test_an_acl_makes_a_private_group_one_of_many(place: Path) -> None:
    place.chmod(0o755)
    make(place, "a me 770")
    give_acl(place / "a", EVE, 7)

    with being(ME):
        assert verdict("directory", f"{place}/a") == f"{place}/a"


@needs_root
def test_a_private_group_is_that_of_the_users_name_until_another_has_it(place: Path) -> None:
    place.chmod(0o755)
    (place / "home").mkdir()
    with account("--user-group") as alice:
        os.chown(place / "home", alice.pw_uid, alice.pw_gid)
        (place / "home").chmod(0o775)

        def found() -> str:
            with being(alice.pw_uid):
                return verdict("directory", f"{place}/home")

        assert found() == ""

        with account("--gid", alice.pw_name):
            assert found() == f"{place}/home"

        with account("--user-group", "--groups", alice.pw_name):
            assert found() == f"{place}/home"


@needs_root
def test_a_primary_group_that_many_share_is_not_private(place: Path) -> None:
    place.chmod(0o755)
    (place / "home").mkdir()
    with account("--gid", "users") as alice:
        os.chown(place / "home", alice.pw_uid, alice.pw_gid)
        (place / "home").chmod(0o775)

        with being(alice.pw_uid):
            assert verdict("directory", f"{place}/home") == f"{place}/home"
