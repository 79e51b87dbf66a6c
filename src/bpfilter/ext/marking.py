"""`-j MARK` and `-j CONNMARK`: change the mark of the packet or of its connection.

(libxt_MARK.c, libxt_CONNMARK.c)
"""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._values import fail
from bpfilter.rules.model import Family, Target
from bpfilter.rules.registry import Context, Given, Option, Use, target
from bpfilter.rules.values import U32, mark_mask, number, only_one

_SETTERS = {
    "--set-xmark": ("value[/mask]", "clear the bits of mask, then flip those of value"),
    "--set-mark": ("value[/mask]", "clear the bits of mask, then set those of value"),
    "--and-mark": ("bits", "keep only these bits"),
    "--or-mark": ("bits", "set these bits"),
    "--xor-mark": ("bits", "flip these bits"),
}
_SHIFTS = ("--left-shift-mark", "--right-shift-mark")


@target("MARK")
@dataclass(frozen=True, slots=True)
class Mark(Target):
    """The mark becomes `(mark & ~mask) ^ value`."""

    value: int
    mask: int = U32

    OPTIONS = tuple(Option(name, *text) for name, text in _SETTERS.items())

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        only_one(given, "MARK", *_SETTERS)
        if not given.uses:
            fail(f"MARK: one of {', '.join(_SETTERS)} is required", given)
        return cls(*_parse_setter(given.uses[0], "MARK"))

    def format(self, family: Family) -> list[str]:
        return ["--set-xmark", f"0x{self.value:x}/0x{self.mask:x}"]

    def describe(self, family: Family) -> str:
        return f"MARK {_describe_setter(self.value, self.mask)}"


@target("CONNMARK")
@dataclass(frozen=True, slots=True)
class Connmark(Target):
    """`action` is "set" (`value`, and `ct_mask` as MARK's mask), "save" or "restore"."""

    action: str
    value: int = 0
    ct_mask: int = U32
    packet_mask: int = U32
    shift: int = 0
    shift_right: bool = False

    OPTIONS = (
        *(Option(name, *text) for name, text in _SETTERS.items()),
        Option("--save-mark", "", "from the packet to the connection", values=0),
        Option("--restore-mark", "", "from the connection to the packet", values=0),
        *(Option(name, "bits", "shift the mark by so many bits first") for name in _SHIFTS),
        Option("--ctmask", "mask", "bits of the mark of the connection"),
        Option("--nfmask", "mask", "bits of the mark of the packet"),
        Option("--mask", "mask", "bits of both"),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        actions = (*_SETTERS, "--save-mark", "--restore-mark")
        only_one(given, "CONNMARK", *actions)
        only_one(given, "CONNMARK", "--mask", "--ctmask")
        only_one(given, "CONNMARK", "--mask", "--nfmask")
        chosen = next((use for use in given.uses if use.option.name in actions), None)
        if chosen is None:
            fail("CONNMARK: no operation specified", given)
        ct_mask, packet_mask = _parse_masks(given)
        value, action = 0, chosen.option.name[2:].removesuffix("-mark")
        if chosen.option.name in _SETTERS:
            action = "set"
            value, set_mask = _parse_setter(chosen, "CONNMARK")
            # A mask that comes after takes the place of the setter's own.
            if ct_mask is None or given.uses.index(chosen) > _index_of_mask(given):
                ct_mask = set_mask
        shifts = [use for use in given.uses if use.option.name in _SHIFTS]
        return cls(
            action,
            value,
            U32 if ct_mask is None else ct_mask,
            U32 if packet_mask is None else packet_mask,
            number(shifts[-1], "CONNMARK", 0, 32) if shifts else 0,
            bool(shifts) and shifts[-1].option.name == _SHIFTS[1],
        )

    def format(self, family: Family) -> list[str]:
        if self.action == "set":
            words = ["--set-xmark", f"0x{self.value:x}/0x{self.ct_mask:x}"]
        else:
            words = [f"--{self.action}-mark", "--nfmask", f"0x{self.packet_mask:x}"]
            words += ["--ctmask", f"0x{self.ct_mask:x}"]
        return words + ([_SHIFTS[self.shift_right], str(self.shift)] if self.shift else [])

    def describe(self, family: Family) -> str:
        if self.action == "set":
            text = _describe_setter(self.value, self.ct_mask)
        else:
            text = self.action + self._describe_masks()
        shift = f" {_SHIFTS[self.shift_right][2:]} {self.shift}" if self.shift else ""
        return f"CONNMARK {text}{shift}"

    def _describe_masks(self) -> str:
        if self.packet_mask == self.ct_mask:
            return "" if self.ct_mask == U32 else f" mask 0x{self.ct_mask:x}"
        if self.action == "save":
            return f" nfmask 0x{self.packet_mask:x} ctmask ~0x{self.ct_mask:x}"
        return f" ctmask 0x{self.ct_mask:x} nfmask ~0x{self.packet_mask:x}"


# Value and mask of `(old & ~mask) ^ value`.
def _parse_setter(use: Use, owner: str) -> tuple[int, int]:
    name = use.option.name
    if name in ("--set-xmark", "--set-mark"):
        value, mask = mark_mask(use, owner)
        return value, mask if name == "--set-xmark" else value | mask
    value = number(use, owner)
    if name == "--and-mark":
        return 0, value ^ U32
    return value, value if name == "--or-mark" else 0


def _describe_setter(value: int, mask: int) -> str:
    if value == 0:
        return f"and 0x{mask ^ U32:x}"
    if value == mask:
        return f"or 0x{value:x}"
    if mask == 0:
        return f"xor 0x{value:x}"
    return f"set 0x{value:x}" if mask == U32 else f"xset 0x{value:x}/0x{mask:x}"


def _parse_masks(given: Given) -> tuple[int | None, int | None]:
    both, ct, packet = (given.get(name) for name in ("--mask", "--ctmask", "--nfmask"))
    ct_use, packet_use = both or ct, both or packet
    return (
        number(ct_use, "CONNMARK") if ct_use else None,
        number(packet_use, "CONNMARK") if packet_use else None,
    )


def _index_of_mask(given: Given) -> int:
    names = [use.option.name for use in given.uses]
    return next(index for index, name in enumerate(names) if name in ("--mask", "--ctmask"))
