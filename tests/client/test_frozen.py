"""What the decorator of all values promises. That they don't change is the type checkers' to see."""

import copy
import pickle
from dataclasses import KW_ONLY, dataclass, field, fields, replace
from typing import Any

import pytest

from openfit_token._shared.frozen import frozen


@frozen
class Point:
    """Fields of each kind."""

    x: int
    y: float = 0.5
    label: str = field(default="a", repr=False)
    seen: list[int] = field(default_factory=list[int], compare=False)


@frozen
class Other:
    """The same fields in another class."""

    x: int
    y: float = 0.5
    label: str = field(default="a", repr=False)


@frozen
class Nothing:
    """No field."""


@frozen
class Named:
    """Fields by name only."""

    _: KW_ONLY
    a: int
    b: int = 2


@dataclass(frozen=True, slots=True)
class Standard:
    """What a value is measured against."""

    x: int
    y: float = 0.5


def test_values_are_equal_when_their_compared_fields_are() -> None:
    assert Point(1) == Point(1, seen=[3])
    assert Point(1) != Point(2)
    assert Point(1) != Point(1, label="b")
    assert Nothing() == Nothing()
    assert Named(a=1) != Named(a=2)


def test_values_of_different_classes_differ() -> None:
    others: list[object] = [Other(1), (), 1]
    assert Point(1) not in others
    assert Nothing() not in others
    assert Named(a=1) not in others
    assert len({Point(1), Other(1), Nothing()}) == 3


def test_equal_values_have_one_hash() -> None:
    assert len({Point(1), Point(1, seen=[3]), Point(2)}) == 2
    assert {Nothing(): 1}[Nothing()] == 1


def test_a_field_can_be_kept_out_of_what_is_shown() -> None:
    assert repr(Point(1)) == "Point(x=1, y=0.5, seen=[])"
    assert repr(Nothing()) == "Nothing()"


def test_it_shows_itself_and_matches_as_a_dataclass_does() -> None:
    assert repr(Other(1)).replace("Other", "Standard") == repr(Standard(1))
    assert Point.__match_args__ == ("x", "y", "label", "seen")
    assert Named.__match_args__ == ()
    match Point(4):
        case Point(x, seen=[]):
            assert x == 4
        case _:
            pytest.fail("a value doesn't match its class")


def test_it_is_copied_changed_and_listed_as_a_dataclass_is() -> None:
    assert replace(Point(1), x=2) == Point(2)
    assert [each.name for each in fields(Named)] == ["a", "b"]
    for value in (Point(1), Nothing(), Named(a=1)):
        assert copy.deepcopy(value) == pickle.loads(pickle.dumps(value)) == value  # noqa: S301 -- our own


def test_it_has_no_room_for_what_is_not_a_field() -> None:
    value: Any = Point(1)
    with pytest.raises(AttributeError):
        value.z = 1
