"""`-m owner`: who owns the socket that sent a local packet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._values import fail
from bpfilter.plan import fields
from bpfilter.plan.nodes import (
    FALSE,
    TRUE,
    All,
    Any,
    Contains,
    Not,
    Predicate,
    Test,
    equals,
    inverted_if,
)
from bpfilter.rules.model import Family, Match, Rule
from bpfilter.rules.names import NUMBERS, Names
from bpfilter.rules.registry import Context, Given, Option, Use, match
from bpfilter.rules.values import U32, inverted, need_chains, scan_number

# Names whose numbers are the same everywhere; iptables would look any other up.
_USERS = {"root": 0, "nobody": 65534}
_GROUPS = {"root": 0}
_CHAINS = ("OUTPUT", "POSTROUTING")


@dataclass(frozen=True, slots=True)
class Ids:
    """Numeric user or group ids, inclusive."""

    low: int
    high: int
    inverted: bool = False

    def __str__(self) -> str:
        return str(self.low) if self.low == self.high else f"{self.low}-{self.high}"


@match("owner")
@dataclass(frozen=True, slots=True)
class Owner(Match):
    """`socket` is True for --socket-exists, False for `! --socket-exists`, None without it."""

    socket: bool | None = None
    user: Ids | None = None
    group: Ids | None = None
    supplementary: bool = False

    OPTIONS = (
        Option(
            "--uid-owner", "user[-user]", "the user of the socket, or a range", invertible=True
        ),
        Option(
            "--gid-owner", "group[-group]", "the group of the socket, or a range", invertible=True
        ),
        Option("--socket-exists", "", "the packet has a socket", values=0, invertible=True),
        Option("--suppl-groups", "", "--gid-owner looks at all groups of the user", values=0),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        if not given.uses:
            fail("owner: --uid-owner, --gid-owner or --socket-exists is required", given)
        need_chains(given, context, "owner", *_CHAINS)
        names = [*(use.option.name for use in given.uses), "--gid-owner"]
        if "--suppl-groups" in names[: names.index("--gid-owner")]:
            fail("owner: you need to use --gid-owner before --suppl-groups", given)
        exists = given.get("--socket-exists")
        user, group = given.get("--uid-owner"), given.get("--gid-owner")
        return cls(
            None if exists is None else not exists.inverted,
            _parse_ids(user, _USERS) if user else None,
            _parse_ids(group, _GROUPS) if group else None,
            "--suppl-groups" in given,
        )

    def asks_users(self) -> bool:
        return self.user is not None or self.group is not None

    def chains(self) -> tuple[str, ...]:
        return _CHAINS

    def format(self, family: Family) -> list[str]:
        return self._words("--socket-exists", "--uid-owner", "--gid-owner", "--suppl-groups")

    def describe_named(self, family: Family, names: Names, rule: Rule) -> str:
        return " ".join(
            self._words(
                "owner socket exists",
                "owner UID match",
                "owner GID match",
                "incl. suppl. groups",
                names,
            )
        )

    def _words(
        self, exists: str, user: str, group: str, supplementary: str, names: Names = NUMBERS
    ) -> list[str]:
        words: list[str] = []
        if self.socket is not None:
            words += inverted([exists], not self.socket)
        for name, ids, look_up in (
            (user, self.user, names.user),
            (group, self.group, names.group),
        ):
            if ids is not None:
                text = look_up(ids.low) if ids.low == ids.high else str(ids)
                words += inverted([name, text], ids.inverted)
        return words + ([supplementary] if self.supplementary else [])

    # owner_mt (net/netfilter/xt_owner.c): without a socket, and without a file of it, the rule
    # matches if all that is asked of what is missing is asked inverted. --suppl-groups counts
    # as asked of the socket, and cannot be inverted.
    def predicate(self, family: Family, rule: Rule) -> Predicate:
        asked = [ids for ids in (self.user, self.group) if ids is not None]
        all_inverted = all(ids.inverted for ids in asked)
        without_file = TRUE if all_inverted else FALSE
        asked_of_socket = self.socket or self.supplementary
        without_socket = TRUE if all_inverted and not asked_of_socket else FALSE
        with_socket: Predicate = FALSE
        if self.socket is not False:
            has_file = equals(fields.OWNER_FILE, 1)
            with_socket = Any(
                (All((has_file, *self._tests())), All((Not(has_file), without_file)))
            )
        has_socket = equals(fields.OWNER_SOCKET, 1)
        return Any((All((has_socket, with_socket)), All((Not(has_socket), without_socket))))

    def _tests(self) -> Iterator[Predicate]:
        if self.user is not None:
            same: Predicate = Test(fields.OWNER_UID, self.user.low, self.user.high)
            yield inverted_if(self.user.inverted, same)
        if self.group is not None:
            same = Test(fields.OWNER_GID, self.group.low, self.group.high)
            if self.supplementary:
                listed = Contains(fields.OWNER_GROUPS, self.group.low, self.group.high)
                same = Any((same, listed))
            yield inverted_if(self.group.inverted, same)


# A static name, or a number, or two with `-` or `:` between.
def _parse_ids(use: Use, names: Mapping[str, int]) -> Ids:
    if use.value in names:
        return Ids(names[use.value], names[use.value], use.inverted)
    first = scan_number(use.value)
    last = first
    if first is not None and first[1][:1] in ("-", ":"):
        last = scan_number(first[1][1:])
    if first is None or last is None or last[1] or not first[0] <= last[0] < U32:
        fail(
            f'owner: bad value for {use.option.name}: "{use.value}"',
            use,
            "users and groups of this machine are not looked up; write the number",
        )
    return Ids(first[0], last[0], use.inverted)
