"""Policies that a ruleset does not declare stay as they are: the judge is iptables-restore."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from bpfilter import Family, Firewall, parse_saved
from bpfilter.errors import StateError
from bpfilter.firewall import apply, confirm
from bpfilter.rules.model import Table
from bpfilter.rules.options import format_rule
from tests.e2e.test_apply import pinged, table
from tests.harness.netns import Namespace
from tests.harness.world import COMMANDS

pytestmark = pytest.mark.e2e

BPFILTER = str(COMMANDS / "bpfilter")
CHAINS = "INPUT", "FORWARD", "OUTPUT"


def declaring(**policies: str) -> str:
    chains = "".join(f":{name} {policy} [0:0]\n" for name, policy in policies.items())
    return f"*filter\n{chains}-A INPUT -i lo -j ACCEPT\nCOMMIT\n"


def policies_of(of: Table) -> dict[str, str | None]:
    return {chain.name: chain.policy for chain in of.chains if chain.policy is not None}


def test_as_iptables_restore(firewall: Firewall, namespace: Namespace) -> None:
    changes = [
        declaring(INPUT="DROP", FORWARD="DROP"),
        declaring(OUTPUT="DROP"),
        declaring(FORWARD="ACCEPT", OUTPUT="-"),
        declaring(),
        declaring(INPUT="DROP") + declaring(OUTPUT="ACCEPT"),
        declaring() + "*nat\nCOMMIT\n",
        "*filter\n-P FORWARD DROP\nCOMMIT\n",
    ]
    for text in changes:
        with namespace.entered():
            subprocess.run(["iptables-legacy-restore"], input=text.encode(), check=True)
            saved = subprocess.run(
                ["iptables-legacy-save", "-t", "filter"], capture_output=True, check=True
            )
        expected = parse_saved(saved.stdout, "saved", Family.IPV4).table("filter")
        assert expected is not None
        firewall.apply_text(text, Family.IPV4)
        assert policies_of(table(firewall)) == policies_of(expected), text


def test_a_file_of_rules_alone_leaves_a_policy_closed(
    firewall: Firewall, namespace: Namespace, tmp_path: Path
) -> None:
    path = tmp_path / "rules.v4"
    path.write_text("*filter\n:INPUT DROP [0:0]\nCOMMIT\n")
    command = [BPFILTER, "apply", "--netns", str(namespace.path), str(path)]
    subprocess.run(command, check=True)
    path.write_text("*filter\n-A INPUT -p udp -j ACCEPT\nCOMMIT\n")
    subprocess.run([*command, "--dry-run"], check=True)
    subprocess.run(command, check=True)
    assert not pinged(namespace)
    listed = subprocess.run(
        [BPFILTER, "list", "-4", "--netns", str(namespace.path)], capture_output=True, check=True
    )
    assert listed.stdout.startswith(b"-P INPUT DROP\n-P FORWARD ACCEPT\n")
    firewall.clear(Family.IPV4)
    subprocess.run(command, check=True)
    assert pinged(namespace), "nothing was in force"


def test_each_family_has_its_own(firewall: Firewall) -> None:
    firewall.apply_text(declaring(INPUT="DROP"), Family.IPV4)
    firewall.apply_text(declaring(), Family.IPV6)
    assert table(firewall, Family.IPV6).chain("INPUT").policy == "ACCEPT"


def test_policies_that_change_while_rules_are_compiled(
    firewall: Firewall, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rules compiled for a policy that is not in force any more are compiled again."""
    firewall.apply_text(declaring(INPUT="DROP", OUTPUT="DROP"), Family.IPV4)
    others = Firewall(str(namespace.path))
    meanwhile = iter([declaring(INPUT="ACCEPT"), declaring(OUTPUT="ACCEPT")])
    loaded = 0

    def load(*args: Any) -> Any:
        nonlocal loaded
        loaded += 1
        text = next(meanwhile, None)
        if text is not None:
            with monkeypatch.context() as alone:
                alone.setattr(apply, "load", original)
                others.apply_text(text, Family.IPV4)
        return original(*args)

    original = apply.load
    monkeypatch.setattr(apply, "load", load)
    firewall.apply_text(declaring(), Family.IPV4)
    assert policies_of(table(firewall)) == dict.fromkeys(CHAINS, "ACCEPT")
    assert loaded == 3


def test_writers_that_each_set_one_policy(firewall: Firewall, namespace: Namespace) -> None:
    """Nobody undoes what another one has set, however they come between each other."""
    firewall.apply_text(declaring(**dict.fromkeys(CHAINS, "ACCEPT")), Family.IPV4)

    def write(chain: str) -> None:
        for policy in ("DROP", "ACCEPT", "DROP"):
            Firewall(str(namespace.path), wait_s=60).apply_text(
                declaring(**{chain: policy}), Family.IPV4
            )

    threads = [threading.Thread(target=write, args=(chain,)) for chain in CHAINS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert policies_of(table(firewall)) == dict.fromkeys(CHAINS, "DROP")


def test_rolled_back_to_the_policies_before(firewall: Firewall, namespace: Namespace) -> None:
    firewall.apply_text(declaring(INPUT="DROP"), Family.IPV4)
    firewall.apply_text(declaring(FORWARD="DROP"), Family.IPV4)
    before = policies_of(table(firewall))
    pending = confirm.start(firewall, Family.IPV4, 60)
    pending.arm(firewall.apply_text(declaring(INPUT="ACCEPT"), Family.IPV4).applied_at)
    assert policies_of(table(firewall)) == {**before, "INPUT": "ACCEPT"}
    pending.reject()
    assert pending.wait()
    assert policies_of(table(firewall)) == before


def test_what_iptables_save_loses_comes_back(firewall: Firewall) -> None:
    """`-p all` of IPv6, for which a packet's headers are followed."""
    firewall.apply_text("*filter\n-A INPUT -p all -j ACCEPT\nCOMMIT\n", Family.IPV6)
    pending = confirm.start(firewall, Family.IPV6, 60)
    pending.arm(firewall.apply_text("*filter\nCOMMIT\n", Family.IPV6).applied_at)
    pending.reject()
    assert pending.wait()
    rules = table(firewall, Family.IPV6).chain("INPUT").rules
    assert [rule.any_protocol for rule in rules] == [True]
    assert format_rule(rules[0], "INPUT", Family.IPV6) == "-A INPUT -j ACCEPT"


def test_nothing_is_guessed_of_policies_that_are_lost(firewall: Firewall) -> None:
    firewall.apply_text(declaring(INPUT="DROP"), Family.IPV4)
    for path in firewall.state_directory().glob("*.json"):
        path.unlink()
    with pytest.raises(StateError, match="no policy is given for FORWARD, INPUT, OUTPUT"):
        firewall.apply_text(declaring(), Family.IPV4)
    firewall.apply_text(declaring(**dict.fromkeys(CHAINS, "DROP")), Family.IPV4)
    assert policies_of(table(firewall)) == dict.fromkeys(CHAINS, "DROP")
