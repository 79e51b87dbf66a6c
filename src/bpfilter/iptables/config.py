"""/etc/bpfilter.conf: what belongs to the kernel's own iptables, and what happens at boot.

    # NAME = VALUE, a line each
    kernel-tool = auto           auto, nft, legacy, none
    unenforceable = delegate     delegate, refuse
    boot-failure = open          open, closed

A file that is not there says nothing; each setting then is the first one named.
"""

from __future__ import annotations

import os

from bpfilter.dataclass import dataclass
from bpfilter.errors import ConfigError

PATH = "/etc/bpfilter.conf"
#: Names another file, for tests and for trying things out.
VARIABLE = "BPFILTER_CONF"

_VALUES = {
    "kernel-tool": ("auto", "nft", "legacy", "none"),
    "unenforceable": ("delegate", "refuse"),
    "boot-failure": ("open", "closed"),
}


@dataclass(frozen=True, slots=True)
class Config:
    """`kernel_tool` is what the tables go to that are not eBPF, `auto`: nft, else legacy.

    `unenforceable` is what a filter table with a rule that eBPF cannot enforce does: go to
    the kernel's own iptables as a whole, or refuse the rule. `boot_failure` is whether packets
    pass if saved rules cannot be put in force.
    """

    kernel_tool: str = "auto"
    unenforceable: str = "delegate"
    boot_failure: str = "open"


def read_config() -> Config:
    """Read the file. Raises: ConfigError naming its line."""
    path = os.environ.get(VARIABLE) or PATH
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return Config()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        setting = line.partition("#")[0].strip()
        if setting:
            name, value = _setting(setting, f"{path}:{number}")
            found[name.replace("-", "_")] = value
    return Config(**found)


def _setting(text: str, place: str) -> tuple[str, str]:
    name, equals, value = (part.strip() for part in text.partition("="))
    if not equals:
        raise ConfigError(f"{place}: `{text}' is no setting; write NAME = VALUE")
    allowed = _VALUES.get(name)
    if allowed is None:
        raise ConfigError(f"{place}: there is no setting `{name}'; there are {', '.join(_VALUES)}")
    if value not in allowed:
        raise ConfigError(
            f"{place}: {name} cannot be `{value}'; it is one of {', '.join(allowed)}"
        )
    return name, value
