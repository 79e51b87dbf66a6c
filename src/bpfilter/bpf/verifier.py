"""What the verifier said, in one line: which instruction, made for what, and why not.

A log lists the instructions walked, `12: (61) r1 = *(u32 *)(r2 +0)`, with register
states between them, then the complaint, then statistics. Instructions are counted in
8-byte slots, so that a 64-bit immediate load counts twice.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from bpfilter.asm.insn import Insn
from bpfilter.dataclass import dataclass
from bpfilter.errors import VerifierError

_INSN = re.compile(r"^(\d+): \([0-9a-f]{2}\)")
_NAMED_INSN = re.compile(r"\binsn (?:idx )?#?(\d+)")
_NOISE = re.compile(
    r"""^\s*$
    | ^\d+:\ (\([0-9a-f]{2}\)|(frame\d+:\ )?R\d|safe$)      # an instruction, a state
    | ^\s*(frame\d+:\ )?R\d+(_\w+)?=                        # a state on its own line
    | ^;                                                    # source
    | ^(from|to)\ \d+ | ^(last_idx|regs=|parent|mark_precise|func\#|caller:|callee:|returning)
    | ^(processed|verification\ time|stack\ depth|max_states|peak_states|Validating)
    | ^(cur|old)\ state: | ^(Func\#|Live\ regs|propagating|arg\#\d+\ reference|insn_idx)
    """,
    re.VERBOSE,
)
_MOST_LINES = 2


@dataclass(frozen=True, slots=True)
class Complaint:
    """The verifier's last words; `slot` is the instruction they are about, if told."""

    text: str
    slot: int | None


def parse_log(log: str) -> Complaint:
    """Find the complaint in a log; its text is empty if there is none."""
    lines = log.splitlines()
    last = max((i for i, line in enumerate(lines) if _INSN.match(line)), default=-1)
    said = [line.strip() for line in lines[last + 1 :] if not _NOISE.match(line)]
    text = "; ".join(said[-_MOST_LINES:])
    named = _NAMED_INSN.search(text)
    if named:
        return Complaint(text, int(named[1]))
    walked = _INSN.match(lines[last]) if last >= 0 else None
    return Complaint(text, int(walked[1]) if walked else None)


def explain(op: str, errno: int, log: str, insns: Sequence[Insn]) -> VerifierError:
    """Make the error of a refused program out of its log and (resolved) instructions."""
    complaint = parse_log(log)
    insn = _at_slot(insns, complaint.slot) if complaint.slot is not None else None
    text = complaint.text or "it gave no reason"
    if complaint.slot is not None and not _NAMED_INSN.search(text):
        text += f" (instruction {complaint.slot})"
    return VerifierError(op, errno, text, log, insn.origin if insn else None)


def _at_slot(insns: Sequence[Insn], slot: int) -> Insn | None:
    position = 0
    for insn in insns:
        position += insn.slots
        if slot < position:
            return insn
    return None
