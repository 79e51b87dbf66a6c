"""What the numbers of a rule are called where it is listed.

`iptables -L` looks names up, which is for others (`firewall/names.py`); with `-n` it does not.
"""

from __future__ import annotations

from bpfilter.rules import netdb
from bpfilter.rules.address import format_host, format_listed


class Names:
    """Numbers as they are, as with `-n`."""

    #: Whether texts are those of `-n`, where these differ in more than in names.
    numeric = True
    any_interface = "*"

    def host(self, value: bytes) -> str:
        """Give an address without a mask."""
        return format_host(value)

    def address(self, value: bytes, mask: bytes) -> str:
        """Give `ADDRESS[/MASK]`."""
        numbers = format_listed(value, mask)
        return numbers if self.numeric else self.host(value) + numbers[len(format_host(value)) :]

    def service(self, port: int, protocol: str) -> str:  # noqa: ARG002 - numbers have no names
        """Give a port of a protocol, which is named."""
        return str(port)

    def protocol(self, number: int) -> str:
        """Give what stands in the column `prot`."""
        return netdb.CHAIN_NAMES.get(number) or str(number)

    def user(self, number: int) -> str:
        return str(number)

    def group(self, number: int) -> str:
        return str(number)

    def ports(self, low: int, high: int, protocol: str) -> str:
        """Give `PORT` or `LOW:HIGH`."""
        first = self.service(low, protocol)
        return first if low == high else f"{first}:{self.service(high, protocol)}"


NUMBERS = Names()
