"""Rules edited in place: whatever goes wrong, the old or the new ones are in force, and counted.

The editor is a stub (tests/harness/stub_editor.py); here it is about all that is around it.
"""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable

import pytest

from bpfilter import Family, Firewall
from bpfilter.bpf.link import NetfilterLink
from bpfilter.errors import Error
from bpfilter.firewall import confirm
from bpfilter.firewall.store import open_store
from bpfilter.rules.model import Hook
from tests.e2e.test_apply import reached, table
from tests.harness import faults
from tests.harness.netns import Namespace
from tests.harness.stub_editor import ROOM, StubEditor

pytestmark = pytest.mark.e2e

V4 = Family.IPV4
HEAD = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"


def drop(*numbers: int) -> str:
    """Give a text that drops what comes to some addresses."""
    rules = "".join(f"-A INPUT -d 127.0.0.{number}/32 -j DROP\n" for number in numbers)
    return f"{HEAD}{rules}COMMIT\n"


OLD, NEW = drop(2, 3, 5, 6), drop(2, 4, 5, 6)


@pytest.fixture
def editor(monkeypatch: pytest.MonkeyPatch) -> StubEditor:
    made = StubEditor()
    monkeypatch.setattr("bpfilter.firewall.edit.editor", lambda: made)
    monkeypatch.setattr("bpfilter.firewall.large.compile_bulk", made.compile)
    monkeypatch.setattr("bpfilter.firewall.large.FEW", 0)
    monkeypatch.setattr("bpfilter.firewall.given.LARGE", 1)
    return made


@pytest.fixture
def target(firewall: Firewall) -> None:
    """Have the kernel's types read before, so that faults are not in reading them."""
    firewall.target()


def dropped(namespace: Namespace) -> set[int]:
    addresses = {f"127.0.0.{number}": number for number in range(2, 10)}
    got = reached(namespace, *addresses)
    return {number for address, number in addresses.items() if address not in got}


def packets(firewall: Firewall) -> dict[int, int]:
    found = {}
    for rule in table(firewall).chain("INPUT").rules:
        assert rule.destination is not None
        found[rule.destination.value[-1]] = rule.counters.packets
    return found


def test_one_rule_for_another(
    firewall: Firewall, namespace: Namespace, editor: StubEditor
) -> None:
    firewall.apply_text(OLD, V4)
    assert dropped(namespace) == {2, 3, 5, 6}
    first = firewall.apply_text(NEW, V4, source="edited")
    assert editor.edits == 1
    assert (first.source, first.rules) == ("edited", 4)
    assert packets(firewall) == {2: 1, 4: 0, 5: 1, 6: 1}
    assert dropped(namespace) == {2, 4, 5, 6}
    assert packets(firewall) == {2: 2, 4: 1, 5: 2, 6: 2}
    # Moved rules keep their counters, those that come again do not.
    firewall.apply_text(drop(5, 2, 3, 6), V4)
    assert editor.edits == 2
    assert packets(firewall) == {5: 2, 2: 2, 3: 0, 6: 2}
    assert dropped(namespace) == {2, 3, 5, 6}
    assert packets(firewall) == {5: 3, 2: 3, 3: 1, 6: 3}
    assert not firewall.status().families[0].problems
    assert firewall.generation(V4) is not None


def test_programs_and_maps_take_turns(
    firewall: Firewall, namespace: Namespace, editor: StubEditor
) -> None:
    firewall.apply_text(OLD, V4)
    kernel = faults.CountedKernel()
    counted = Firewall(str(namespace.path), kernel=kernel)
    seen = []
    steps = []
    for turn in range(6):
        kernel.steps = 0
        made = counted.apply_text((NEW, OLD)[turn % 2], V4)
        steps.append(kernel.steps)
        seen.append(tuple(program.id for program in made.programs))
        assert dropped(namespace) == ({2, 4, 5, 6}, {2, 3, 5, 6})[turn % 2]
    assert editor.edits == 6
    assert seen[0] != seen[1]
    assert seen[2:] == 2 * seen[:2], "none were loaded again"
    assert steps[2:] == 4 * [steps[2]]
    assert steps[2] < steps[0]
    # Each address that comes takes a counter that another one has left.
    generation = firewall.generation(V4)
    assert generation is not None
    assert generation.unused + len(generation.free) <= generation.counters_per_cpu + ROOM


def test_zeroed_cleared_and_compiled_anew(
    firewall: Firewall, namespace: Namespace, editor: StubEditor
) -> None:
    firewall.apply_text(OLD, V4)
    dropped(namespace)
    firewall.apply_text(NEW, V4)
    dropped(namespace)
    firewall.zero(V4)
    assert set(packets(firewall).values()) == {0}
    dropped(namespace)
    assert set(packets(firewall).values()) == {1}
    firewall.apply_text(drop(2, 4, 5, 6, 7, 8, 9), V4)  # more than the stub can do
    assert editor.edits == 1
    assert packets(firewall) == {2: 1, 4: 1, 5: 1, 6: 1, 7: 0, 8: 0, 9: 0}
    firewall.apply_text(drop(3, 4, 5, 6, 7, 8, 9), V4)
    assert editor.edits == 2
    assert firewall.clear(V4)
    assert not firewall.state_directory().exists()
    assert dropped(namespace) == set()


def test_counters_that_are_used_up(
    firewall: Firewall, namespace: Namespace, editor: StubEditor
) -> None:
    """Those of rules that went are free after the next change, and used again without traces."""
    firewall.apply_text(drop(2, 3, 4, 5), V4)
    for turn in range(12):
        number = 6 + turn % 4
        firewall.apply_text(drop(2, 3, 4, number), V4)
        assert dropped(namespace) == {2, 3, 4, number}
        assert packets(firewall) == {2: turn + 1, 3: turn + 1, 4: turn + 1, number: 1}
    assert editor.edits == 12


def test_a_roll_back(firewall: Firewall, namespace: Namespace, editor: StubEditor) -> None:
    firewall.apply_text(OLD, V4)
    dropped(namespace)
    pending = confirm.start(firewall, V4, 60)
    pending.arm(firewall.apply_text(NEW, V4).applied_at)
    assert editor.edits == 1
    pending.reject()
    assert pending.wait()
    assert packets(firewall) == {2: 1, 3: 1, 5: 1, 6: 1}
    assert dropped(namespace) == {2, 3, 5, 6}


def test_a_link_taken_away_is_put_back(
    firewall: Firewall, namespace: Namespace, editor: StubEditor
) -> None:
    firewall.apply_text(OLD, V4)
    with firewall.kernel.in_netns(str(namespace.path)):
        store = open_store(firewall.kernel)
    with NetfilterLink.open(firewall.kernel, store.link_path(V4, Hook.INPUT)) as link:
        link.detach()
    firewall.apply_text(NEW, V4)
    assert editor.edits == 1
    assert dropped(namespace) == {2, 4, 5, 6}


def test_files_that_are_damaged_have_it_compiled(
    firewall: Firewall, namespace: Namespace, editor: StubEditor
) -> None:
    for suffix in ("rules", "order", "layout", "base"):
        for text in (drop(2, 3, 4, 5), drop(2, 3, 4, 6)):
            firewall.apply_text(text, V4)
        (path,) = firewall.state_directory().glob(f"*.{suffix}")
        done = editor.edits
        path.unlink()
        if suffix == "base":  # without any, it is still to be written
            path.write_bytes(b"?")
        firewall.apply_text(drop(2, 3, 4, 7), V4)
        assert editor.edits == done, suffix
        assert dropped(namespace) == {2, 3, 4, 7}
        assert not firewall.status().families[0].problems
        firewall.clear(V4)


@pytest.mark.slow
@pytest.mark.parametrize("before", [1, 2, 3], ids=["first", "second", "third"])
def test_killed_at_every_step(
    firewall: Firewall, namespace: Namespace, editor: StubEditor, target: None, before: int
) -> None:
    texts = {True: OLD, False: NEW}
    killed, step, seen = True, -1, set()
    while killed:
        step += 1
        firewall.clear(V4)
        for turn in range(before):
            firewall.apply_text(texts[turn % 2 == 0], V4)
        now, then = texts[before % 2 == 1], texts[before % 2 == 0]
        numbers = {OLD: {2, 3, 5, 6}, NEW: {2, 4, 5, 6}}
        assert dropped(namespace) == numbers[now]
        victim = Firewall(str(namespace.path), kernel=faults.killing(step))
        killed = faults.killed_in_child(lambda: victim.apply_text(then, V4))  # noqa: B023
        found = dropped(namespace)
        assert found in (numbers[now], numbers[then]), f"killed at step {step}"
        seen.add(frozenset(found))
        # What follows finishes or undoes it; an edit, a look, or what is compiled as a whole.
        if step % 3 == 0:
            assert packets(firewall)[5] == 2
            assert not firewall.status().families[0].problems
        firewall.apply_text(then if step % 2 else drop(2, 5, 6, 7, 8, 9), V4)
        expected = numbers[then] if step % 2 else {2, 5, 6, 7, 8, 9}
        assert dropped(namespace) == expected, f"killed at step {step}"
        assert packets(firewall)[5] == 3, f"killed at step {step}"
        assert not firewall.status().families[0].problems
    assert step > 5
    assert len(seen) == 2, "the change was never interrupted on both sides of the switch"


def error_of(work: Callable[[], object]) -> str:
    try:
        work()
    except Error as error:
        return str(error)
    return ""


@pytest.mark.slow
@pytest.mark.parametrize("before", [1, 2, 3], ids=["first", "second", "third"])
def test_every_call_failing(
    firewall: Firewall,
    namespace: Namespace,
    editor: StubEditor,
    target: None,
    before: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    numbers = {OLD: {2, 3, 5, 6}, NEW: {2, 4, 5, 6}}
    step = failed = 0
    while True:
        firewall.clear(V4)
        for turn in range(before):
            firewall.apply_text((OLD, NEW)[turn % 2], V4)
        now, then = (OLD, NEW)[(before - 1) % 2], (OLD, NEW)[before % 2]
        assert dropped(namespace) == numbers[now]
        kernel = faults.failing(step, errno.ENOSPC)
        broken = Firewall(str(namespace.path), kernel=kernel)
        caplog.clear()
        said = error_of(lambda: broken.apply_text(then, V4))  # noqa: B023
        assert dropped(namespace) == numbers[now if said else then], f"failed at step {step}"
        if not said and kernel.steps > step:
            assert "in force, but" in caplog.text, f"failed at step {step}"
        failed += bool(said)
        assert packets(firewall)[5] == 2, f"failed at step {step}"
        firewall.apply_text(then, V4)
        assert dropped(namespace) == numbers[then]
        assert packets(firewall)[5] == 3, f"failed at step {step}"
        assert not firewall.status().families[0].problems
        if kernel.steps <= step:
            break
        step += 1
    assert failed > 5


@pytest.mark.slow
def test_a_hundred_edits_let_nothing_through(
    firewall: Firewall, namespace: Namespace, editor: StubEditor
) -> None:
    """Nor is a packet counted twice or not at all, whichever slot it is in."""
    firewall.apply_text(drop(2, 3, 5, 6), V4)
    with namespace.entered():
        listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        listener.bind(("127.0.0.5", 9))
        listener.settimeout(0)
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    stop = threading.Event()
    sent = 0

    def send() -> None:
        nonlocal sent
        while not stop.is_set():
            sender.sendto(b"x", ("127.0.0.5", 9))
            sent += 1

    thread = threading.Thread(target=send)
    thread.start()
    try:
        for turn in range(100):
            firewall.apply_text((NEW, OLD)[turn % 2], V4)
    finally:
        stop.set()
        thread.join()
    assert editor.edits == 100
    with pytest.raises(BlockingIOError):
        listener.recv(16)
    assert sent > 100
    assert packets(firewall)[5] == sent
    listener.close()
    sender.close()
