"""netfilter-persistent with iptables-persistent's plugins: save, flush and start at boot."""

from __future__ import annotations

from collections.abc import Callable

from tests.e2e.clients.host import Host, Play, from_host, through, to_host
from tests.harness.sandbox import FAMILIES

RULES = """\
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:logged - [0:0]
:services - [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -m conntrack --ctstate INVALID -j DROP
-A INPUT -p ipv6-icmp -j ACCEPT
-A INPUT -p tcp -m tcp --syn -m multiport --dports 22,80 -m comment --comment "for all" -j services
-A INPUT -m limit --limit 5/min -j logged
-A INPUT -p tcp -m tcp --dport 443 -j REJECT --reject-with tcp-reset
-A FORWARD -i eth0 -o eth1 -p tcp -m tcp --dport 80 -j ACCEPT
-A FORWARD -m state --state ESTABLISHED -j ACCEPT
-A OUTPUT -p tcp -m tcp --dport 443 -j REJECT
-A logged -j LOG --log-prefix "refused: " --log-level 7 --log-tcp-options
-A services -m hashlimit --hashlimit-upto 50/sec --hashlimit-burst 100 --hashlimit-mode srcip \
--hashlimit-name services -j ACCEPT
COMMIT
*mangle
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -p tcp -m tcp --dport 80 -j MARK --set-xmark 0x1/0xffffffff
-A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -i eth0 -p tcp -m tcp --dport 8080 -j REDIRECT --to-ports 80
-A POSTROUTING -o eth1 -j MASQUERADE
COMMIT
*raw
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A PREROUTING -p udp -m udp --dport 53 -j CT --notrack
COMMIT
"""


def play(host: Host) -> None:
    host.serve(tcp=(22, 80, 443), udp=(53,))
    host.watch(
        *to_host("tcp/22", "tcp/80", "tcp/443", "tcp/8080", "udp/53", "icmp"),
        *through("tcp/80", "tcp/443"),
        *from_host("tcp/80", "tcp/443"),
    )
    for family in FAMILIES:
        host.run(f"{family}-restore", stdin=RULES)
    host.look("restored")
    host.tell("netfilter-persistent save")
    host.look("save")
    host.tell("netfilter-persistent flush")
    host.look("flush")
    host.tell("netfilter-persistent start")
    host.look("start")
    host.run("iptables -D INPUT 1; ip6tables -I services -s 2001:db8::/32 -j RETURN")
    host.tell("netfilter-persistent reload")
    host.look("reload")


def test_netfilter_persistent(judge: Callable[[Play], None]) -> None:
    judge(play)


def test_only_our_filter_table(judge: Callable[[Play], None]) -> None:
    """A file with one table leaves the others alone, and a bad line leaves everything."""

    def one_table(host: Host) -> None:
        for family in FAMILIES:
            host.run(f"{family}-restore", stdin=RULES)
        bad = RULES.replace("-A INPUT -i lo", "-A INPUT --no-such-option")
        host.box.write("/etc/iptables/rules.v4", bad)
        host.tell(
            "netfilter-persistent start; echo exit $?", hide=r"\((legacy|nf_tables|\w*bpf\w*)\)"
        )
        host.look("a bad line")
        host.box.write("/etc/iptables/rules.v4", "*filter\n-A INPUT -j DROP\nCOMMIT\n")
        host.tell("netfilter-persistent start; echo exit $?")
        host.look("one table")

    judge(one_table)
