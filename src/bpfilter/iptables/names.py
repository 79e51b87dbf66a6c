"""Names of hosts in `-s` and `-d`, looked up as iptables does: each address makes a rule."""

from __future__ import annotations

from collections.abc import Iterator

from bpfilter.errors import RuleError
from bpfilter.rules.address import parse_host, parse_mask
from bpfilter.rules.draft import Draft
from bpfilter.rules.model import Family
from bpfilter.rules.registry import Word


def look_up(draft: Draft) -> None:
    """Put the addresses of names in their place.

    Raises: RuleError for a name that has none, and for a bad mask.
    """
    for letter in "sd":
        if letter in draft.values:
            word, inverted = draft.values[letter]
            parts = [
                found
                for part in word.text.split(",")
                for found in _addresses(part.lstrip(), word, draft.family)
            ]
            draft.values[letter] = Word(",".join(parts), word.span), inverted


def _addresses(part: str, word: Word, family: Family) -> Iterator[str]:
    host, slash, mask = part.rpartition("/")
    if not slash:
        host, mask = part, ""
    if parse_host(host, family) is not None or (slash and not any(parse_mask(mask, word, family))):
        yield part
        return
    import socket

    kind = socket.AF_INET if family is Family.IPV4 else socket.AF_INET6
    try:
        found = socket.getaddrinfo(host, None, kind, socket.SOCK_RAW) if host else []
    except (OSError, UnicodeError):
        found = []
    if not found:
        raise RuleError(f"host/network `{host}' not found", word.span)
    for address in dict.fromkeys(str(each[4][0]) for each in found):
        yield address + slash + mask
