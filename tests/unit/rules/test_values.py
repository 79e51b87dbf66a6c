"""Numbers, ranges, marks, ports and MAC addresses as words."""

from __future__ import annotations

import pytest

from bpfilter.errors import RuleError
from bpfilter.rules import values
from bpfilter.rules.registry import Option, Use, Word


def use(text: str) -> Use:
    return Use(Option("--opt"), (Word(text),))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0), ("7", 7), ("0x1F", 31), ("017", 15), ("+5", 5), (" 5", 5),
        ("4294967295", values.U32), ("4294967296", None), ("-1", None), ("", None), ("5x", None),
        ("0x", None), ("08", None),
        ("5 ", None), ("٣", None), ("²", None), ("9" * 5000, None),
    ],
)  # fmt: skip
def test_to_number(text: str, number: int | None) -> None:
    assert values.to_number(text) == number


def test_scan_number_gives_the_rest() -> None:
    assert values.scan_number("12-15") == (12, "-15")
    assert values.scan_number("0x1g") == (1, "g")
    assert values.scan_number("x") is None


def test_number_outside_its_limits() -> None:
    assert values.number(use("255"), "ttl", 0, 255) == 255
    with pytest.raises(RuleError, match=r'ttl: bad value for option "--opt".*\(0-255\)'):
        values.number(use("256"), "ttl", 0, 255)


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("5", (5, 5)),
        ("5:9", (5, 9)),
        (":9", (0, 9)),
        ("5:", (5, 99)),
        (":", (0, 99)),
    ],
)
def test_number_range(text: str, bounds: tuple[int, int]) -> None:
    assert values.number_range(use(text), "x", 99) == bounds


@pytest.mark.parametrize("text", ["1:2:3", "a", "1:b", "100", "-1:5", "9:5"])
def test_bad_number_range(text: str) -> None:
    with pytest.raises(RuleError):
        values.number_range(use(text), "x", 99)


@pytest.mark.parametrize(
    ("text", "mark"),
    [("1", (1, values.U32)), ("0x10/0xff", (16, 255)), ("0/0", (0, 0))],
)
def test_mark_mask(text: str, mark: tuple[int, int]) -> None:
    assert values.mark_mask(use(text), "mark") == mark


@pytest.mark.parametrize("text", ["", "x", "1/", "1/x", "4294967296", "1/2/3"])
def test_bad_mark_mask(text: str) -> None:
    with pytest.raises(RuleError, match="bad integer value"):
        values.mark_mask(use(text), "mark")


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("22", (22, 22)), ("ssh", (22, 22)), ("http:https", (80, 443)), (":", (0, 65535)),
        ("1024:", (1024, 65535)), (":99", (0, 99)), ("0x16", (22, 22)),
    ],
)  # fmt: skip
def test_port_range(text: str, ports: tuple[int, int]) -> None:
    assert values.port_range(use(text), "tcp") == ports


@pytest.mark.parametrize("text", ["", "65536", "tftp", "nosuch", "9:5", "1:2:3", "-1"])
def test_bad_port_range(text: str) -> None:
    with pytest.raises(RuleError):
        values.port_range(use(text), "tcp")


def test_mac_address() -> None:
    assert values.mac_address(use("0:1:aB:ff:10:7")) == bytes.fromhex("0001abff1007")
    assert values.format_mac(bytes.fromhex("0001abff1007")) == "00:01:ab:ff:10:07"
    for bad in ("0:1:2:3:4", "0:1:2:3:4:5:6", "0:1:2:3:4:100", "0:1:2:3:4:g", "0:1:2:3:4:"):
        with pytest.raises(RuleError, match="Invalid MAC"):
            values.mac_address(use(bad))
