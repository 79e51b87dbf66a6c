"""What several commands share: reading a ruleset, choosing family and namespace."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO, TypeVar

from bpfilter.cli.usage import seconds
from bpfilter.errors import Error, RuleSyntaxError, SourceError
from bpfilter.rules.model import Family, Ruleset
from bpfilter.source import LARGEST_BYTES

if TYPE_CHECKING:
    import argparse

    from bpfilter.firewall.given import GivenText
    from bpfilter.firewall.live import Firewall

T = TypeVar("T")

_ADDRESS = rb"(?m)^(?:\[[0-9:]+\] )?-A [^ ]+ (?:! )?-[sd] ([0-9.]+[/ ]|[0-9a-f]*:[0-9a-f:.]*[/ ])"

FAMILIES = [Family.IPV4, Family.IPV6]


class FileError(Error):
    """A file named on the command line cannot be read."""

    exit_code = 2


def is_terminal(stream: TextIO | None) -> bool:
    """Tell whether colours and progress are wanted there (see no-color.org)."""
    if stream is None or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def name_on(stream: TextIO | None) -> str:
    """Give our name as messages begin with it."""
    return styled("bpfilter", "1;31", stream)


def styled(text: str, style: str, stream: TextIO | None) -> str:
    """Give text as it is shown there; `style` is the parameters of SGR (ECMA-48, 8.3.117)."""
    return f"\x1b[{style}m{text}\x1b[0m" if is_terminal(stream) else text


def add_family(parser: argparse.ArgumentParser, purpose: str) -> None:
    """Add -4 and -6; `args.family` is a Family or None."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "-4",
        "--ipv4",
        dest="family",
        action="store_const",
        const=Family.IPV4,
        help=f"{purpose} IPv4",
    )
    which.add_argument(
        "-6",
        "--ipv6",
        dest="family",
        action="store_const",
        const=Family.IPV6,
        help=f"{purpose} IPv6",
    )


def family_name(family: Family) -> str:
    return "IPv4" if family is Family.IPV4 else "IPv6"


def count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def tell_delegated(firewall: Firewall, family: Family, instead: str) -> bool:
    """Say what does it `instead` of us if the kernel has the filter table; gives whether."""
    delegated = firewall.delegated(family)
    if delegated is None:
        return False
    tool = f"{family.command}-{delegated.tool}"
    print(
        f"bpfilter: the filter table of {family_name(family)} is {tool}'s, because "
        f"{delegated.reason}; {instead.format(tool=tool)}",
        file=sys.stderr,
    )
    return True


def add_netns(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--netns",
        metavar="NAME",
        help="a network namespace by name (as 'ip netns') or path; default: the one we are in",
    )


def add_wait(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-w",
        "--wait",
        type=seconds,
        default=10.0,
        metavar="SECONDS",
        help="how long to wait for another writer (default: 10)",
    )


def read_ruleset(path: str, family: Family | None) -> Ruleset:
    """Read a save file, `-` for standard input; find out its family unless it is given.

    Raises: FileError, SourceError.
    """
    from bpfilter.rules.saved import parse_saved

    return _in_family(path, family, parse_saved)


def read_given(path: str, family: Family | None) -> GivenText:
    """Read a save file as `read_ruleset`, to be put in force; rules of a large one are not read
    until it turns out that they have to be.

    Raises: FileError, SourceError.
    """
    from bpfilter.firewall.given import GivenText

    def read(data: bytes, name: str, family: Family) -> GivenText:
        given = GivenText(data, name, family)
        if not given.is_large:
            _ = given.readable  # for what it raises
        return given

    return _in_family(path, family, read)


def _in_family(path: str, family: Family | None, read: Callable[[bytes, str, Family], T]) -> T:
    name = "<stdin>" if path == "-" else path
    data = read_input(path)
    family = family or guess_family(name, data)
    if family is not None:
        return read(data, name, family)
    try:
        return read(data, name, Family.IPV4)
    except RuleSyntaxError:
        raise
    except SourceError as error:
        # Addresses or words of the other family? Only then is the first error not the one.
        try:
            return read(data, name, Family.IPV6)
        except SourceError:
            raise error from None


def read_input(path: str) -> bytes:
    """Read a file, `-` for standard input. Raises: FileError."""
    try:
        if path != "-":
            with open(path, "rb") as file:
                data = file.read(LARGEST_BYTES + 1)
        elif sys.stdin is None:
            raise FileError("standard input is closed")
        else:
            data = sys.stdin.buffer.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise FileError(f"{path}: {error.strerror}") from error
    if len(data) > LARGEST_BYTES:
        raise FileError(f"{path}: is larger than {LARGEST_BYTES >> 20} MB")
    return data


def guess_family(name: str, data: bytes) -> Family | None:
    """Tell the family by the first comment iptables-save writes, by a name like rules.v6, or by
    an address that starts a rule."""
    head = data[:200].split(b"\n", 1)[0]
    if head.startswith(b"#"):
        if b"ip6tables" in head:
            return Family.IPV6
        if b"iptables-save" in head:
            return Family.IPV4
    if name.endswith((".v6", "ip6tables")):
        return Family.IPV6
    if name.endswith((".v4", "iptables")):
        return Family.IPV4
    found = re.search(_ADDRESS, data)
    if found is not None:
        return Family.IPV6 if b":" in found[1] else Family.IPV4
    return None
