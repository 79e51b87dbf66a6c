"""ufw: Ubuntu's and Debian's front end for people, by iptables-restore and iptables."""

from __future__ import annotations

from collections.abc import Callable

from tests.e2e.clients.host import Host, Play, from_host, through, to_host

PORTS = ("tcp/80", "tcp/443", "udp/53", "icmp")

STEPS = (
    "ufw allow 22/tcp",
    "ufw deny 80",
    "ufw reject 443/tcp",
    "ufw limit ssh",
    "ufw allow from 192.0.2.0/24 to any port 80 proto tcp",
    "ufw insert 1 deny from 192.0.2.10",
    "ufw allow in on eth0 to any port 53 proto udp comment 'names'",
    "ufw route allow in on eth0 out on eth1 to any port 80 proto tcp",
    "ufw deny out to any port 443 proto tcp",
    "ufw logging high",
    "ufw --force delete deny 80",
    "ufw --force delete 1",
)


def play(host: Host) -> None:
    host.serve(tcp=(22, 80, 443), udp=(53,))
    host.watch(
        *to_host(*PORTS),
        *to_host("tcp/80", families="4", source="192.0.2.10"),
        *to_host("tcp/80", families="4", source="192.0.2.11"),
        *through("tcp/80", "tcp/443"),
        *from_host("tcp/80", "tcp/443"),
    )
    host.look("before")
    # What applies all again, as this does when enabled and `ufw reload` does, takes hundreds of
    # commands: once is enough.
    host.run("ufw default reject routed")
    host.run("ufw --force enable")
    host.tell("ufw status verbose")
    host.look("enable")
    for step in STEPS:
        host.tell(step)
        if "limit" in step:  # six in thirty seconds are too many
            for probe in to_host("tcp/22"):
                host.burst(probe, 8)
        host.look(step)
    host.tell("ufw status numbered")
    host.tell("ufw show raw | sed -E 's/^ *[0-9]+ +[0-9]+//'")
    host.run("ufw disable")
    host.tell("ufw status")
    host.look("disable")


def test_ufw(judge: Callable[[Play], None]) -> None:
    judge(play)
