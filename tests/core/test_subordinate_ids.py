"""Whose a subordinate uid is."""

import pytest

from openfit_tokend.core.callers.subordinate_ids import SubordinateIds, parse

PASSWD = "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/srv/alice:/bin/sh\nbob:x:1001:1001:::\n"
SUBUID = "alice:100000:65536\nbob:165536:65536\n1001:300000:10\ncarol:400000:5\ncarol:500000:5\n"


@pytest.mark.parametrize(
    ("uid", "owner"),
    [
        (0, 0),
        (1000, 1000),
        (99_999, 99_999),
        (100_000, 1000),
        (165_535, 1000),
        (165_536, 1001),
        (231_072, 231_072),
        (300_009, 1001),
        (300_010, 300_010),
        (400_004, 400_000),
        (500_004, 400_000),  # carol isn't in /etc/passwd: she is one user all the same
        (2**32 - 2, 2**32 - 2),
    ],
)
def test_a_subordinate_uid_belongs_to_the_user_whose_range_it_is_in(uid: int, owner: int) -> None:
    assert parse(SUBUID, PASSWD).owner(uid) == owner


@pytest.mark.parametrize(
    "text", ["", "alice", "alice:1:", ":5:5", "alice:-1:5", "alice:x:5", "alice:9999999999999:5"]
)
def test_a_line_that_is_none_counts_for_nothing(text: str) -> None:
    found = parse(f"{text}\nbob:200000:5\n", f"x\n{PASSWD}")

    assert [found.owner(uid) for uid in (1, 5, 200_004)] == [1, 5, 1001]


def test_root_belongs_to_nobody() -> None:
    found = parse("alice:0:65536\n", PASSWD)

    assert [found.owner(uid) for uid in (0, 1)] == [0, 1000]


def test_without_ranges_each_uid_is_its_own() -> None:
    assert SubordinateIds().owner(100_000) == 100_000
