"""fail2ban: a chain for each jail, a rule for each address, by sh -c 'iptables -w …'."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.e2e.clients.host import NEIGHBOURS, Host, Play, to_host
from tests.harness.netns import CLIENT
from tests.harness.waiting import wait_until

JAILS = """\
[DEFAULT]
backend = polling
maxretry = 3
findtime = 1h
bantime = 1h
ignoreip = 127.0.0.1/8
logpath = /var/log/knocks.log
filter = knocks

[sshd]
enabled = false

[web]
enabled = true
banaction = iptables-multiport
port = 80,443

[all]
enabled = true
banaction = iptables-allports
filter = floods

[sets]
enabled = true
filter = scans
banaction = iptables-ipset-proto6
port = 22
"""
FILTER = r"""
[Definition]
failregex = ^ WORD from <HOST>$
datepattern = ^EPOCH
"""
V4 = [f"203.0.113.{number}" for number in range(1, 46)]
V6 = [f"2001:db8:bad::{number:x}" for number in range(1, 6)]


def play(host: Host) -> None:
    host.serve(tcp=(22, 80, 443))
    host.watch(
        *to_host("tcp/80", "tcp/22"),
        *to_host("tcp/80", "tcp/22", families="4", source=NEIGHBOURS[0]),
        *to_host("tcp/80", "tcp/22", families="4", source=NEIGHBOURS[1]),
    )
    host.box.write("/etc/fail2ban/jail.local", JAILS)
    for name, word in (("knocks", "knock"), ("floods", "flood"), ("scans", "scan")):
        host.box.write(f"/etc/fail2ban/filter.d/{name}.conf", FILTER.replace("WORD", word))
    host.box.write("/var/log/knocks.log", "")
    host.box.run("fail2ban-client", "start")
    host.look("start")

    _log(host, "knock", NEIGHBOURS[0])
    _wait_for_bans(host, "web", 1)
    _log(host, "scan", NEIGHBOURS[0])
    _wait_for_bans(host, "sets", 1)
    host.look("banned by the log")
    _log(host, "flood", CLIENT.v6_peer)
    _wait_for_bans(host, "all", 1)
    host.look("banned by the log, IPv6")

    host.box.run("fail2ban-client", "set", "web", "banip", *V4, *V6)
    _wait_for_bans(host, "web", 51)
    host.tell("fail2ban-client status web")
    host.look("50 bans")
    host.run(f"fail2ban-client set web unbanip {V4[7]} {NEIGHBOURS[0]}")
    host.run(f"fail2ban-client set web banip {NEIGHBOURS[1]}")
    _wait_for_bans(host, "web", 50)
    host.look("unban")
    host.run("fail2ban-client unban --all")
    for jail in ("web", "all", "sets"):
        _wait_for_bans(host, jail, 0)
    host.look("all unbanned")
    host.run("fail2ban-client reload --restart --unban all")
    host.run(f"fail2ban-client set all banip {NEIGHBOURS[1]}")
    _wait_for_bans(host, "all", 1)
    host.look("banned again")
    host.run("fail2ban-client stop")
    host.tell("ipset list -n")
    host.look("stop")


def _log(host: Host, word: str, address: str) -> None:
    lines = f"{time.time():.3f} {word} from {address}\n" * 3
    host.run("cat >> /var/log/knocks.log", stdin=lines)


def _wait_for_bans(host: Host, jail: str, count: int) -> None:
    # A jail counts an address before its action is done: the rules are what tells.
    rules = {
        "web": "(iptables-save; ip6tables-save) | grep -c -e '-A f2b-web .* REJECT'",
        "all": "(iptables-save; ip6tables-save) | grep -c -e '-A f2b-all .* REJECT'",
        "sets": "ipset save | grep -c '^add f2b-sets'",
    }[jail]

    def is_done() -> bool:
        return host.box.shell(rules, status=None).strip() == str(count)

    wait_until(is_done, f"{count} bans by {jail}", 30)


def test_fail2ban(judge: Callable[[Play], None]) -> None:
    judge(play)
