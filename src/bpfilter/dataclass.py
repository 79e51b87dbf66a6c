"""`@dataclass(slots=True)` as in the standard library, made quickly.

Every command defines some seventy of these classes before it does anything. The standard
library writes six methods of each as text and compiles them, 1 ms a class in Python 3.11,
and imports `inspect` for that: 75 ms, more than all else that `bpfilter status` does. Here
all methods go over the fields; only of classes that get many instances, which few do in the
run of a command, is `__init__` compiled in the end.

Type checkers take these for the standard ones, and so do the functions of `dataclasses`.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, NoReturn

_MISSING: Any = object()
#: Instances of a class before its `__init__` is compiled, which takes as long as filling 50.
_FEW = 16


class _Field:
    """A field of a class; without a default and what makes one, it has to be given."""

    __slots__ = ("annotation", "compare", "default", "default_factory", "name")

    def __init__(self, default: object, default_factory: Any, compare: bool) -> None:
        self.name = ""
        self.annotation: object = None
        self.default = default
        self.default_factory = default_factory
        self.compare = compare

    def named(self, name: str, annotation: object) -> _Field:
        self.name = name
        self.annotation = annotation
        return self

    def make_default(self) -> object:
        return self.default if self.default_factory is _MISSING else self.default_factory()

    def parameter(self) -> str:
        """Give its place in the signature of `__init__`."""
        if self.default is _MISSING and self.default_factory is _MISSING:
            return self.name
        return f"{self.name}=_default_{self.name}"

    def assignment(self) -> str:
        """Give its line of `__init__`."""
        given = self.name
        if self.default_factory is not _MISSING:
            given = f"_make_{given}() if {given} is _default_{given} else {given}"
        return f"_set_{self.name}(self, {given})"


def _field(
    *, default: object = _MISSING, default_factory: Any = _MISSING, compare: bool = True
) -> Any:
    return _Field(default, default_factory, compare)


def _dataclass(
    *, slots: Literal[True], frozen: bool = False, eq: bool = True, kw_only: bool = False
) -> Callable[[type], type]:
    assert slots
    return lambda cls: _made(cls, frozen, eq, kw_only)


def _made(cls: type, frozen: bool, eq: bool, kw_only: bool) -> type:
    # Slots are laid out when a class is made, so it is made once more, as in the library.
    own = [_own_field(cls, name, annotation) for name, annotation in _annotations(cls)]
    fields: dict[str, _Field] = {}
    for base in reversed(cls.__mro__[1:]):
        fields |= base.__dict__.get("__fields__", {})
    inherited = set(fields)
    fields |= {each.name: each for each in own}
    left_out = {"__dict__", "__weakref__"}.union(fields)
    body = {name: value for name, value in cls.__dict__.items() if name not in left_out}
    body["__slots__"] = tuple(each.name for each in own if each.name not in inherited)
    body["__fields__"] = fields
    body["__dataclass_fields__"] = _StandardFields()
    body["__match_args__"] = () if kw_only else tuple(fields)
    body.setdefault("__repr__", _repr)
    if eq:
        body |= _comparison([each.name for each in fields.values() if each.compare], frozen)
    if frozen:
        body |= {"__setattr__": _refuse_set, "__delattr__": _refuse_delete}
        body |= {"__getstate__": _get_state, "__setstate__": _set_state}
    made = type(cls)(cls.__name__, cls.__bases__, body)
    made.__init__ = _first_init(made, kw_only)  # type: ignore[misc]
    return made


def _annotations(cls: type) -> list[tuple[str, object]]:
    found = cls.__annotations__.items()
    return [(name, of) for name, of in found if not str(of).startswith("ClassVar")]


def _own_field(cls: type, name: str, annotation: object) -> _Field:
    written = cls.__dict__.get(name, _MISSING)
    if not isinstance(written, _Field):
        written = _Field(written, _MISSING, compare=True)
    return written.named(name, annotation)


def _first_init(cls: Any, kw_only: bool) -> Callable[..., None]:
    left = _FEW

    def __init__(self: Any, *args: object, **kwargs: object) -> None:  # noqa: N807
        nonlocal left
        left -= 1
        wrong = kw_only and args
        if left < 0 or wrong or not _fill(self, cls.__fields__, args, kwargs):
            cls.__init__ = _compiled_init(cls, kw_only)  # which also says what is wrong
            cls.__init__(self, *args, **kwargs)
        elif hasattr(cls, "__post_init__"):
            self.__post_init__()

    return __init__


def _fill(
    self: object,
    fields: dict[str, _Field],
    args: tuple[object, ...],
    kwargs: dict[str, object],
) -> bool:
    # False if these are not the arguments it takes.
    given = dict(zip(fields, args, strict=False)) | kwargs
    if len(given) < len(args) + len(kwargs) or not given.keys() <= fields.keys():
        return False
    for name, each in fields.items():
        value = given[name] if name in given else each.make_default()
        if value is _MISSING:
            return False
        object.__setattr__(self, name, value)
    return True


def _compiled_init(cls: Any, kw_only: bool) -> Callable[..., None]:
    fields = list(cls.__fields__.values())
    scope: dict[str, Any] = {}
    for each in fields:
        scope[f"_default_{each.name}"] = each.default
        scope[f"_make_{each.name}"] = each.default_factory
        scope[f"_set_{each.name}"] = getattr(cls, each.name).__set__  # of its slot
    lines = [each.assignment() for each in fields]
    if hasattr(cls, "__post_init__"):
        lines.append("self.__post_init__()")
    first = ["self", "*"] if kw_only and fields else ["self"]
    parameters = ", ".join([*first, *(each.parameter() for each in fields)])
    body = "\n ".join(lines or ["pass"])
    exec(f"def __init__({parameters}):\n {body}", scope)
    made: Callable[..., None] = scope["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    return made


def _comparison(names: list[str], frozen: bool) -> dict[str, object]:
    key: Callable[[object], object] = attrgetter(*names) if names else lambda _: ()

    def __eq__(self: object, other: object) -> bool:  # noqa: N807
        if other.__class__ is not self.__class__:
            return NotImplemented
        return key(self) == key(other)

    def __hash__(self: object) -> int:  # noqa: N807
        return hash(key(self))

    return {"__eq__": __eq__, "__hash__": __hash__ if frozen else None}


def _repr(self: Any) -> str:
    values = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__fields__)
    return f"{type(self).__qualname__}({values})"


def _refuse_set(self: object, name: str, value: object) -> NoReturn:  # noqa: ARG001
    raise AttributeError(f"cannot assign to field {name!r}")


def _refuse_delete(self: object, name: str) -> NoReturn:  # noqa: ARG001
    raise AttributeError(f"cannot delete field {name!r}")


def _get_state(self: Any) -> list[object]:
    return [getattr(self, name) for name in self.__fields__]


def _set_state(self: Any, state: list[object]) -> None:
    for name, value in zip(self.__fields__, state, strict=True):
        object.__setattr__(self, name, value)


def _replace(instance: Any, /, **changes: object) -> Any:
    for name in instance.__fields__:
        if name not in changes:
            changes[name] = getattr(instance, name)
    return type(instance)(**changes)


def _asdict(instance: Any) -> dict[str, Any]:
    return {name: _plain(getattr(instance, name)) for name in instance.__fields__}


def _fields(of: Any) -> tuple[_Field, ...]:
    return tuple(of.__fields__.values())


def _plain(value: Any) -> Any:
    if hasattr(type(value), "__fields__"):
        return _asdict(value)
    if isinstance(value, list | tuple):
        return type(value)(map(_plain, value))
    if isinstance(value, dict):
        return {_plain(key): _plain(of) for key, of in value.items()}
    return value


class _StandardFields:
    """The fields as the standard library's functions want them, made when one asks."""

    def __get__(self, instance: object, owner: Any) -> dict[str, Any]:
        import dataclasses

        fields = []
        for each in owner.__fields__.values():
            known: dict[str, Any] = {"compare": each.compare}
            if each.default is not _MISSING:
                known["default"] = each.default
            if each.default_factory is not _MISSING:
                known["default_factory"] = each.default_factory
            fields.append((each.name, each.annotation, dataclasses.field(**known)))
        standard: Any = dataclasses.make_dataclass(owner.__name__, fields)
        found: dict[str, Any] = standard.__dataclass_fields__
        return found


if TYPE_CHECKING:
    from dataclasses import asdict as asdict
    from dataclasses import dataclass as dataclass
    from dataclasses import field as field
    from dataclasses import fields as fields
    from dataclasses import replace as replace
else:
    asdict, dataclass, field, fields = _asdict, _dataclass, _field, _fields
    replace = _replace
