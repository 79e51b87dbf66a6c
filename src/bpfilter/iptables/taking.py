"""Rules of the kernel's own tools put in force as ours, whatever others do meanwhile.

The tools of nf_tables take no lock, so a change that one of them makes meanwhile is looked
for, and taken over as well; and what is cleared is cleared only if nothing has changed since.
"""

from __future__ import annotations

from bpfilter.errors import BusyError, Error
from bpfilter.firewall.live import Firewall
from bpfilter.iptables.found import plain
from bpfilter.iptables.home import TABLE, counted, empty
from bpfilter.iptables.kernel_tool import KernelTool
from bpfilter.kernel.api import Kernel
from bpfilter.rules.model import Family

#: How often rules are read again that others keep changing.
TRIES = 5
#: How often the same for changes of other tables.
_OTHER_CHANGES = 50
_NOTHING = "nothing was taken over"


def take(firewall: Firewall, family: Family, tool: KernelTool, text: bytes) -> None:
    """Put the rules of a tool in force, which were read as `text`, and clear them there.

    It is said to have them (firewall/delegated.py) until they are ours. Raises: any Error;
    BusyError if somebody keeps changing them.
    """
    source = f"{family.command}-{tool.kind}"
    for _ in range(TRIES):
        old = _Old(firewall.kernel, tool, family, text)
        try:
            firewall.take_back(family, text, source, old.clear, old.read_again)
        except _Changed as changed:
            text = changed.text
        else:
            return
    raise BusyError(f"somebody keeps changing the rules of {source}; {_NOTHING}")


class _Changed(Error):
    """The rules are not what they were when they were read."""

    def __init__(self, text: bytes) -> None:
        super().__init__("the rules have changed meanwhile")
        self.text = text


class _Old:
    """The kernel's table as it was read; what was changed since is not thrown away."""

    def __init__(self, kernel: Kernel, tool: KernelTool, family: Family, text: bytes) -> None:
        self.kernel = kernel
        self.tool = tool
        self.family = family
        self.text = text
        self.generation = 0

    def read_again(self) -> bytes:
        """Raises: _Changed."""
        if self.tool.kind == "nft":
            self.generation = self.kernel.nft_generation()
        now = counted(self.tool, self.family)
        if plain(now) != plain(self.text):
            raise _Changed(now)
        return now

    def clear(self) -> None:
        """Clear it if it is as it was when it was read again. Raises: _Changed, BusyError."""
        if self.tool.kind != "nft":  # which has no lock
            empty(self.tool, self.family)
            return
        for _ in range(_OTHER_CHANGES):
            if self.kernel.delete_nft_table(self.family, TABLE, self.generation):
                return
            self.read_again()
        raise BusyError(f"somebody keeps changing nf_tables; {_NOTHING}")
