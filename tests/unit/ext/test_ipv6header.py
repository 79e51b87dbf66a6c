"""`-m ipv6header` (ipv6header_mt6)."""

from __future__ import annotations

import pytest

from tests.unit.ext.support import V6, Outcome, decide

HOP, DST, PROTO = 0x80, 0x40, 0x01


@pytest.mark.parametrize(
    ("words", "found", "matches"),
    [
        ("--header hop,prot", HOP | PROTO, True),
        ("--header hop,prot", HOP | DST | PROTO, False),
        ("--header hop,prot", HOP, False),
        ("! --header hop,prot", HOP | PROTO, False),
        ("! --header hop,prot", HOP, True),
        ("--header hop,dst --soft", HOP | DST | PROTO, True),
        ("--header hop,dst --soft", HOP | PROTO, False),
        # Inverted and soft: none of them may be there.
        ("! --header hop,dst --soft", PROTO, True),
        ("! --header hop,dst --soft", HOP | PROTO, False),
    ],
)
def test_predicate(words: str, found: int, matches: bool) -> None:
    readable = {"ipv6_headers": found, "ipv6_headers_ok": 1}
    decided = decide(f"-m ipv6header {words}", readable, V6)
    assert decided is (Outcome.MATCH if matches else Outcome.MISS)
    unreadable = {"ipv6_headers": found}
    assert decide(f"-m ipv6header {words}", unreadable, V6) is Outcome.MISS
