"""netavark: podman's networks, with its iptables driver, for network namespaces as containers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.e2e.clients.host import Host, Play, from_host, to_host
from tests.harness.netns import SERVER
from tests.harness.probes import Probe

#: By name: identity, subnets, and whether it keeps to itself.
NETWORKS = {
    "front": ("a" * 64, ("10.88.0.0/24", "fd00:88::/64"), False),
    "back": ("b" * 64, ("10.89.0.0/24", "fd00:89::/64"), True),
}

CONTAINERS = ("10.88.0.2", "10.89.0.2", "10.88.0.3", "fd00:88::2", "fd00:89::2", "fd00:88::3")


def play(host: Host) -> None:
    host.serve(tcp=(22, 80), udp=(53,))
    host.watch(
        *to_host("tcp/22", "tcp/8080", "tcp/8081", "tcp/9001", "udp/5353"),
        *from_host("tcp/80"),
        Probe("host", "tcp", "127.0.0.1", 8080),
    )
    host.look("before")
    web = _container("1", {"front": 2}, [_port(8080, 80), _port(9000, 9000, count=3)])
    names = _container(
        "2", {"back": 2}, [_port(8081, 80, "10.0.1.1"), _port(5353, 53, kind="udp")]
    )
    # With ports of its own, their rules' order would be that of a hash table of netavark's.
    both = _container("3", {"front": 3, "back": 3}, [])
    for name, container in (("web", web), ("names", names)):
        _setup(host, name, container)
        host.look(name)
    _setup(host, "both", both)
    # Who reaches whom, and the world outside. An address that nobody has would be silent at
    # first and unreachable after some seconds: none is asked for.
    ports = host.probes
    host.watch(
        *ports,
        *(
            Probe(name, "tcp", address, 80)
            for name in ("client", "host", "web", "names", "both")
            for address in (*CONTAINERS, SERVER.v4_peer, SERVER.v6_peer)
        ),
    )
    host.look("both")
    host.watch(*ports)
    for name, container in (("names", names), ("both", both), ("web", web)):
        _netavark(host, "teardown", name, container)
        host.look(f"{name} gone")


def _container(number: str, places: dict[str, int], ports: list[Any]) -> str:
    networks, info = {}, {}
    for order, (name, last) in enumerate(places.items()):
        identity, (v4, v6), isolated = NETWORKS[name]
        addresses = [v4.replace("0/24", str(last)), v6.replace("/64", str(last))]
        networks[name] = {"static_ips": addresses, "interface_name": f"eth{order}"}
        info[name] = {
            "name": name,
            "id": identity,
            "driver": "bridge",
            "network_interface": f"br-{name}",
            "subnets": [
                {"subnet": v4, "gateway": v4.replace("0/24", "1")},
                {"subnet": v6, "gateway": v6.replace("/64", "1")},
            ],
            "ipv6_enabled": True,
            "internal": False,
            "dns_enabled": False,
            "ipam_options": {"driver": "host-local"},
            "options": {"isolate": "true"} if isolated else {},
        }
    return json.dumps(
        {
            "container_id": number * 64,
            "container_name": f"container{number}",
            "port_mappings": ports,
            "networks": networks,
            "network_info": info,
        }
    )


def _port(
    outside: int, inside: int, address: str = "", kind: str = "tcp", count: int = 1
) -> dict[str, Any]:
    return {
        "host_ip": address,
        "host_port": outside,
        "container_port": inside,
        "protocol": kind,
        "range": count,
    }


def _setup(host: Host, name: str, container: str) -> None:
    host.run(f"ip netns add {name}; ip -n {name} link set lo up")
    host.run(f"ip netns exec {name} sysctl -qw net.ipv6.conf.default.accept_dad=0")
    _netavark(host, "setup", name, container)
    networks = json.loads(container)["networks"].values()
    addresses = [address for network in networks for address in network["static_ips"]]
    host.join(name, f"/run/netns/{name}", addresses, tcp=(80, 9001))


def _netavark(host: Host, action: str, name: str, container: str) -> None:
    host.run(
        f"NETAVARK_FW=iptables /usr/lib/podman/netavark --config /run/networks {action} "
        f"/run/netns/{name}",
        stdin=container,
    )


def test_netavark(judge: Callable[[Play], None]) -> None:
    judge(play)
