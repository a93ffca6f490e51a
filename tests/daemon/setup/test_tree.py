"""Putting files into a tree: whole or not at all, with their modes, and never through a symlink."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from daemons import NOBODY, needs_root
from openfit_tokend.setup.failure import SetupFailed
from openfit_tokend.setup.tree import MAX_FILE, Done, Tree
from users import being

TARGET = Path("/etc/systemd/system/a.service")


@contextmanager
def umask(mask: int) -> Generator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_what_is_put_has_the_mode_it_is_to_have_whatever_the_umask(
    tmp_path: Path, mask: int
) -> None:
    with umask(mask):
        assert Tree(tmp_path).put(TARGET, b"text", 0o640) is Done.MADE

    there = tmp_path / "etc/systemd/system/a.service"
    assert there.read_bytes() == b"text"
    assert mode(there) == 0o640
    assert [mode(each) for each in there.parents[:3]] == [0o755, 0o755, 0o755]


def test_what_is_there_as_it_should_be_is_left_untouched(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.put(TARGET, b"text", 0o644)
    before = tree.outside(TARGET).stat()

    assert tree.put(TARGET, b"text", 0o644) is Done.KEPT

    after = tree.outside(TARGET).stat()
    assert (after.st_ino, after.st_ctime_ns) == (before.st_ino, before.st_ctime_ns)


@pytest.mark.parametrize(("content", "wanted"), [(b"other", 0o644), (b"text", 0o600)])
def test_another_content_or_mode_is_put_right_and_leaves_nothing_beside(
    tmp_path: Path, content: bytes, wanted: int
) -> None:
    tree = Tree(tmp_path)
    tree.put(TARGET, b"text", 0o644)

    assert tree.put(TARGET, content, wanted) is Done.CHANGED

    assert tree.read(TARGET) == content
    assert mode(tree.outside(TARGET)) == wanted
    assert os.listdir(tree.outside(TARGET).parent) == [TARGET.name]  # noqa: PTH208 -- hidden ones too


def test_no_symlink_is_followed_neither_a_file_nor_a_directory(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    (outside / "system").mkdir(parents=True)
    (outside / "system/a.service").write_text("mine")
    (root / "etc").mkdir(parents=True)
    (root / "etc/systemd").symlink_to(outside)
    tree = Tree(root)

    for act in (
        lambda: tree.put(TARGET, b"text", 0o644),
        lambda: tree.remove(TARGET),
        lambda: tree.read(TARGET),
        lambda: tree.make(TARGET.parent / "a", 0o755),
    ):
        with pytest.raises(SetupFailed) as caught:
            act()
        assert "no symlinks" in str(caught.value)
    link = root / "etc/a.service"
    link.symlink_to(outside / "system/a.service")
    with pytest.raises(SetupFailed):
        tree.put(Path("/etc/a.service"), b"text", 0o644)

    assert [path.name for path in outside.rglob("*")] == ["system", "a.service"]
    assert (outside / "system/a.service").read_text() == "mine"


@pytest.mark.parametrize("where", ["", "etc", "etc/systemd"])
def test_nothing_is_written_where_others_could_exchange_it(tmp_path: Path, where: str) -> None:
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    wrong = tmp_path / where
    wrong.chmod(0o777)
    path = Path("/etc/systemd/system/x.service")

    with pytest.raises(SetupFailed, match=r"^won't create ") as caught:
        Tree(tmp_path).put(path, b"x", 0o644)
    with pytest.raises(SetupFailed):
        Tree(tmp_path).make(path.parent, 0o755)

    assert caught.value.message.endswith(f": {wrong} can be written by everybody (mode 0777)")
    assert caught.value.hint == f"chmod go-w {wrong}"
    assert not Tree(tmp_path).outside(path).exists()


@needs_root
def test_a_directory_that_its_owner_cannot_write_to_is_said_so() -> None:
    with TemporaryDirectory() as directory:  # pytest's own keep strangers out
        Path(directory, "etc").mkdir(mode=0o555)
        for each in (directory, f"{directory}/etc"):
            os.chown(each, NOBODY, NOBODY)

        with pytest.raises(SetupFailed) as caught, being(NOBODY):
            Tree(Path(directory)).put(Path("/etc/x.service"), b"x", 0o644)

    assert caught.value.message == f"can't write {directory}/etc/x.service: Permission denied"
    assert caught.value.hint == "its directories must let nobody write it"


def test_a_masked_unit_stays_masked(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.make(TARGET.parent, 0o755)
    tree.outside(TARGET).symlink_to("/dev/null")

    with pytest.raises(SetupFailed) as caught:
        tree.put(TARGET, b"text", 0o644)

    assert caught.value.hint == "systemctl unmask a.service"
    assert tree.outside(TARGET).is_symlink()


def test_something_else_under_the_name_is_neither_read_replaced_nor_removed(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.make(TARGET.parent, 0o755)
    os.mkfifo(tree.outside(TARGET))

    for act in (
        lambda: tree.put(TARGET, b"text", 0o644),
        lambda: tree.read(TARGET),
        lambda: tree.remove(TARGET),
    ):
        with pytest.raises(SetupFailed):
            act()

    assert tree.outside(TARGET).is_fifo()


def test_what_is_not_there_is_no_failure(tmp_path: Path) -> None:
    tree = Tree(tmp_path)

    assert tree.read(TARGET) is None
    assert tree.remove(TARGET) is Done.ABSENT
    assert tree.remove_if_empty(TARGET.parent) is Done.ABSENT


def test_only_an_empty_directory_is_removed(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.put(TARGET, b"text", 0o644)

    assert tree.remove_if_empty(TARGET.parent) is Done.KEPT
    assert tree.remove(TARGET) is Done.REMOVED
    assert tree.remove_if_empty(TARGET.parent) is Done.REMOVED


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(MAX_FILE + 1))

    with pytest.raises(SetupFailed):
        Tree(tmp_path).read(Path("/large"))


def test_a_disk_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = Tree(tmp_path)
    tree.put(TARGET, b"text", 0o644)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SetupFailed) as caught:
        tree.put(TARGET, b"other", 0o644)

    assert "No space left on device" in str(caught.value)
    assert os.listdir(tree.outside(TARGET).parent) == [TARGET.name]  # noqa: PTH208 -- hidden ones too
    assert tree.read(TARGET) == b"text"
