"""What this machine calls the numbers of a rule, as the C library tells `iptables -L`.

That asks for host names and networks (getnameinfo, then getnetbyaddr), services, users and
groups. Names of protocols are Debian's (`rules/netdb.py`), as where they are read.
"""

from __future__ import annotations

from functools import cache

from bpfilter.rules import netdb
from bpfilter.rules.address import format_host
from bpfilter.rules.names import Names

NETWORKS = "/etc/networks"


class MachineNames(Names):
    """Names as this machine has them; each is looked up once in a process."""

    numeric = False
    any_interface = "any"

    def host(self, value: bytes) -> str:
        return _host_name(value)

    def service(self, port: int, protocol: str) -> str:
        return _service_name(port, protocol)

    def protocol(self, number: int) -> str:
        return netdb.protocol_name(number) or str(number)

    def user(self, number: int) -> str:
        return _user_name(number)

    def group(self, number: int) -> str:
        return _group_name(number)


# getnameinfo gives the number itself where there is no name, and fails where name servers do
# not answer: iptables then asks for a network of that number.
@cache
def _host_name(value: bytes) -> str:
    import socket

    number = format_host(value)
    try:
        return socket.getnameinfo((number, 0), socket.NI_NUMERICSERV)[0]
    except OSError:
        return _networks().get(value, number)


@cache
def _service_name(port: int, protocol: str) -> str:
    import socket

    try:
        return socket.getservbyport(port, protocol)
    except OSError:
        return str(port)


@cache
def _user_name(number: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


@cache
def _group_name(number: int) -> str:
    import grp

    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


# `NAME NUMBER [ALIAS…]` (networks(5)); bytes of the number that are left out are 0.
@cache
def _networks() -> dict[bytes, str]:
    found: dict[bytes, str] = {}
    try:
        with open(NETWORKS, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.readlines()
    except OSError:
        return found
    for line in lines:
        words = line.partition("#")[0].split()
        parts = words[1].split(".") if len(words) > 1 else []
        if 1 <= len(parts) <= 4 and all(part.isdecimal() and int(part) < 256 for part in parts):
            found.setdefault(bytes(map(int, parts)).ljust(4, b"\0"), words[0])
    return found


def forget() -> None:
    """Look everything up anew."""
    for look_up in (_host_name, _service_name, _user_name, _group_name, _networks):
        look_up.cache_clear()
