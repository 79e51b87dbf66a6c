"""The iptables-legacy that is installed, as a judge of what is printed.

We print what 1.8.11 does. What Debian 12's 1.8.9 prints is renewed in the two places in
which they differ throughout: names of protocols.
"""

from __future__ import annotations

import re
import shutil
import subprocess

from bpfilter.rules import netdb


def version() -> str:
    """Give `1.8.9` or so; nothing where none is installed."""
    if shutil.which("iptables-legacy") is None:
        return ""
    told = subprocess.check_output(["iptables-legacy", "--version"], text=True)
    return told.split()[1].removeprefix("v")


IS_OLD = version() == "1.8.9"

_COLUMN = re.compile(r"(?m)^(.*?[ !])([0-9]+) *(?= (?:--|-f|!f) )")
_OPTION = re.compile(r"(?m)^((?:\[[0-9:]+\] )?-A .*? -p )([a-z0-9.-]+)(?= |$)")


def renewed(text: str) -> str:
    """Give what 1.8.11 prints: -p with few names, and listings with these, even with `-n`."""
    if not IS_OLD:
        return text
    return _OPTION.sub(_option, _COLUMN.sub(_column, text))


def _column(found: re.Match[str]) -> str:
    number = int(found[2])
    return f"{found[1]}{netdb.CHAIN_NAMES.get(number, str(number)):<4s}"


def _option(found: re.Match[str]) -> str:
    number = netdb.protocol_number(found[2])
    known = found[2] if number is None else netdb.CHAIN_NAMES.get(number, str(number))
    return f"{found[1]}{known}"
