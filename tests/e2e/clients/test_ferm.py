"""ferm: a language for rules, handed over whole by iptables-restore.

It calls iptables-legacy by that name where there is one, whatever iptables is; for others to be
called there must be none (find_tool() in /usr/sbin/ferm).
"""

from __future__ import annotations

from collections.abc import Callable

from tests.e2e.clients.host import NEIGHBOURS, Host, Play, from_host, through, to_host
from tests.harness.sandbox import Command

RICH = """\
@def $OUTSIDE = eth0;
@def $INSIDE = eth1;
@def $WEB = (80 443);
@def &FORWARD_TO($proto, $port, $dest) = {
    domain ip {
        table filter chain FORWARD interface $OUTSIDE outerface $INSIDE
            daddr $dest proto $proto dport $port ACCEPT;
        table nat chain PREROUTING interface $OUTSIDE proto $proto dport $port
            DNAT to "$dest";
    }
}
domain (ip ip6) {
    table filter {
        chain (INPUT FORWARD) {
            policy DROP;
            mod state state INVALID DROP;
            mod conntrack ctstate (ESTABLISHED RELATED) ACCEPT;
        }
        chain INPUT {
            interface lo ACCEPT;
            proto tcp syn dport ssh @subchain "ssh" {
                proto tcp mod recent name SSH {
                    set NOP;
                    update seconds 60 hitcount 5 REJECT reject-with tcp-reset;
                }
                ACCEPT;
            }
            proto tcp dport $WEB mod connlimit connlimit-above 64 DROP;
            proto tcp mod multiport destination-ports $WEB mod comment comment "the web" ACCEPT;
            proto udp dport 53 mod limit limit 100/second limit-burst 200 ACCEPT;
            mod pkttype pkt-type multicast DROP;
            LOG log-prefix "dropped: " log-level debug log-ip-options;
        }
        chain FORWARD {
            interface $INSIDE outerface $OUTSIDE jump outgoing;
            proto tcp tcp-flags (SYN RST) SYN TCPMSS clamp-mss-to-pmtu;
        }
        chain outgoing {
            proto (tcp udp) dport 25 REJECT;
            mod mark mark 0x2/0xff RETURN;
            ACCEPT;
        }
        chain OUTPUT {
            policy ACCEPT;
            outerface $INSIDE proto tcp dport 443 mod owner uid-owner 0 REJECT;
        }
    }
    table mangle chain PREROUTING {
        interface $INSIDE proto tcp dport 443 MARK set-mark 2;
        proto tcp dport ssh TOS set-tos Minimize-Delay;
    }
}
domain ip {
    table filter chain INPUT {
        proto icmp icmp-type echo-request mod length length 0:1500 ACCEPT;
        saddr 192.0.2.10 DROP;
        mod iprange src-range 192.0.2.11-192.0.2.20 proto tcp dport 8080 ACCEPT;
    }
    table nat chain POSTROUTING outerface $OUTSIDE saddr 10.0.2.0/24 MASQUERADE;
    table raw chain PREROUTING proto udp dport 53 CT notrack;
}
domain ip6 table filter chain INPUT {
    proto ipv6-icmp icmpv6-type (neighbour-solicitation neighbour-advertisement echo-request)
        ACCEPT;
    mod rt rt-type 0 DROP;
}
&FORWARD_TO(tcp, 8443, 10.0.2.2);
"""


def _prepare(host: Host) -> None:
    if host.box.command is not Command.LEGACY:
        host.run("rm /usr/sbin/*tables-legacy*")
    host.serve(tcp=(22, 25, 80, 443, 8080, 8443), udp=(53, 500))
    ports = ("tcp/80", "tcp/443", "tcp/8080", "udp/53", "udp/500", "icmp")
    host.watch(
        *to_host(*ports),
        *(
            probe
            for source in NEIGHBOURS
            for probe in to_host(*ports, families="4", source=source)
        ),
        *through("tcp/22", "tcp/8443"),
        *through("tcp/25", "tcp/80", "tcp/443", at="server"),
        *to_host("tcp/8443", families="4"),
        *from_host("tcp/80", "tcp/443"),
    )


def debian_example(host: Host) -> None:
    _prepare(host)
    host.look("before")
    host.tell("ferm --noexec --lines /etc/ferm/ferm.conf", hide="(?m)^#.*")
    host.run("ferm /etc/ferm/ferm.conf")
    host.look("applied")
    host.run("ferm --flush /etc/ferm/ferm.conf")
    host.look("flushed")


def rich_example(host: Host) -> None:
    _prepare(host)
    host.box.write("/etc/ferm/rich.conf", RICH)
    host.run("ferm /etc/ferm/rich.conf")
    for probe in to_host("tcp/22"):
        host.burst(probe, 7)
    host.look("applied")
    host.box.write("/etc/ferm/rich.conf", RICH.replace("(80 443)", "(80)"))
    host.run("ferm --slow /etc/ferm/rich.conf")
    host.look("applied rule by rule")
    host.run("ferm --remote --noflush /etc/ferm/ferm.conf | grep -q -- '-A INPUT' ")
    host.run("ferm --flush /etc/ferm/rich.conf")
    host.look("flushed")


def test_debian_example(judge: Callable[[Play], None]) -> None:
    judge(debian_example)


def test_rich_example(judge: Callable[[Play], None]) -> None:
    judge(rich_example)
