"""`-m set` and `-j SET`: look in, add to, or take from an ipset (libxt_set.c, libxt_SET.c)."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._unenforced import UnenforcedMatch
from bpfilter.ext._values import fail
from bpfilter.rules.model import Family, Target
from bpfilter.rules.registry import Context, Given, Option, Use, match, target
from bpfilter.rules.values import U32, U64, inverted, need_chains, need_table, number
from bpfilter.rules.words import is_plain

_MAX_NAME_BYTES = 31  # IPSET_MAXNAMELEN less the NUL
_MAX_DIMENSIONS = 6  # IPSET_DIM_MAX
_COUNTERS = ("packets", "bytes")
_SIGNS = {"eq": "this many", "lt": "less", "gt": "more"}
_MAPS = {
    "--map-mark": "take the mark",
    "--map-prio": "take the priority",
    "--map-queue": "take the queue of the interface",
}


@dataclass(frozen=True, slots=True)
class SetKey:
    """A set's name, and of each of its dimensions, whether it is of the source: `src,dst`."""

    name: str
    sources: tuple[bool, ...]

    def words(self) -> list[str]:
        return [self.name, ",".join("src" if source else "dst" for source in self.sources)]


@dataclass(frozen=True, slots=True)
class Counter:
    """`sign` is eq, lt or gt."""

    sign: str
    value: int
    inverted: bool = False


@match("set")
@dataclass(frozen=True, slots=True)
class MatchSet(UnenforcedMatch):
    key: SetKey
    inverted: bool = False
    return_nomatch: bool = False
    update_counters: bool = True
    update_subcounters: bool = True
    packets: Counter | None = None
    bytes: Counter | None = None

    OPTIONS = (
        Option(
            "--match-set",
            "name src|dst,...",
            "an entry of the set has the addresses or ports",
            values=2,
            invertible=True,
            aliases=("--set",),
            required=True,
        ),
        Option("--return-nomatch", "", "also entries with nomatch", values=0),
        Option(
            "--update-counters", "", "count in the entry; the default", values=0, invertible=True
        ),
        Option(
            "--update-subcounters",
            "",
            "and in sets of sets; the default",
            values=0,
            invertible=True,
        ),
        *(
            Option(
                f"--{counter}-{sign}",
                "n",
                f"{counter} of the entry are {text}",
                invertible=sign == "eq",
            )
            for counter in _COUNTERS
            for sign, text in _SIGNS.items()
        ),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        use = given.all("--match-set")[0]
        counters, subcounters = given.get("--update-counters"), given.get("--update-subcounters")
        return cls(
            _parse_key(use, "set"),
            use.inverted,
            "--return-nomatch" in given,
            counters is None or not counters.inverted,
            subcounters is None or not subcounters.inverted,
            *(_parse_counter(given, counter) for counter in _COUNTERS),
        )

    def format(self, family: Family) -> list[str]:
        return self._words("--")

    def describe(self, family: Family) -> str:
        return " ".join(self._words(""))

    def _words(self, dash: str) -> list[str]:
        words = inverted([f"{dash}match-set", *self.key.words()], self.inverted)
        words += [f"{dash}return-nomatch"] if self.return_nomatch else []
        words += [] if self.update_counters else ["!", f"{dash}update-counters"]
        words += [] if self.update_subcounters else ["!", f"{dash}update-subcounters"]
        for name, counter in (("packets", self.packets), ("bytes", self.bytes)):
            if counter is not None:
                option = f"{dash}{name}-{counter.sign}"
                words += inverted([option, str(counter.value)], counter.inverted)
        return words


@target("SET")
@dataclass(frozen=True, slots=True)
class Set(Target):
    """`maps` are what --map-set takes from the set: of `_MAPS`."""

    add: SetKey | None = None
    exist: bool = False
    timeout: int | None = None
    delete: SetKey | None = None
    map: SetKey | None = None
    maps: tuple[str, ...] = ()

    OPTIONS = (
        Option("--add-set", "name src|dst,...", "add an entry", values=2),
        Option("--del-set", "name src|dst,...", "delete an entry", values=2),
        Option("--map-set", "name src|dst,...", "take what the entry has", values=2),
        Option("--exist", "", "a new timeout for what is there", values=0),
        Option("--timeout", "seconds", "how long the entry stays"),
        *(Option(name, "", text, values=0) for name, text in _MAPS.items()),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        add, delete, mapped = (given.get(option.name) for option in cls.OPTIONS[:3])
        if not (add or delete or mapped):
            fail("SET: you must specify --add-set, --del-set or --map-set", given)
        timeout = given.get("--timeout")
        maps = tuple(name for name in _MAPS if name in given)
        if add is None and (timeout is not None or "--exist" in given):
            fail("SET: --exist and --timeout can be used with --add-set only", given)
        if (mapped is None) != (not maps):
            fail(f"SET: --map-set goes with some of {', '.join(_MAPS)}", given)
        if mapped is not None:
            need_table(given, context, "SET --map-set", "mangle")
        made = cls(
            _parse_key(add, "SET") if add else None,
            "--exist" in given,
            number(timeout, "SET", 0, U32 - 1) if timeout else None,
            _parse_key(delete, "SET") if delete else None,
            _parse_key(mapped, "SET") if mapped else None,
            maps,
        )
        if made.chains():
            need_chains(given, context, "SET --map-prio", *made.chains())
        return made

    def chains(self) -> tuple[str, ...]:
        if "--map-prio" in self.maps or "--map-queue" in self.maps:
            return "FORWARD", "OUTPUT", "POSTROUTING"
        return ()

    def format(self, family: Family) -> list[str]:
        words = ["--add-set", *self.add.words()] if self.add else []
        words += ["--exist"] if self.exist else []
        words += ["--timeout", str(self.timeout)] if self.timeout is not None else []
        words += ["--del-set", *self.delete.words()] if self.delete else []
        words += ["--map-set", *self.map.words()] if self.map else []
        return words + list(self.maps)

    def describe(self, family: Family) -> str:
        return " ".join(word.removeprefix("--") for word in self.format(family))


def _parse_key(use: Use, owner: str) -> SetKey:
    name, sides = (word.text for word in use.words)
    if len(name.encode("utf-8", "surrogateescape")) > _MAX_NAME_BYTES:
        fail(f"{owner}: setname `{name}' too long, max {_MAX_NAME_BYTES} characters.", use)
    if not is_plain(name):
        fail(f"{owner}: setname `{name}' has a blank or a quote, and could not be saved", use)
    dimensions = sides.split(",")
    if len(dimensions) > _MAX_DIMENSIONS:
        fail(f"{owner}: can't be more src/dst options than {_MAX_DIMENSIONS}.", use)
    if any(side[:3] not in ("src", "dst") for side in dimensions):
        fail(f"{owner}: `{sides}' is not a list of 'src' and 'dst' with commas between", use)
    return SetKey(name, tuple(side[:3] == "src" for side in dimensions))


def _parse_counter(given: Given, name: str) -> Counter | None:
    uses = [use for use in given.uses if use.option.name.startswith(f"--{name}-")]
    if len(uses) > 1:
        fail(f"set: only one of the --{name}-[eq|lt|gt] is allowed", uses[1])
    if not uses:
        return None
    sign = uses[0].option.name[-2:]
    return Counter(sign, number(uses[0], "set", 0, U64), uses[0].inverted)
