"""Names of the input and output device, from the hook's state.

A hook without one of them (INPUT has no output device) compares against an empty
name, as nulldevname in ipt_do_table: the words stay zero.
"""

from __future__ import annotations

from bpfilter.asm.insn import R1, R2, R7
from bpfilter.compiler.prologue import Prologue
from bpfilter.plan import fields


def extract(p: Prologue) -> None:
    for asked, member in ((fields.IIF, "in"), (fields.OIF, "out")):
        if not p.wants(asked):
            continue
        none = p.b.fresh("no_device")
        p.load_member(R1, R7, "nf_hook_state", member)
        p.b.jeq(R1, 0, none)
        p.put_be_words(asked, R1, p.member("net_device", "name"), 4, R2)
        p.b.label(none)
