"""What several commands share: reading a ruleset, choosing family and namespace."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bpfilter.errors import Error, RuleSyntaxError, SourceError
from bpfilter.rules.model import Family, Ruleset

FAMILIES = (Family.IPV4, Family.IPV6)


class FileError(Error):
    """A file named on the command line cannot be read."""

    exit_code = 2


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
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="how long to wait for another writer (default: 10)",
    )


def read_ruleset(path: str, family: Family | None) -> Ruleset:
    """Read a save file, `-` for standard input; find out its family unless it is given.

    Raises: FileError, SourceError.
    """
    from bpfilter.rules.saved import parse_saved

    name = "<stdin>" if path == "-" else path
    try:
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise FileError(f"{path}: {error.strerror}") from error
    if family is not None:
        return parse_saved(data, name, family)
    guess = guess_family(name, data)
    if guess is not None:
        return parse_saved(data, name, guess)
    try:
        return parse_saved(data, name, Family.IPV4)
    except RuleSyntaxError:
        raise
    except SourceError as error:
        # Addresses or words of the other family? Only then is the first error not the one.
        try:
            return parse_saved(data, name, Family.IPV6)
        except SourceError:
            raise error from None


def guess_family(name: str, data: bytes) -> Family | None:
    """Tell the family by the first comment iptables-save writes, or by a name like rules.v6."""
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
    return None
