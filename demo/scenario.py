"""An afternoon in a small office: who talks to whom, and what should come of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from demo.traffic import Host, Traffic
from tests.harness.netns import CLIENT, SERVER, Lab

FIN, SYN, PSH, ACK, URG = 1, 2, 8, 16, 32

#: Addresses besides those of the links: behind the client's and the server's interface.
BEHIND = {
    "client": ("192.0.2.10", "192.0.2.200", "2001:db8:a::10", "2001:db8:a::b0"),
    "server": ("198.51.100.20", "198.51.100.53", "2001:db8:b::20", "2001:db8:b::53"),
}


@dataclass(frozen=True, slots=True)
class Hosts:
    admin: Host
    desk: Host
    guest: Host
    web: Host
    dns: Host
    #: The router, by its address in the office and by that towards the servers.
    router: Host
    uplink: Host


@dataclass(frozen=True, slots=True)
class Step:
    """`hook` is where the router's rules see what opens it."""

    hook: str
    what: str
    run: Callable[[], str]


def step(hook: str, what: str, conversation: Callable[..., str], *about: Host | int) -> Step:
    return Step(hook, what, partial(conversation, *about))


def populate(lab: Lab) -> Hosts:
    """Give the lab's ends their further addresses."""
    for end, addresses in ((lab.client, BEHIND["client"]), (lab.server, BEHIND["server"])):
        end.ip(
            *(f"address add {a}/{128 if ':' in a else 32} dev lo" for a in addresses),
        )
    desk4, guest4, desk6, guest6 = BEHIND["client"]
    web4, dns4, web6, dns6 = BEHIND["server"]
    return Hosts(
        admin=Host("admin", lab.client, CLIENT.v4_peer, CLIENT.v6_peer),
        desk=Host("desk", lab.client, desk4, desk6),
        guest=Host("guest", lab.client, guest4, guest6),
        web=Host("web server", lab.server, web4, web6),
        dns=Host("name server", lab.server, dns4, dns6),
        router=Host("router", lab.firewall, CLIENT.v4, CLIENT.v6),
        uplink=Host("router", lab.firewall, SERVER.v4, SERVER.v6),
    )


def steps(hosts: Hosts, traffic: Traffic) -> list[Step]:
    """Give the afternoon, in order."""
    h, t = hosts, traffic
    return [
        step("FORWARD", "desk asks the name server", t.udp, h.desk, h.dns, 53, 2),
        step("FORWARD", "desk reads a web page", t.tcp, h.desk, h.web, 80, 3),
        step("FORWARD", "desk downloads 100 pieces", t.tcp, h.desk, h.web, 443, 100),
        step("FORWARD", "desk finds port 8001 closed", t.tcp_closed, h.desk, h.web, 8001),
        step("FORWARD", "desk tries to send mail", t.tcp, h.desk, h.web, 25),
        step("FORWARD", "desk tries ssh to a server", t.tcp, h.desk, h.web, 22),
        step("FORWARD", "administrator's ssh to a server", t.tcp, h.admin, h.web, 22, 5),
        step("FORWARD", "desk pings, three times", t.ping, h.desk, h.web, 3),
        step("FORWARD", "desk pings in fragments", t.ping, h.desk, h.web, 2, 4000),
        step("FORWARD", "traceroute, second hop", t.udp_closed, h.desk, h.web, 33435),
        step("INPUT", "traceroute, first hop", t.udp_closed, h.desk, h.web, 33434, 1),
        step("FORWARD", "guest reads a web page", t.tcp, h.guest, h.web, 443, 4),
        step("FORWARD", "guest asks the name server", t.udp, h.guest, h.dns, 53),
        step("FORWARD", "guest tries ssh", t.tcp, h.guest, h.web, 22),
        step("FORWARD", "guest pings", t.ping, h.guest, h.web),
        step("FORWARD", "a server calls out", t.tcp, h.web, h.desk, 443),
        step("FORWARD", "a server pings a desk", t.ping, h.web, h.desk, 2),
        step(
            "FORWARD",
            "a server's address from the office",
            t.udp_spoofed,
            h.desk,
            h.dns,
            h.web,
            53,
        ),
        step("FORWARD", "scan: no flags", t.tcp_segment, h.desk, h.web, 80, 0),
        step("FORWARD", "scan: FIN, PSH, URG", t.tcp_segment, h.desk, h.web, 80, FIN | PSH | URG),
        step("INPUT", "scan: SYN and FIN", t.tcp_segment, h.desk, h.router, 22, SYN | FIN),
        step("FORWARD", "scan: ACK out of the blue", t.tcp_segment, h.desk, h.web, 80, ACK),
        step("FORWARD", "a reply nobody asked for", t.echo_reply, h.desk, h.web),
        step("INPUT", "administrator's ssh to the router", t.tcp, h.admin, h.router, 22, 20),
        step("INPUT", "desk tries ssh to the router", t.tcp, h.desk, h.router, 22),
        step("INPUT", "desk asks the router for a name", t.udp, h.desk, h.router, 53, 3),
        step("INPUT", "desk asks for the time: closed", t.udp_closed, h.desk, h.router, 123),
        step("INPUT", "desk pings the router", t.ping, h.desk, h.router, 3),
        step("INPUT", "desk's large ping", t.ping, h.desk, h.router, 1, 3000),
        step("INPUT", "Windows shouts", t.udp, h.desk, h.router, 137),
        step("INPUT", "a server knocks", t.udp, h.web, h.uplink, 161),
        step("OUTPUT", "router asks the name server", t.udp, h.uplink, h.dns, 53),
        step("OUTPUT", "router reads a web page", t.tcp, h.uplink, h.web, 80, 2),
        step("OUTPUT", "router tries to send mail", t.tcp, h.uplink, h.web, 25),
        step("OUTPUT", "router pings itself", t.ping, h.router, h.router),
        step("OUTPUT", "router pings", t.ping, h.uplink, h.web, 2),
    ]
