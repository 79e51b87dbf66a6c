"""The running kernel's types, as far as they have been asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bpfilter.btf.query import Answers, KernelTypes
from bpfilter.firewall import kept
from bpfilter.kernel.api import Kernel

_MODULE = "nf_conntrack"  # has types of its own that rules ask for


@contextmanager
def known_types(kernel: Kernel, directory: Path) -> Iterator[KernelTypes]:
    """Give the kernel's types for a `with` block; what is asked in it is kept in `directory`.

    The kernel's type information is read only when something is asked for the first time.
    """
    path = directory / "types.json"
    identity = kernel.btf_identity(_MODULE)
    answers = _answers(kept.read(path), identity)
    before = len(answers)
    yield KernelTypes.remembering(answers, kernel)
    # A module that came or went meanwhile: of which one are the answers?
    if len(answers) > before and kernel.btf_identity(_MODULE) == identity:
        kept.write(kernel, path, {"of": identity, "answers": answers})


def _answers(found: object, identity: str) -> Answers:
    match found:
        case {"of": of, "answers": dict(answers)} if of == identity:
            return answers
    return {}
