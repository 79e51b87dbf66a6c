"""Network namespaces of our own: client, firewall and server, and nothing that talks unasked.

    client ── eth0 [firewall] eth1 ── server

Names carry the process id that made them, so that what a killed run left can be
told apart and removed. Both links have neighbours written in (NUD permanent) and
ARP and neighbour discovery switched off, IPv6 makes no addresses of its own, and
error messages are not rate-limited: what rules count depends on what is sent alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

PREFIX = "bpft-"
CLONE_NEWNET = 0x40000000
NETNS_DIRECTORY = Path("/run/netns")

_libc = ctypes.CDLL(None, use_errno=True)
_serial = itertools.count()

#: /proc/sys/net/… settings of every namespace; `default` reaches interfaces made later.
QUIET: dict[str, int | str] = {
    "ipv4/conf/all/rp_filter": 0,
    "ipv4/conf/default/rp_filter": 0,
    "ipv4/conf/all/send_redirects": 0,
    "ipv4/conf/default/send_redirects": 0,
    "ipv4/conf/all/accept_redirects": 0,
    "ipv4/conf/default/accept_redirects": 0,
    "ipv4/icmp_ratelimit": 0,
    "ipv4/icmp_ratemask": 0,
    "ipv4/ipfrag_time": 86400,
    "ipv4/ipfrag_high_thresh": 1 << 28,
    "ipv4/igmp_qrv": 1,
    "ipv4/tcp_invalid_ratelimit": 0,
    "ipv6/conf/all/accept_ra": 0,
    "ipv6/conf/default/accept_ra": 0,
    "ipv6/conf/default/accept_dad": 0,
    "ipv6/conf/default/dad_transmits": 0,
    "ipv6/conf/default/addr_gen_mode": 1,
    "ipv6/conf/default/autoconf": 0,
    "ipv6/conf/default/router_solicitations": 0,
    "ipv6/conf/default/accept_redirects": 0,
    "ipv6/conf/default/mldv2_unsolicited_report_interval": 0,
    "ipv6/icmp/ratelimit": 0,
    "ipv6/icmp/ratemask": "",
    "ipv6/mld_qrv": 1,
    "ipv6/ip6frag_time": 86400,
    "ipv6/ip6frag_high_thresh": 1 << 28,
    "netfilter/nf_conntrack_frag6_timeout": 86400,
    "netfilter/nf_conntrack_frag6_high_thresh": 1 << 28,
}
FORWARDING = {"ipv4/ip_forward": 1, "ipv6/conf/all/forwarding": 1}


def run(*words: str, stdin: str | None = None) -> str:
    """Run a command and give its output; CalledProcessError notes what it said."""
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        error = subprocess.CalledProcessError(done.returncode, words, done.stdout, done.stderr)
        error.add_note(done.stderr.strip())
        raise error
    return done.stdout


def _setns(fd: int) -> None:
    if _libc.setns(fd, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class Namespace:
    """One network namespace, named in /run/netns; deleted by `close`."""

    def __init__(self, role: str) -> None:
        self.name = f"{PREFIX}{os.getpid()}-{next(_serial)}-{role}"
        run("ip", "netns", "add", self.name)

    @classmethod
    def existing(cls, name: str) -> Namespace:
        """Take over a namespace that is there already, by its name or the path of a file of it."""
        made = cls.__new__(cls)
        made.name = name
        return made

    @property
    def path(self) -> Path:
        return NETNS_DIRECTORY / self.name

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Have the calling thread in this namespace; sockets made here stay in it."""
        with open("/proc/thread-self/ns/net", "rb") as home, self.path.open("rb") as there:
            _setns(there.fileno())
            try:
                yield
            finally:
                _setns(home.fileno())

    def run(self, *words: str, stdin: str | None = None) -> str:
        return run("nsenter", f"--net={self.path}", *words, stdin=stdin)

    def ip(self, *lines: str) -> None:
        """Run `ip` commands in one process."""
        run("ip", "-n", self.name, "-batch", "-", stdin="\n".join(lines) + "\n")

    def sysctl(self, settings: Mapping[str, int | str]) -> None:
        """Write settings under /proc/sys/net; those this kernel has not are left out."""
        with self.entered():
            for key, value in settings.items():
                with contextlib.suppress(FileNotFoundError):
                    Path("/proc/sys/net", key).write_text(f"{value}\n")

    def close(self) -> None:
        if self.path.exists():
            run("ip", "netns", "del", self.name)

    def __enter__(self) -> Namespace:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()


def leftovers(done: int | None = None) -> list[str]:
    """Name the namespaces that runs now dead have left; process `done` counts as dead."""
    if not NETNS_DIRECTORY.exists():
        return []
    found = []
    for path in NETNS_DIRECTORY.glob(f"{PREFIX}*"):
        pid = path.name.removeprefix(PREFIX).split("-")[0]
        if pid.isdigit() and (int(pid) == done or not Path("/proc", pid).exists()):
            found.append(path.name)
    return found


@dataclass(frozen=True, slots=True)
class Side:
    """One link of the firewall: its interface, addresses, and the network behind it."""

    interface: str
    index: int
    mac: str
    peer_mac: str
    v4: str
    v4_peer: str
    v4_behind: str
    v6: str
    v6_peer: str
    v6_behind: str


CLIENT = Side(
    interface="eth0",
    index=10,
    mac="02:00:00:00:01:01",
    peer_mac="02:00:00:00:01:02",
    v4="10.0.1.1",
    v4_peer="10.0.1.2",
    v4_behind="192.0.2.0/24",
    v6="2001:db8:1::1",
    v6_peer="2001:db8:1::2",
    v6_behind="2001:db8:a::/48",
)
SERVER = Side(
    interface="eth1",
    index=11,
    mac="02:00:00:00:02:01",
    peer_mac="02:00:00:00:02:02",
    v4="10.0.2.1",
    v4_peer="10.0.2.2",
    v4_behind="198.51.100.0/24",
    v6="2001:db8:2::1",
    v6_peer="2001:db8:2::2",
    v6_behind="2001:db8:b::/48",
)
SIDES = (CLIENT, SERVER)

#: What addrtype may meet besides hosts: routes that lead nowhere, each in its own way.
DEAD_ENDS = (
    "route add blackhole 203.0.113.0/26",
    "route add unreachable 203.0.113.64/26",
    "route add prohibit 203.0.113.128/26",
    "route add throw 203.0.113.192/26",
    "route add unreachable 2001:db8:dead::/48",
)


class Lab:
    """Client, firewall and server, joined by veth pairs.

    With `wires`, client and server have no addresses: they are ends to send raw
    frames into and capture from, and answer nothing. Without, they are hosts.
    With `bridged`, the firewall joins both links in a bridge, br0, that has its
    addresses, and what it passes on at layer 2 goes by the netfilter hooks too.
    """

    def __init__(self, wires: bool = False, bridged: bool = False) -> None:
        self.bridged = bridged
        self._stack = contextlib.ExitStack()
        try:
            self.client, self.firewall, self.server = (
                self._stack.enter_context(Namespace(role)) for role in ("cl", "fw", "sv")
            )
            self._build(wires)
        except BaseException:
            self._stack.close()
            raise

    @property
    def ends(self) -> tuple[Namespace, Namespace]:
        """The namespaces at the other end of each of SIDES."""
        return self.client, self.server

    def _build(self, wires: bool) -> None:
        for namespace in (self.client, self.firewall, self.server):
            namespace.sysctl(QUIET)
        self.firewall.sysctl(FORWARDING)
        if self.bridged:
            self._make_bridge()
        for side, end in zip(SIDES, self.ends, strict=True):
            if wires:
                end.sysctl({"ipv6/conf/default/disable_ipv6": 1})
            self._connect(side, end)
            if self.bridged:
                self.firewall.ip(f"link set {side.interface} master br0")
                self.firewall.run(
                    *("bridge", "fdb", "replace", side.peer_mac, "dev", side.interface),
                    *("master", "static"),
                )
            self._address_firewall(side, "br0" if self.bridged else side.interface)
            if not wires:
                self._address_end(side, end)
        self.firewall.ip(
            "link set lo up",
            "address add 10.9.9.9/32 dev lo",
            "address add 2001:db8:9::9/128 dev lo nodad",
            *DEAD_ENDS,
        )
        time.sleep(0.2)  # the reports of the router groups just joined go out

    def _make_bridge(self) -> None:
        self.firewall.run(
            *("ip", "link", "add", "br0", "index", "12", "address", CLIENT.mac, "arp", "off"),
            *("type", "bridge", "mcast_snooping", "0", "stp_state", "0", "forward_delay", "0"),
        )
        self.firewall.ip("link set br0 up")
        # Its ports are to have no addresses and send no reports of their own.
        self.firewall.sysctl({"ipv6/conf/default/disable_ipv6": 1})

    def _connect(self, side: Side, end: Namespace) -> None:
        run(
            *("ip", "-n", self.firewall.name, "link", "add", side.interface),
            *("index", str(side.index), "address", side.mac, "arp", "off", "type", "veth"),
            *("peer", "name", "eth0", "address", side.peer_mac, "arp", "off", "netns", end.name),
        )
        for namespace, interface in ((self.firewall, side.interface), (end, "eth0")):
            offloads = ("rx", "tx", "sg", "tso", "gso", "gro", "txvlan", "rxvlan")
            words = [word for name in offloads for word in (name, "off")]
            namespace.run("ethtool", "-K", interface, *words)
        end.ip("link set lo up", "link set eth0 up")
        self.firewall.ip(f"link set {side.interface} up")

    def _address_firewall(self, side: Side, name: str) -> None:
        self.firewall.ip(
            f"address add {side.v4}/24 broadcast + dev {name}",
            f"address add {side.v6}/64 dev {name} nodad",
            f"address replace fe80::1/64 dev {name} nodad",
            f"neighbour replace {side.v4_peer} lladdr {side.peer_mac} nud permanent dev {name}",
            f"neighbour replace {side.v6_peer} lladdr {side.peer_mac} nud permanent dev {name}",
            f"route add {side.v4_behind} via {side.v4_peer} dev {name}",
            f"route add {side.v6_behind} via {side.v6_peer} dev {name}",
        )

    def _address_end(self, side: Side, end: Namespace) -> None:
        end.ip(
            f"address add {side.v4_peer}/24 dev eth0",
            f"address add {side.v6_peer}/64 dev eth0 nodad",
            f"neighbour replace {side.v4} lladdr {side.mac} nud permanent dev eth0",
            f"neighbour replace {side.v6} lladdr {side.mac} nud permanent dev eth0",
            f"route add default via {side.v4}",
            f"route add default via {side.v6}",
        )

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()
