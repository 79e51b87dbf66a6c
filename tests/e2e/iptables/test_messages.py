"""What is said of commands, right and wrong ones: exit status, output, first line of messages.

They are done one after the other on the same table, in both families' words.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.harness.iptables_commands import Commands, Said

pytestmark = pytest.mark.e2e

LINES = (Path(__file__).parents[2] / "data" / "iptables" / "commands.txt").read_text().splitlines()
#: Where we say another thing: extensions of iptables word these themselves, here the reader does.
OTHERWISE = (
    "-A INPUT -p tcp -m tcp --syn --tcp-flags SYN SYN",
    "-A INPUT -p tcp --dport 1 --dport 2",
    "-N -- -x",  # a chain's name is looked at when the whole line has been read
)
#: For ip6tables.
ADDRESSES = {
    "1.2.3.4/40": "2001:db8::1/400",
    "1.2.3.4": "2001:db8::1",
    "1.1.1.1": "2001:db8::2",
    "2.2.2.2": "2001:db8::3",
}


# Ours may go on with a hint behind what theirs says.
def differs(ours: Said, theirs: Said) -> bool:
    first, judged = (said.messages.split("\n")[0] for said in (ours, theirs))
    judged = judged.replace("(legacy)", "(bpf)")
    said = first == judged or first.startswith((f"{judged} (", judged.rstrip(".")))
    output = theirs.output.replace("(legacy)", "(bpf)")
    return ours.status != theirs.status or ours.output != output or not said


def test_every_command_is_answered_as_by_iptables(commands: Commands) -> None:
    found = []
    for line in LINES:
        words = shlex.split(line)
        if commands.name == "ip6tables":
            for address, other in ADDRESSES.items():
                words = [word.replace(address, other) for word in words]
        ours, theirs = commands.ours(*words), commands.theirs(*words)
        if differs(ours, theirs) and line not in OTHERWISE:
            found.append(f"{line}\n  ours: {ours}\n  theirs: {theirs}")
    assert not found, "\n".join(found)
    first, second = commands.saved()
    assert first == second
