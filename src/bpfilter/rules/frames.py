"""Lines of rules cut into frames, and the values that stood in them.

    -A INPUT -s 10.0.0.1/32 -p tcp -m tcp --dport 22 -j user
    -A       -s #           -p tcp -m tcp --dport #  -j #     the frame

A ruleset has few frames, most of them many times over. Only values are cut out of which it
is known how iptables-save writes them; others stay, and make a frame of their own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

from bpfilter.rules.model import Family
from bpfilter.rules.shapes import Slot
from bpfilter.rules.values import U16

#: What stands for a value in a frame, where no line has control characters but tabs; the option
#: before it; and what it may be: a hole for one port is not that for two with a colon.
SOURCE, DESTINATION, SPORT, DPORT, SPORTS, DPORTS, COMMENT, JUMP, GOTO = "\1\2\3\4\5\6\7\x0e\x0f"
SLOTS = {
    SOURCE: Slot.SOURCE,
    DESTINATION: Slot.DESTINATION,
    SPORT: Slot.SPORTS,
    DPORT: Slot.DPORTS,
    SPORTS: Slot.SPORTS,
    DPORTS: Slot.DPORTS,
    COMMENT: Slot.COMMENT,
    JUMP: Slot.TARGET,
    GOTO: Slot.TARGET,
}
HOLE = re.compile(f"[{''.join(SLOTS)}]")

_CONTROL = re.compile("[\0-\x08\x0b-\x1f]")
_NAME, _LAST = r"[^ \t\n]+", r"[^ \t\n]+(?=\n)"
_ADDRESS = {Family.IPV4: "[0-9./]+", Family.IPV6: "[0-9A-Fa-f:./]+"}
_PORT, _PORTS = "[0-9]{1,5}", "[0-9]{1,5}:[0-9]{1,5}"
_COMMENT = r'''[\w-]+|"[^"'\\\n]+"'''
# Those without a backslash that `words.quote` writes the same; none could be an option.
_USUAL_COMMENT = r"""\w[\w-]{,200}|"(?![!-])[\w-]{,99}[^\w"'\\-][^"'\\]{,99}\""""

_OCTETS = {str(number): number for number in range(256)}
# What of an address is the host's, by the length of a prefix that is not empty.
_HOST_BITS4 = {str(length): (1 << 32 - length) - 1 for length in range(1, 33)} | {"": 0}
_HOST_BITS6 = {str(length): (1 << 128 - length) - 1 for length in range(1, 129)} | {"": 0}


class Frames:
    """Lines of one table cut up, each of them `-A CHAIN …`; with `ports` False, without ports.

    A jump to one of `targets` may be any other. All lists are in the order of the lines.
    """

    #: The frame of each line, and its chain.
    texts: list[str]
    chains: list[str]
    #: Of each hole, what stood there, as iptables-save writes it.
    values: dict[str, list[str]]
    #: Whether all values stood there so.
    as_written: bool
    #: Whether what looks like a hole is one: no line has control characters of its own.
    has_holes: bool

    def __init__(
        self, lines: list[str], family: Family, targets: Collection[str], *, ports: bool = True
    ) -> None:
        self.values = {}
        self.as_written = True
        self._text = "\n".join(["", *lines, ""])
        self.chains = self._cut("", "\n-A ", _NAME, str)
        self.has_holes = _CONTROL.search(self._text) is None
        if self.has_holes:
            self._cut(COMMENT, " --comment ", _COMMENT, _comment)
            address = _ipv4_address if family is Family.IPV4 else _ipv6_address
            self._cut(SOURCE, " -s ", _ADDRESS[family], address)
            self._cut(DESTINATION, " -d ", _ADDRESS[family], address)
            if ports:
                self._cut(SPORT, " --sport ", _PORT, _port)
                self._cut(DPORT, " --dport ", _PORT, _port)
                self._cut(SPORTS, " --sport ", _PORTS, _ports)
                self._cut(DPORTS, " --dport ", _PORTS, _ports)
            if targets:
                known = {name: name for name in targets}
                self._cut(JUMP, " -j ", _LAST, known.get)
                self._cut(GOTO, " -g ", _LAST, known.get)
        self.texts = self._text.split("\n")[1:-1]

    # Puts a hole for each value that `write` does not give None for; gives those.
    def _cut(
        self, hole: str, option: str, form: str, write: Callable[[str], str | None]
    ) -> list[str]:
        if option not in self._text:
            return []
        parts = re.split(f"{option}({form})(?![^ \\n])", self._text, flags=re.ASCII)
        values = parts[1::2]
        written = {value: write(value) for value in set(values)}
        if None in written.values():
            parts[1::2] = [
                option + (value if written[value] is None else hole) for value in values
            ]
            self._text = "".join(parts)
        else:
            self._text = (option + hole).join(parts[::2])
        if any(value != text for value, text in written.items() if text is not None):
            self.as_written = False
        kept = [text for text in map(written.__getitem__, values) if text is not None]
        self.values[hole] = kept
        return kept


# Not 0.0.0.0/0 and its like, of which some are not written at all.
def _ipv4_address(value: str) -> str | None:
    host, _, length = value.partition("/")
    try:
        a, b, c, d = host.split(".")
        number = _OCTETS[a] << 24 | _OCTETS[b] << 16 | _OCTETS[c] << 8 | _OCTETS[d]
        if number & _HOST_BITS4[length]:
            return None
    except (KeyError, ValueError):
        return None
    return value if length else f"{host}/32"


def _ipv6_address(value: str) -> str | None:
    from socket import AF_INET6, inet_ntop, inet_pton  # takes 3 ms, so not for IPv4

    host, _, length = value.partition("/")
    try:
        packed = inet_pton(AF_INET6, host)
        if int.from_bytes(packed, "big") & _HOST_BITS6[length]:
            return None
    except (KeyError, ValueError, OSError):
        return None
    return f"{inet_ntop(AF_INET6, packed)}/{length or 128}"


def _port(value: str) -> str | None:
    return value if value == str(int(value)) and int(value) <= U16 else None


def _ports(value: str) -> str | None:
    low, _, high = value.partition(":")
    usual = _port(low) and _port(high) and int(low) < int(high) and value != f"0:{U16}"
    return value if usual else None


def _comment(value: str) -> str | None:
    return value if re.fullmatch(_USUAL_COMMENT, value, re.ASCII) else None
