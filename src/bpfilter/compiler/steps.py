"""What bounds a loop, so that the verifier walks its body a few times and not step by step.

Since Linux 6.9, commit 011832b97b31 ("bpf: Introduce may_goto instruction"), it is that
instruction, 1 ns a step; before, an open-coded iterator (bpf_iter_num, Linux 6.4), 9 ns.
"""

from __future__ import annotations

from bpfilter.asm.build import Builder
from bpfilter.asm.insn import R0, R1, R2, R3, R4, R5, R10, Reg
from bpfilter.btf.query import KernelTypes
from bpfilter.dataclass import dataclass

#: No more than an iterator may count to: BPF_MAX_LOOPS (include/linux/bpf_verifier.h).
MAX_STEPS = 1 << 23


@dataclass(frozen=True, slots=True)
class Steps:
    """The bound of one loop at a time; `iterator` is where on the stack one may keep 8 bytes.

    `forgets`: the verifier does not tell steps apart by registers that nobody reads any more
    (Linux 6.15, commit 14c8552db644, "bpf: use register liveness information for
    func_states_equal").
    """

    b: Builder
    iterator: int
    may_goto: bool
    forgets: bool

    @classmethod
    def of(cls, b: Builder, iterator: int, types: KernelTypes) -> Steps:
        """Choose what the kernel with these types has."""
        return cls(
            b,
            iterator,
            types.has("bpf_verifier_state", "may_goto_depth"),
            types.has("bpf_insn_aux_data", "live_regs_before"),
        )

    def begin(self) -> None:
        """Emit what comes before the loop; clobbers R0-R5."""
        if not self.may_goto:
            self._iterator()
            self.b.mov(R2, 0)
            self.b.mov(R3, MAX_STEPS)
            self.b.kfunc("bpf_iter_num_new")

    def step(self, spent: str, unused: tuple[Reg, ...] = ()) -> None:
        """Emit the start of the loop's body: to `spent` after too many steps.

        Nobody reads R0-R5 and the `unused` registers of the step before; they are clobbered.
        """
        if not self.forgets:
            for reg in (R0, R1, R2, R3, R4, R5, *unused):
                self.b.mov(reg, 0)
        if self.may_goto:
            self.b.may_goto(spent)
        else:
            self._iterator()
            self.b.kfunc("bpf_iter_num_next")
            self.b.jeq(R0, 0, spent)

    def end(self) -> None:
        """Emit what comes behind every way out of the loop; clobbers R0-R5."""
        if not self.may_goto:
            self._iterator()
            self.b.kfunc("bpf_iter_num_destroy")

    def _iterator(self) -> None:
        # struct bpf_iter_num
        self.b.mov(R1, R10)
        self.b.add(R1, self.iterator)
