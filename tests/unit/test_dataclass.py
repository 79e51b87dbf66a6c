"""Our dataclasses do what those of the standard library do, as far as they are used."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from bpfilter import dataclass as ours


@ours.dataclass(frozen=True, slots=True)
class Point:
    """A place."""

    KIND: ClassVar[str] = "point"
    LIMITS = (0, 9)

    x: int
    y: int = 2
    tags: tuple[str, ...] = ()
    note: str = ours.field(default="", compare=False)

    def moved(self) -> Point:
        return ours.replace(self, x=self.x + 1)


@ours.dataclass(frozen=True, slots=True)
class Pixel(Point):
    colour: str = "red"


@ours.dataclass(frozen=True, slots=True)
class Nothing:
    pass


@ours.dataclass(frozen=True, slots=True)
class One:
    value: object


@ours.dataclass(frozen=True, slots=True)
class Other:
    value: object


@ours.dataclass(slots=True)
class Bag:
    things: list[object] = ours.field(default_factory=list)
    seen: int = 0

    def __post_init__(self) -> None:
        self.seen = len(self.things)


@ours.dataclass(slots=True, eq=False, kw_only=True)
class Table:
    name: str
    width: int = 4


@pytest.fixture(autouse=True, params=[0, 1 << 30], ids=["compiled", "filled"])
def few(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways in which instances are made."""
    monkeypatch.setattr(ours, "_FEW", request.param)
    for cls in (Point, Pixel, Nothing, One, Other, Bag, Table):
        monkeypatch.setattr(cls, "__init__", ours._first_init(cls, cls is Table))


def test_made_by_place_by_name_and_by_default() -> None:
    assert Point(1) == Point(x=1, y=2, tags=()) == Point(1, 2, ())
    assert (Point(7).x, Point(7).y, Point(7).tags, Point(7).note) == (7, 2, (), "")


@pytest.mark.parametrize(
    ("arguments", "options"),
    [((), {}), ((1,), {"z": 2}), ((1,), {"x": 2}), ((1, 2, (), "", 5), {}), ((), {"y": 1})],
)
def test_wrong_arguments(arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"Point\.__init__\(\)"):
        Point(*arguments, **options)


def test_many_and_few_are_the_same() -> None:
    ours_few = [Point(n, tags=("a",)) for n in range(50)]
    assert [point.x for point in ours_few] == list(range(50))
    assert {point.tags for point in ours_few} == {("a",)}


def test_a_class_variable_is_no_field() -> None:
    assert Point.KIND == "point"
    assert Point.LIMITS == (0, 9)
    assert Point.__match_args__ == ("x", "y", "tags", "note")
    assert Point.__doc__ == "A place."


def test_equal_by_what_is_compared() -> None:
    assert Point(1, note="a") == Point(1, note="b")
    assert hash(Point(1, note="a")) == hash(Point(1, note="b"))
    assert Point(1) != Point(2)
    assert Point(1) != Pixel(1)
    others: list[object] = [Other(1), 1]
    assert One(1) not in others
    assert {Nothing(): 1}[Nothing()] == 1
    assert len({Point(1), Point(1, note="x"), Point(2)}) == 2


def test_frozen() -> None:
    point = Point(1)
    with pytest.raises(AttributeError, match="'x'"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match="'x'"):
        del point.x
    with pytest.raises(AttributeError):
        point.more = 1  # type: ignore[attr-defined]
    assert point == Point(1)


def test_a_field_more_than_its_base() -> None:
    assert Pixel(1, colour="blue").colour == "blue"
    assert Pixel(1).moved() == Pixel(2)
    assert isinstance(Pixel(1), Point)
    assert not hasattr(Pixel(1), "__dict__")


def test_not_frozen() -> None:
    bag = Bag([1, 2])
    assert bag.seen == 2
    bag.seen = 3
    assert bag != Bag([1, 2])
    assert Bag().things is not Bag().things
    with pytest.raises(TypeError, match="unhashable"):
        hash(bag)
    with pytest.raises(AttributeError):
        bag.more = 1  # type: ignore[attr-defined]


def test_by_name_only_and_equal_to_itself_only() -> None:
    table = Table(name="a")
    assert (table.name, table.width) == ("a", 4)
    assert table == table
    assert table != Table(name="a")
    assert hash(table) == hash(table)
    with pytest.raises(TypeError, match="positional"):
        Table("a")  # type: ignore[call-arg]


def test_matched_by_place() -> None:
    match Point(3, 4):
        case Point(x, y):
            assert (x, y) == (3, 4)


def test_text() -> None:
    assert repr(Point(1, tags=("a",))) == "Point(x=1, y=2, tags=('a',), note='')"
    assert repr(Nothing()) == "Nothing()"


def test_replace_and_plain_data() -> None:
    nested = One([Point(1), {"a": One((2, 3))}])
    assert ours.replace(Point(1, note="n"), y=5) == Point(1, 5, note="n")
    assert ours.replace(Point(1, note="n"), y=5).note == "n"
    with pytest.raises(TypeError):
        ours.replace(Point(1), z=5)  # type: ignore[call-arg]
    point = {"x": 1, "y": 2, "tags": (), "note": ""}
    assert ours.asdict(nested) == {"value": [point, {"a": {"value": (2, 3)}}]}


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))]
)
def test_copies(copied: Callable[[Any], Any]) -> None:
    assert copied(Pixel(1, note="n")) == Pixel(1)
    assert copied(Pixel(1, note="n")).note == "n"
    assert copied(Bag([1])) == Bag([1])


def test_fields() -> None:
    assert [field.name for field in ours.fields(Pixel)] == [*Pixel.__match_args__]
    assert [field.name for field in ours.fields(Bag([1]))] == ["things", "seen"]


def test_the_library_takes_them_for_its_own() -> None:
    assert dataclasses.is_dataclass(Point)
    assert [field.name for field in dataclasses.fields(Pixel)] == [*Point.__match_args__, "colour"]
    assert dataclasses.replace(Point(1), y=5) == Point(1, 5)
    assert dataclasses.asdict(One(Point(1))) == ours.asdict(One(Point(1)))
    assert {field.name: field.default for field in dataclasses.fields(Point)}["y"] == 2
    assert dataclasses.fields(Bag)[0].default_factory is list


def as_in_the_library(fields: dict[str, Any]) -> tuple[Any, Any]:
    """Make the same class twice: with ours and with the library's."""
    body = {"__annotations__": dict.fromkeys(fields, "object"), **fields}
    return tuple(
        make.dataclass(frozen=True, slots=True)(type("Same", (), dict(body)))
        for make in (ours, dataclasses)
    )


@pytest.mark.parametrize("values", [(), (1,), (1, "b"), (None, (1, 2), "c")])
def test_as_in_the_library(values: tuple[object, ...]) -> None:
    mine, its = as_in_the_library({"a": 0, "b": "", "c": None})
    assert repr(mine(*values)) == repr(its(*values))
    assert mine.__match_args__ == its.__match_args__
    assert mine.__slots__ == its.__slots__
    assert dataclasses.asdict(mine(*values)) == dataclasses.asdict(its(*values))
