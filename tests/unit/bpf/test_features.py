from __future__ import annotations

import errno

import pytest

from bpfilter.bpf.features import FEATURES, Support, Trial, probe, try_feature
from bpfilter.errors import KernelError, RestrictedError, UnsupportedError, VerifierError
from tests.harness.fake_kernel import FakeKernel
from tests.unit.btf.types import sample

BY_NAME = {feature.name: feature for feature in FEATURES}


def test_all_features_are_answered(kernel: FakeKernel) -> None:
    found = probe(kernel)
    assert found.bpf.support is Support.YES
    assert found.btf.support is Support.NO  # the fake was given none
    assert found.netfilter.support is Support.YES
    assert found.bpf_loop
    assert found.netfilter_link_update.support is Support.NO
    assert not kernel.alive()


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EOPNOTSUPP])
def test_unknown_type_or_flag_is_a_no(kernel: FakeKernel, code: int) -> None:
    kernel.fail(0, code)
    answer = try_feature(Trial(kernel), BY_NAME["mmapable_arrays"])
    assert answer.support is Support.NO
    assert isinstance(answer.error, UnsupportedError)
    assert "Linux 5.5" in str(answer.error)


def test_verifier_saying_no_is_a_no(kernel: FakeKernel) -> None:
    kernel.reject("probe", "0: (85) call unknown#181\ninvalid func unknown#181\n")
    answer = try_feature(Trial(kernel), BY_NAME["bpf_loop"])
    assert answer.support is Support.NO
    assert answer.error is not None
    assert isinstance(answer.error.__cause__, VerifierError)


def test_missing_kernel_function_is_a_no(kernel: FakeKernel) -> None:
    kernel.btf = sample()
    answer = try_feature(Trial(kernel), BY_NAME["netfilter_kfuncs"])
    assert answer.support is Support.NO
    assert "bpf_dynptr_from_skb" in str(answer.error)


def test_anything_else_is_no_answer(kernel: FakeKernel) -> None:
    kernel.fail(0, errno.ENOMEM)
    answer = try_feature(Trial(kernel), BY_NAME["bpf"])
    assert answer.support is Support.UNKNOWN
    assert isinstance(answer.error, KernelError)


def test_lack_of_privilege_is_no_answer(
    kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise RestrictedError("create map", errno.EPERM, "CAP_BPF", "run it as root")

    monkeypatch.setattr(kernel, "bpf", refuse)
    found = probe(kernel)
    assert found.bpf.support is Support.UNKNOWN
    with pytest.raises(RestrictedError, match="as root"):
        found.require("netfilter")


def test_require_raises_what_stands_in_the_way(kernel: FakeKernel) -> None:
    found = probe(kernel)
    found.require("bpf", "netfilter")
    with pytest.raises(UnsupportedError, match="type information"):
        found.require("bpf", "btf")
