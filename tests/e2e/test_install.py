"""A machine moved to iptables-bpf and back: install, adopt, save, boot, uninstall.

In a world of its own, whose /etc, /usr/sbin and /var/lib are copies that go with it.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.harness.world import in_world

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

_MACHINE = """
mkdir /run/copies
mount -t tmpfs none /run/copies
for place in /etc /usr/sbin /var/lib; do
    copy=/run/copies/$(basename $place)
    mkdir $copy.upper $copy.work
    mount -t overlay -o lowerdir=$place,upperdir=$copy.upper,workdir=$copy.work none $place
done
mkdir -p /run/systemd/system /run/bin
printf '#!/bin/sh\\necho systemctl "$@" >> /run/systemctl.log\\n' > /run/bin/systemctl
chmod +x /run/bin/systemctl
mkdir -p /run/opt/bin
printf '#!%s\nfrom bpfilter.cli.main import run\nrun()\n' "$1" > /run/opt/bin/bpfilter
for family in iptables ip6tables; do
    for verb in "" -save -restore; do
        printf '#!%s\nfrom bpfilter.iptables.program import run\nrun()\n' "$1" \\
            > /run/opt/bin/$family-bpf$verb
    done
done
chmod +x /run/opt/bin/*
PATH=/run/opt/bin:/run/bin:$PATH
selected() { update-alternatives --query $1 | sed -n '/^$/q; s/^Value: .*\\///p; s/^Status: //p'; }
passes() { ping -c 1 -W 0.3 $1 > /dev/null; }
blocked() { ! passes $1; }
"""

_MOVE = """
before=$(selected iptables; selected ip6tables)
iptables -V | grep -q nf_tables
iptables -A INPUT -d 127.0.0.2 -j DROP
iptables -t nat -A OUTPUT -d 127.0.0.9 -j ACCEPT
ip6tables -P FORWARD DROP
blocked 127.0.0.2

bpfilter install --set
test -e /etc/bpfilter.conf
grep -q "^ExecStart=/run/opt/bin/bpfilter restore --boot" /etc/systemd/system/bpfilter.service
grep -q daemon-reload /run/systemctl.log
iptables -V
blocked 127.0.0.2
bpfilter adopt
bpfilter save
blocked 127.0.0.2
iptables -A INPUT -d 127.0.0.3 -j DROP
blocked 127.0.0.3
iptables-save | grep -c -e '-A INPUT' -e '-A OUTPUT'
iptables-nft -S

echo as after a reboot
bpfilter clear
iptables-nft -t nat -F
passes 127.0.0.2
$(sed -n 's/^ExecStart=//p' /etc/systemd/system/bpfilter.service)
blocked 127.0.0.2
iptables-save | grep -e '-A OUTPUT'

echo released
bpfilter release
bpfilter adopt

echo and back
bpfilter uninstall --dry-run > /dev/null
iptables -V
bpfilter uninstall
iptables -V | grep -q nf_tables
iptables -S INPUT
blocked 127.0.0.2
test "$before" = "$(selected iptables; selected ip6tables)"
bpfilter status | grep IPv
ls /etc/bpfilter /usr/sbin/iptables-bpf /etc/systemd/system/bpfilter.service \\
   /var/lib/bpfilter /etc/bpfilter.conf 2>&1 || :
"""


def test_there_and_back() -> None:
    said = in_world(_MACHINE + _MOVE, sys.executable).splitlines()
    there = said.index("iptables v1.8.11 (bpf)")
    assert said[there - 1].startswith("filter rules of iptables-nft, ip6tables-nft are in force")
    assert "IPv4: 1 rule of iptables-nft enforced as eBPF; its filter table is empty now" in said
    assert said[there + 3 :][:5] == [
        "3",
        "-P INPUT ACCEPT",
        "-P FORWARD ACCEPT",
        "-P OUTPUT ACCEPT",
        "as after a reboot",
    ]
    released = said.index("released")
    assert said[released - 1] == "-A OUTPUT -d 127.0.0.9/32 -j ACCEPT"
    assert any("/usr/sbin/iptables still is iptables-bpf" in line for line in said[released:])
    back = said.index("and back")
    assert said[back + 1] == "iptables v1.8.11 (bpf)"
    assert said[back + 2 :][:2] == [
        "IPv4: 1 rule given to iptables-nft; nothing is enforced as eBPF any more",
        "IPv6: 0 rules given to ip6tables-nft; nothing is enforced as eBPF any more",
    ]
    end = said.index("-P INPUT ACCEPT", back)
    assert said[end + 1 :][:3] == [
        "-A INPUT -d 127.0.0.2/32 -j DROP",
        "IPv4: no rules in force",
        "IPv6: no rules in force",
    ]
    assert sum("cannot access" in line for line in said[end:]) == 4
    assert {"rules.v4", "rules.v6"} < set(said[end:])


def test_uninstall_that_cannot_release_changes_nothing() -> None:
    script = """
    iptables -A INPUT -d 127.0.0.2 -j DROP
    bpfilter install --set > /dev/null
    bpfilter adopt > /dev/null
    ip netns add other
    echo '*filter' > /run/empty.v4
    echo COMMIT >> /run/empty.v4
    bpfilter apply --netns other /run/empty.v4
    iptables-nft -A INPUT -d 127.0.0.3 -j DROP
    ! bpfilter uninstall
    selected iptables
    blocked 127.0.0.2
    bpfilter uninstall --keep-rules | head -2
    selected iptables
    blocked 127.0.0.2
    bpfilter clear
    bpfilter clear --netns other
    """
    said = in_world(_MACHINE + script, sys.executable).splitlines()
    refusal, elsewhere, *others = said
    assert elsewhere.startswith("rules in other network namespaces (")
    assert "iptables-nft has filter rules of its own" in refusal
    assert "nothing was uninstalled (--keep-rules" in refusal
    assert others[:2] == ["manual", "iptables-bpf"]
    assert "rules of IPv4 stay in force as they are, until the next boot" in others
    assert others[-2:] == ["auto", "iptables-nft"]


def test_the_machine_was_left_alone() -> None:
    done = subprocess.run(
        ["update-alternatives", "--list", "iptables"], capture_output=True, text=True, check=False
    )
    assert "bpf" not in done.stdout
