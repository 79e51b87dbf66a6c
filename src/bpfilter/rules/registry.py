"""Which extension owns a name: one class per match and target, declared as data.

An extension is a frozen dataclass in `ext/`, registered by decorator:

    @match("ttl", families=V4)
    @dataclass(frozen=True, slots=True)
    class Ttl(Match):
        low: int
        high: int
        inverted: bool = False

        OPTIONS = (Option("--ttl-eq", invertible=True), Option("--ttl-lt"), Option("--ttl-gt"))

        @classmethod
        def parse(cls, given: Given, context: Context) -> Self: ...
        def format(self, family) -> list[str]: ...
        def describe(self, family) -> str: ...
        def predicate(self, family, rule) -> Predicate: ...
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any, ClassVar, Protocol, TypeVar

from bpfilter.dataclass import dataclass, field
from bpfilter.errors import RuleError
from bpfilter.rules.model import Family, Match, Target
from bpfilter.rules.model import Protocol as IpProtocol
from bpfilter.source import Span

BOTH = (Family.IPV4, Family.IPV6)
V4 = (Family.IPV4,)
V6 = (Family.IPV6,)


@dataclass(frozen=True, slots=True)
class Option:
    """One option of an extension.

    `values` is how many words follow; `invertible` allows `!` before it (or, in the
    old spelling, before its value); `repeatable` collects every use; `optional_value`
    takes a word only if the next one does not start with `-` or is `!`. A rule that
    loads the extension without a `required` option is refused. `metavar` and `help` are what
    `-m NAME -h` shows of the values and of the option (rules.usage).
    """

    name: str
    metavar: str = ""
    help: str = ""
    values: int = 1
    invertible: bool = False
    aliases: tuple[str, ...] = ()
    repeatable: bool = False
    optional_value: bool = False
    required: bool = False


@dataclass(frozen=True, slots=True)
class Word:
    """A word of the rule with its place in the source."""

    text: str
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Use:
    """One use of an option in a rule."""

    option: Option
    words: tuple[Word, ...]
    inverted: bool = False
    span: Span | None = None

    @property
    def value(self) -> str:
        return self.words[0].text if self.words else ""


@dataclass(frozen=True, slots=True)
class Given:
    """All uses of an extension's options in one rule, in order."""

    uses: tuple[Use, ...] = ()
    span: Span | None = None  # of the `-m NAME` or `-j NAME` words

    def get(self, name: str) -> Use | None:
        """Give the (last) use of an option, None if it was not used."""
        return next((use for use in reversed(self.uses) if use.option.name == name), None)

    def all(self, name: str) -> tuple[Use, ...]:
        return tuple(use for use in self.uses if use.option.name == name)

    def __contains__(self, name: str) -> bool:
        return self.get(name) is not None


@dataclass(frozen=True, slots=True)
class Context:
    """What an extension may need to know of the rule around it while being parsed.

    `matches` are the rule's, and only there for its target.
    """

    family: Family
    table: str = "filter"
    chain: str = ""
    protocol: IpProtocol | None = None
    matches: tuple[Match, ...] = ()


class MatchClass(Protocol):
    """What a registered match class offers."""

    NAME: ClassVar[str]
    OPTIONS: ClassVar[tuple[Option, ...]]

    @classmethod
    def parse(cls, given: Given, context: Context) -> Match: ...


class TargetClass(Protocol):
    NAME: ClassVar[str]
    OPTIONS: ClassVar[tuple[Option, ...]]

    @classmethod
    def parse(cls, given: Given, context: Context) -> Target: ...


@dataclass(slots=True)
class Registry:
    """Names to classes, per family.

    `package` is the extensions' package by name: it stands above this one, so it is
    loaded at the first look-up that needs it and never imported here. Its
    `load(kind, name)` imports the module which owns a name, if there is one; its `names()`
    are all that there may be.
    """

    package: str = "bpfilter.ext"
    matches: dict[tuple[str, Family], Any] = field(default_factory=dict)
    targets: dict[tuple[str, Family], Any] = field(default_factory=dict)

    def find_match(self, name: str, family: Family, span: Span | None = None) -> Any:
        """Give the class of a match. Raises: RuleError as iptables words it."""
        found = self.match(name, family)
        if found is None:
            raise RuleError(
                f"Couldn't load match `{name}'", span, f"{family.command} has no -m {name} here"
            )
        return found

    def match(self, name: str, family: Family) -> Any | None:
        """Give the class of a match, None if this family has none of the name."""
        if (name, family) not in self.matches:
            self._extensions().load("match", name)
        return self.matches.get((name, family))

    def find_target(self, name: str, family: Family) -> Any | None:
        """Give the class of a target, None if this family has none (then it is a chain)."""
        if (name, family) not in self.targets:
            self._extensions().load("target", name)
        return self.targets.get((name, family))

    def names(self) -> frozenset[str]:
        """Give the names of all extensions; there may be more than are read here."""
        found: frozenset[str] = self._extensions().names()
        return found

    # Often asked for, as targets are looked up by the name of every chain.
    def _extensions(self) -> Any:
        return sys.modules.get(self.package) or importlib.import_module(self.package)


REGISTRY = Registry()

C = TypeVar("C", bound=type)


def match(name: str, families: tuple[Family, ...] = BOTH) -> Callable[[C], C]:
    """Register a match class under its iptables name."""

    def register(cls: C) -> C:
        cls.NAME = name  # type: ignore[attr-defined]  # a ClassVar of Match
        for family in families:
            assert (name, family) not in REGISTRY.matches, name
            REGISTRY.matches[name, family] = cls
        return cls

    return register


def target(name: str, families: tuple[Family, ...] = BOTH) -> Callable[[C], C]:
    """Register a target class under its iptables name."""

    def register(cls: C) -> C:
        cls.NAME = name  # type: ignore[attr-defined]  # a ClassVar of Target
        for family in families:
            assert (name, family) not in REGISTRY.targets, name
            REGISTRY.targets[name, family] = cls
        return cls

    return register
