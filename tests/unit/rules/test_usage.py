"""The help of extensions: every option has its text, and lines fit a terminal."""

from __future__ import annotations

from typing import Any

import pytest

from bpfilter import ext
from bpfilter.ext.ct import Notrack
from bpfilter.ext.eui64 import Eui64
from bpfilter.ext.rateest import MatchRateest
from bpfilter.ext.tcp import Tcp
from bpfilter.rules.registry import REGISTRY
from bpfilter.rules.usage import extension_help

ext.load_all()
CLASSES = sorted(
    {*REGISTRY.matches.values(), *REGISTRY.targets.values()}, key=lambda cls: cls.__qualname__
)

TCP = """\
tcp match options:
[!] --source-port, --sport port[:port]
                                source port or range
[!] --destination-port, --dport port[:port]
                                destination port or range
[!] --syn                       SYN alone of SYN, RST, ACK, FIN is set
[!] --tcp-flags mask flags      of the flags in mask, just these are set
[!] --tcp-option number         an option that the header has
"""


def test_tcp() -> None:
    assert extension_help(Tcp) == TCP


def test_without_options() -> None:
    assert extension_help(Notrack) == "NOTRACK target has no options.\n"
    assert extension_help(Eui64) == "eui64 match has no options.\n"


def test_a_value_that_may_be_left_out() -> None:
    assert "    --rateest-bps1 [rate]       bytes in a second\n" in extension_help(MatchRateest)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: str(cls.__qualname__))
def test_every_option_has_a_text(cls: Any) -> None:
    for option in cls.OPTIONS:
        assert option.help, option.name
        assert bool(option.metavar) is (option.values > 0), option.name


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: str(cls.__qualname__))
def test_lines_fit(cls: Any) -> None:
    text = extension_help(cls)
    assert text.endswith("\n")
    assert all(len(line) <= 79 and line == line.rstrip() for line in text.splitlines())
    for option in cls.OPTIONS:
        for name in (option.name, *option.aliases):
            assert name in text
