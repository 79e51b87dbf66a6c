"""Reading a packet once, into the words that rules test.

A program asks for the fields its rules use; each extractor (`extract/`) fills the
ones it knows, and skips what nobody asked for. `Prologue` is what an extractor
sees: the builder, the packet, and `put`.

Registers: R6 is the `struct sk_buff *`, R7 the `struct nf_hook_state *`, both for the
whole prologue. R8 and R9 belong to the extractor at work, R0-R5 to whoever calls.
Packet bytes are read where they lie, if that is the linear part of the buffer; if not,
through a dynptr, which, as skb_header_pointer does in the kernel's matches, also reads
what lies in page fragments (some 50 ns a time).
"""

from __future__ import annotations

from bpfilter.asm.build import Builder
from bpfilter.asm.insn import R0, R1, R2, R3, R4, R6, R10, Reg, Size
from bpfilter.btf.query import KernelTypes
from bpfilter.compiler import frame
from bpfilter.compiler.cells import Place
from bpfilter.compiler.steps import Steps
from bpfilter.compiler.target import Target
from bpfilter.dataclass import dataclass, field
from bpfilter.plan.fields import Field
from bpfilter.rules.model import Family, Hook

#: To read through where no type tells what lies there: 18 numbers of 64 bits, and user space
#: sees to it that it stays so (include/uapi/linux/resource.h).
RAW = "rusage"

_WIDTH = {1: Size.B, 2: Size.H, 4: Size.W, 8: Size.DW}


@dataclass(slots=True)
class Prologue:
    """One program's reading of its packet; `wanted` holds (field name, word)."""

    b: Builder
    target: Target
    frame: frame.Frame
    family: Family
    hook: Hook
    wanted: frozenset[tuple[str, int]]
    #: Where a packet goes that cannot be read at all: dropped.
    unreadable: str = field(default="unreadable")

    @property
    def steps(self) -> Steps:
        """The bound of a loop; the extractors and the evaluation loop share its place."""
        return Steps.of(self.b, self.frame.offset(frame.ITERATOR), self.types)

    @property
    def types(self) -> KernelTypes:
        return self.target.types

    def wants(self, *fields: Field) -> bool:
        """Say whether any word of any of these fields is asked for."""
        names = {asked.name for asked in fields}
        return any(name in names for name, _ in self.wanted)

    def wants_word(self, asked: Field, word: int) -> bool:
        return (asked.name, word) in self.wanted

    def put(self, asked: Field, value: Reg, word: int = 0) -> None:
        """Store a value of the field's width; clobbers `value` and R0. Fill each field once:
        bits are or-ed into words that start as zero."""
        if not self.wants_word(asked, word):
            return
        place = self.frame.places[asked.name, word]
        if place.bits == 32:
            self.store_word(place.slot, value)
        elif self._is_alone(place):
            if place.shift:
                self.b.lsh(value, place.shift)
            self.store_word(place.slot, value)
        else:
            self.merge(asked, value, word)

    def _is_alone(self, place: Place) -> bool:
        return sum(self.frame.places[word].slot == place.slot for word in self.wanted) == 1

    def put_together(self, *parts: tuple[Field, Reg, int]) -> None:
        """Store fields that share a word, which nobody has written to before; clobbers R0-R2.

        Each is as many bits of a register as it is wide, from the given bit on.
        """
        b = self.b
        wanted = [part for part in parts if self.wants(part[0])]
        for number, (asked, src, shift) in enumerate(wanted):
            place = self.frame.places[asked.name, 0]
            dst = R1 if number else R2
            b.mov(dst, src)
            b.rsh(dst, shift)
            b.and_(dst, (1 << place.bits) - 1)
            b.lsh(dst, place.shift)
            if number:
                b.or_(R2, R1)
        if wanted:
            self.store_word(place.slot, R2)

    def merge(self, asked: Field, value: Reg, word: int = 0) -> None:
        """Set the bits of `value` in a word of any width; clobbers `value` and R0."""
        if not self.wants_word(asked, word):
            return
        assert value is not R0
        place = self.frame.places[asked.name, word]
        if place.shift:
            self.b.lsh(value, place.shift)
        self.load_word(place.slot, R0)
        self.b.or_(R0, value)
        self.store_word(place.slot, R0)

    def put_constant(self, asked: Field, value: int, word: int = 0) -> None:
        """Store a constant; clobbers R0."""
        if not self.wants_word(asked, word) or value == 0:
            return
        place = self.frame.places[asked.name, word]
        self.load_word(place.slot, R0)
        self.b.or_(R0, _signed32(value << place.shift))
        self.store_word(place.slot, R0)

    def load_word(self, slot: int, dst: Reg) -> None:
        """Read the packet word of a slot."""
        self.b.load(dst, R10, self.frame.word_offset(slot), Size.W)

    def store_word(self, slot: int, value: Reg) -> None:
        """Write the packet word of a slot; clobbers R0.

        The verifier remembers a number stored at a multiple of 8, and would follow every
        combination of paths that stored one or none; a store beside it makes it forget.
        """
        offset = self.frame.word_offset(slot)
        self.b.store(R10, offset, value, Size.W)
        if offset % 8 == 0:
            self.b.load(R0, R10, offset + 4, Size.W)
            self.b.store(R10, offset + 4, R0, Size.W)

    def load_scratch(self, dst: Reg, member: int, size: Size = Size.W) -> None:
        """Read a SCRATCH_* member of the frame."""
        self.b.load(dst, R10, self.frame.offset(member), size)

    def store_scratch(self, member: int, src: Reg, size: Size = Size.W) -> None:
        self.b.store(R10, self.frame.offset(member), src, size)

    def clear_words(self) -> None:
        """Make all packet words zero: what no extractor fills reads as zero.

        The zero is one the verifier cannot see through (x & ~x), so that it does not tell
        apart which of the words have been filled, and follow every combination.
        """
        b = self.b
        self.load_member(R1, R6, "sk_buff", "len")
        b.mov(R2, R1)
        b.xor(R2, -1)
        b.and_(R1, R2)
        for offset in range(self.frame.words, self.frame.size, 4):
            b.store(R10, self.frame.offset(offset), R1, Size.W)

    def read(self, start: Reg | int, length: int, missing: str) -> None:
        """Leave in R0 the address of `length` packet bytes from `start` on, counted from the
        network header; go to `missing` if the packet has fewer.

        A register is one of R6-R9. Clobbers R1-R5. As `slice`, but fast where the bytes lie in
        one piece; loads may not cross multiples of 8 from R0.
        """
        b = self.b
        paged, done = b.fresh("paged"), b.fresh("read")
        self.load_member(R1, R6, "sk_buff", "len")
        self.load_member(R2, R6, "sk_buff", "data_len")
        b.sub(R1, R2)
        if isinstance(start, Reg):
            b.mov(R2, start)
            b.add(R2, length)
            b.jlt(R1, R2, paged)
            # Since Linux 6.17 the verifier follows exactly what is added to skb->data: it would
            # walk a loop that adds to `start` step by step. A negated pointer is a mere number.
            self.load_member(R2, R6, "sk_buff", "data")
            b.neg(R2)
            b.mov(R1, start)
            b.sub(R1, R2)
        else:
            b.jlt(R1, start + length, paged)
            self.load_member(R1, R6, "sk_buff", "data")
            b.add(R1, start)
        b.type_id(R2, RAW)
        b.kfunc("bpf_rdonly_cast")
        b.jump(done)
        b.label(paged)
        self.open_packet()
        self.slice(start, length)
        b.jeq(R0, 0, missing)
        self.cast(R0, RAW)
        b.label(done)

    def open_packet(self) -> None:
        """Make the dynptr over the packet, for `slice`; clobbers R0-R5.

        It starts at the network header at every hook. Without flags this cannot fail.
        """
        b = self.b
        b.mov(R1, R6)
        b.mov(R2, 0)
        b.mov(R3, R10)
        b.add(R3, self.frame.offset(frame.SCRATCH_DYNPTR))
        b.kfunc("bpf_dynptr_from_skb")

    def slice(self, start: Reg | int, length: int) -> None:
        """Leave in R0 a pointer to `length` packet bytes at `start`, or 0 if there are fewer.

        At most 40 bytes; clobbers R1-R5. The bytes stay readable until the next call.
        """
        assert 0 < length <= frame.SCRATCH_THOFF - frame.SCRATCH_BUFFER
        b = self.b
        b.mov(R2, start)
        b.mov(R1, R10)
        b.add(R1, self.frame.offset(frame.SCRATCH_DYNPTR))
        b.mov(R3, R10)
        b.add(R3, self.frame.offset(frame.SCRATCH_BUFFER))
        b.mov(R4, length)
        b.kfunc("bpf_dynptr_slice")

    def load_member(self, dst: Reg, src: Reg, struct: str, path: str) -> None:
        """Read a member of a kernel struct; bit fields come out shifted and masked."""
        member = self.types.offset(struct, path)
        if member.bit_size not in (0, 8 * member.size):
            byte = member.offset + member.bit_offset // 8
            self.b.load(dst, src, byte, Size.B)
            if member.bit_offset % 8:
                self.b.rsh(dst, member.bit_offset % 8)
            self.b.and_(dst, (1 << member.bit_size) - 1)
            return
        self.b.load(dst, src, member.offset, _WIDTH[member.size])

    def member(self, struct: str, path: str) -> int:
        """Give the byte offset of a member."""
        return self.types.offset(struct, path).offset

    def cast(self, src: Reg, struct: str) -> None:
        """Leave in R0 `src` as a readable `struct` pointer; faulting reads give 0.

        bpf_rdonly_cast: a kfunc for every program type since Linux 6.2.
        """
        self.b.mov(R1, src)
        self.b.type_id(R2, struct)
        self.b.kfunc("bpf_rdonly_cast")

    def peek(self, dst: Reg, src: Reg, offset: int = 0, width: int = 8) -> None:
        """dst = `width` bytes at the address `src + offset`, a number; faulting reads give 0.

        For what has no type a program can name, and for addresses it calculates; clobbers
        R0-R5.
        """
        self.b.mov(R1, src)
        if offset:
            self.b.add(R1, offset)
        self.b.type_id(R2, RAW)
        self.b.kfunc("bpf_rdonly_cast")
        self.b.load(dst, R0, 0, _WIDTH[width])

    def peek_member(self, dst: Reg, src: Reg, struct: str, path: str) -> None:
        """dst = a member, as `load_member`, of the struct at the address `src`."""
        member = self.types.offset(struct, path)
        assert not member.bit_size
        self.peek(dst, src, member.offset, member.size)

    def put_be_words(
        self, asked: Field, src: Reg, offset: int, words: int, scratch: Reg, first: int = 0
    ) -> None:
        """Store `words` big-endian 32-bit words found at `src + offset`, from word `first` on.

        Clobbers R0; loads are dear where the verifier cannot vouch for `src`, so two at a time.
        """
        wanted = [word for word in range(words) if self.wants_word(asked, first + word)]
        while wanted:
            word = wanted.pop(0)
            pair = word + 1 in wanted
            self.b.load(scratch, src, offset + 4 * word, Size.DW if pair else Size.W)
            (self.b.be64 if pair else self.b.be32)(scratch)
            if pair:
                self.put(asked, scratch, first + wanted.pop(0))
                self.b.rsh(scratch, 32)
            self.put(asked, scratch, first + word)


def _signed32(value: int) -> int:
    return value - (1 << 32) if value >= 1 << 31 else value
