"""What is done to the machine underneath: its mounts, its disk; told and survived."""

from __future__ import annotations

from pathlib import Path

import pytest

from bpfilter import Family, format_saved
from tests.e2e.test_apply import rules
from tests.harness.world import in_world

pytestmark = pytest.mark.e2e


@pytest.fixture
def saved(tmp_path: Path) -> str:
    path = tmp_path / "rules.v4"
    path.write_text(format_saved(rules("-A INPUT -p icmp -j DROP")))
    path.with_suffix(".v6").write_text(format_saved(rules(family=Family.IPV6)))
    return str(path)


def test_the_machines_own_mount_out_of_sight_is_not_ours(saved: str) -> None:
    said = in_world(
        """
        bpfilter apply "$1"
        bpfilter list INPUT
        grep -c '/run/bpfilter/bpf .* bpf ' /proc/self/mountinfo
        """,
        saved,
    )
    assert said.splitlines()[1] == "-A INPUT -p icmp -j DROP"


def test_many_at_once_mount_once(saved: str) -> None:
    said = in_world(
        """
        for n in 1 2 3 4 5 6; do bpfilter apply "$1" & done
        wait
        umount /run/bpfilter/bpf
        stat -f -c %T /run/bpfilter/bpf
        """,
        saved,
    )
    assert said == "tmpfs\n"


FILL = """
fill() { mount -o remount,size=$(df --output=used -k /run | tail -1 | tr -d ' ')k /run; }
"""


def test_full_disk(saved: str) -> None:
    """With no room for the state, nothing changes, and nothing is left half written."""
    said = in_world(
        FILL
        + """
        bpfilter apply "$1"
        fill
        sed 's/icmp/udp/' "$1" | bpfilter apply -4 - || echo "exit $?"
        bpfilter list INPUT
        bpfilter status
        find /run/bpfilter/state -name '*.new'
        bpfilter clear
        """,
        saved,
    )
    assert "write /run/bpfilter/state/" in said
    assert "/iptables-2.rules: No space left on device" in said
    assert "exit 1\n" in said
    assert "-A INPUT -p icmp -j DROP\n" in said
    assert "warning" not in said
    assert ".new\n" not in said


def test_disk_that_cannot_be_written(saved: str) -> None:
    said = in_world(
        """
        bpfilter list
        mount -o remount,ro /run
        bpfilter list
        bpfilter apply "$1" || echo "exit $?"
        mount -o remount,rw /run
        bpfilter apply "$1"
        mount -o remount,ro /run
        bpfilter list INPUT
        bpfilter status
        bpfilter clear || echo "exit $?"
        """,
        saved,
    )
    assert said.count("no rules are in force") == 2
    assert said.count("Read-only file system") == 2
    assert said.count("exit 1\n") == 2
    assert "-A INPUT -p icmp -j DROP\n" in said
    assert "Traceback" not in said


def test_looking_makes_nothing() -> None:
    commands = "bpfilter list -v; bpfilter status; bpfilter confirm || true; ls /run"
    assert in_world(commands).splitlines()[-1] == "netns"


def test_nothing_in_force_leaves_nothing() -> None:
    script = "bpfilter zero; bpfilter clear; find /run/bpfilter -type f"
    assert in_world(script) == "bpfilter: nothing was in force\n"


def test_state_is_for_root_alone(saved: str) -> None:
    """iptables shows its rules to nobody else either."""
    assert in_world('bpfilter apply "$1"; stat -c %a /run/bpfilter', saved) == "700\n"


def test_the_bpffs_unmounted(saved: str) -> None:
    """All links are gone with it: said by whatever looks, until rules are applied or cleared."""
    said = in_world(
        """
        ping() { command ping -c 1 -W 0.3 127.0.0.1 > /dev/null && echo passed || echo dropped; }
        until_it_passes() { for _ in {1..15}; do [ "$(ping)" = dropped ] || break; done; ping; }
        bpfilter apply "$1"
        bpfilter apply "$2"
        ping
        umount /run/bpfilter/bpf
        until_it_passes
        bpfilter status || echo "exit $?"
        bpfilter list || echo "exit $?"
        bpfilter apply "$1"
        ping
        bpfilter list -4 INPUT
        bpfilter status || echo "exit $?"
        bpfilter clear
        bpfilter status && echo all is well
        """,
        saved,
        saved.replace(".v4", ".v6"),
    )
    lost4, lost6 = (f"the {name} ruleset has lost its pins" for name in ("iptables", "ip6tables"))
    before, _, after = said.partition("passed\n")
    assert before == "dropped\n"
    assert after.count(lost4) == 2
    assert after.count(lost6) == 2
    assert after.count("exit 1\n") == 3
    repaired = after.partition("dropped\n")[2]
    assert "-A INPUT -p icmp -j DROP\n" in repaired
    assert lost4 not in repaired
    assert lost6 in repaired
    assert said.endswith("all is well\n")
