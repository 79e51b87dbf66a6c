"""Options as iptables' getopt_long(3) resolves them: exact names first, then unambiguous starts.

Options of extensions come into force when `-m` or `-j` names one, the newest first;
iptables' own options go before them all (xtables_options_xfrm, libxtables/xtoptions.c).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from bpfilter.rules.registry import Option

#: Short options: 0 no value, 1 a value, 2 a value only when joined (IPT_OPTSTRING).
SHORT: dict[str, int] = {
    **dict.fromkeys("ACDEIMNPRcdijopstgm", 1),
    **dict.fromkeys("FLSXZWhw", 2),
    **dict.fromkeys("46bfnvxV", 0),
}

#: Long options and the letter each stands for (original_opts, iptables/iptables.c).
LONG: dict[str, str] = {
    "--append": "A",
    "--delete": "D",
    "--check": "C",
    "--insert": "I",
    "--replace": "R",
    "--list": "L",
    "--list-rules": "S",
    "--flush": "F",
    "--zero": "Z",
    "--new-chain": "N",
    "--delete-chain": "X",
    "--rename-chain": "E",
    "--policy": "P",
    "--source": "s",
    "--destination": "d",
    "--src": "s",
    "--dst": "d",
    "--protocol": "p",
    "--in-interface": "i",
    "--jump": "j",
    "--table": "t",
    "--match": "m",
    "--numeric": "n",
    "--out-interface": "o",
    "--verbose": "v",
    "--wait": "w",
    "--wait-interval": "W",
    "--exact": "x",
    "--fragments": "f",
    "--version": "V",
    "--help": "h",
    "--line-numbers": "0",
    "--modprobe": "M",
    "--set-counters": "c",
    "--goto": "g",
    "--ipv4": "4",
    "--ipv6": "6",
}


#: What 1.8.11 calls an option in its messages (opt2name, iptables/xshared.c).
NAMES: dict[str, str] = {
    "n": "--numeric",
    "s": "--source",
    "d": "--destination",
    "p": "--protocol",
    "j": "--jump",
    "v": "--verbose",
    "x": "--exact",
    "i": "--in-interface",
    "o": "--out-interface",
    "0": "--line-numbers",
    "c": "--set-counters",
    "f": "--fragments",
}


def find_option(name: str, extensions: Sequence[Any]) -> str | tuple[Any, Option] | None:
    """Resolve a long option name, dashes included.

    `extensions` are the classes in force, oldest first. Gives one of iptables' own
    letters, or an extension's class and option; None if nothing has the name, or
    several options start with it.
    """
    letter = LONG.get(name)
    if letter is not None:
        return letter
    for cls in reversed(extensions):
        option = _names(cls).get(name)
        if option is not None:
            return cls, option
    return _find_start(name, extensions)


def _find_start(name: str, extensions: Sequence[Any]) -> str | tuple[Any, Option] | None:
    found: dict[object, str | tuple[Any, Option]] = {
        letter: letter for long, letter in LONG.items() if long.startswith(name)
    }
    for cls in extensions:
        for full, option in _names(cls).items():
            if full.startswith(name):
                found[cls, option.name] = cls, option
    return next(iter(found.values())) if len(found) == 1 else None


@cache
def _names(cls: Any) -> dict[str, Option]:
    names: dict[str, Option] = {}
    for option in cls.OPTIONS:
        for name in (option.name, *option.aliases):
            names[name] = option
    return names
