from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfilter.abi.insn import EXIT, INSN_BYTES, LD_IMM64
from bpfilter.asm.build import Builder
from bpfilter.asm.encode import ByteOrder, decode, encode
from bpfilter.asm.insn import R1, Insn, Ref, RefKind
from bpfilter.errors import AbiError, BuildError
from tests.unit.asm import strategies

ORDERS: st.SearchStrategy[ByteOrder] = st.sampled_from(["little", "big"])


@given(strategies.insns, ORDERS)
def test_decode_undoes_encode(insns: tuple[Insn, ...], order: ByteOrder) -> None:
    data = encode(insns, byteorder=order)
    assert len(data) == INSN_BYTES * sum(insn.slots for insn in insns)
    assert decode(data, order) == insns


@given(st.binary(max_size=64), ORDERS)
def test_encode_undoes_decode(data: bytes, order: ByteOrder) -> None:
    try:
        insns = decode(data, order)
    except AbiError:
        return
    assert encode(insns, byteorder=order) == data


def test_big_endian_swaps_numbers_and_register_nibbles() -> None:
    insn = Insn(0x61, dst=1, src=2, off=4, imm=5)
    assert encode([insn], byteorder="little").hex() == "6121040005000000"
    assert encode([insn], byteorder="big").hex() == "6112000400000005"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(bytes(7), id="part of an instruction"),
        pytest.param(bytes([LD_IMM64]) + bytes(7), id="half of a 64-bit load"),
        pytest.param(bytes([LD_IMM64]) + bytes(7) + bytes([EXIT]) + bytes(7), id="other half"),
    ],
)
def test_cut_short(data: bytes) -> None:
    with pytest.raises(AbiError):
        decode(data)


def two_names() -> tuple[Insn, ...]:
    b = Builder()
    b.load_map_value(R1, "hits", 24)
    with b.origin("rule 3"):
        b.kfunc("bpf_rdonly_cast")
    return b.build()


def test_names_get_numbers_from_a_mapping() -> None:
    kfunc = Ref(RefKind.KFUNC, "bpf_rdonly_cast")
    numbers = {Ref(RefKind.MAP_VALUE, "hits"): 5, kfunc: 3 << 32 | 123456}
    load, call = decode(encode(two_names(), numbers))
    assert load.imm == 24 << 32 | 5
    assert (call.off, call.imm) == (3, 123456)  # index in fd_array, BTF id
    del numbers[kfunc]
    with pytest.raises(BuildError, match="kfunc bpf_rdonly_cast has no number") as caught:
        encode(two_names(), numbers)
    assert caught.value.origin == "rule 3"


def test_unresolved_names_are_errors() -> None:
    with pytest.raises(BuildError, match="map value hits"):
        encode(two_names())
    b = Builder()
    b.jump("away")
    with pytest.raises(BuildError, match="label away is not resolved"):
        encode(b.build(), lambda _ref: 0)


def test_fields_that_do_not_fit() -> None:
    with pytest.raises(BuildError, match="cannot be encoded"):
        encode([Insn(0xB7, imm=1 << 31)])
