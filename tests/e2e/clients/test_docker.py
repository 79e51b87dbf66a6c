"""dockerd: bridges, isolation between networks, and published ports of real containers."""

from __future__ import annotations

from collections.abc import Callable

from tests.e2e.clients.host import NEIGHBOURS, Host, Play, to_host
from tests.harness.netns import SERVER
from tests.harness.probes import Probe
from tests.harness.waiting import wait_until

DAEMON = (
    *("dockerd", "--storage-driver=vfs", "--exec-opt=native.cgroupdriver=cgroupfs"),
    *("--experimental", "--ip6tables", "--iptables=true", "--bip=172.17.0.1/24"),
)
NETWORKS = (
    "--subnet 172.30.0.0/24 --ipv6 --subnet fd00:30::/64 "
    "-o com.docker.network.bridge.name=br-front front",
    "--subnet 172.31.0.0/24 -o com.docker.network.bridge.name=br-back "
    "-o com.docker.network.bridge.enable_icc=false back",
    "--subnet 172.32.0.0/24 --internal -o com.docker.network.bridge.name=br-inner inner",
)
#: By name, with what addresses and ports it is run.
CONTAINERS = {
    "web": "-p 8080:80",
    "api": "--network front --ip 172.30.0.2 --ip6 fd00:30::2 -p 10.0.1.1:8081:80 -p 5353:53/udp",
    "db": "--network back --ip 172.31.0.2 -p 127.0.0.1:8082:80",
    "peer": "--network back --ip 172.31.0.3",
    "inner": "--network inner --ip 172.32.0.2",
}
ADDRESSES = {
    "web": "172.17.0.2",
    "api": "172.30.0.2",
    "db": "172.31.0.2",
    "peer": "172.31.0.3",
    "inner": "172.32.0.2",
}
PORTS = (
    *to_host("tcp/22", "tcp/8080", "tcp/8081", "tcp/8082", "udp/5353"),
    *to_host("tcp/8080", families="4", source=NEIGHBOURS[0]),
    Probe("host", "tcp", "127.0.0.1", 8080),
    Probe("host", "tcp", "127.0.0.1", 8082),
)


def play(host: Host) -> None:
    host.serve(tcp=(22, 80))
    host.watch(*PORTS)
    _start(host)
    host.look("start")
    for network in NETWORKS:
        host.run(f"docker network create {network}")
    host.look("networks")
    _run_containers(host)
    host.watch(*PORTS, *_between(*CONTAINERS))
    host.look("containers")
    host.run("iptables -I DOCKER-USER -s 192.0.2.10 -j DROP")
    host.run("docker network connect --ip 172.30.0.3 front db")
    host.look("connected, and a rule of the user's")
    host.run("docker network disconnect front db && docker rm -f api peer inner")
    host.watch(*PORTS, *_between("web", "db"))
    host.look("some gone")
    _stop(host)
    host.watch(*PORTS)
    host.look("stop")
    _start(host)
    _run_again(host, "web", "db")
    host.watch(*PORTS, *_between("web", "db"))
    host.look("start again", ordered=False)  # its networks come back as a hash table has them
    host.run("docker rm -f web db && docker network rm front back inner")
    _stop(host)
    host.watch(*PORTS)
    host.look("all gone")


def _between(*names: str) -> tuple[Probe, ...]:
    # An address that nobody has would be silent at first and unreachable after some seconds.
    targets = [ADDRESSES[name] for name in names] + [SERVER.v4_peer]
    return tuple(
        Probe(name, "tcp", address, 80)
        for name in ("client", "host", *names)
        for address in targets
        if ADDRESSES.get(name) != address
    )


def _start(host: Host) -> None:
    host.box.start(*DAEMON, log="/var/log/dockerd")
    wait_until(lambda: "yes" in host.box.shell("docker info >&2 && echo yes; :"), "dockerd", 30)


def _stop(host: Host) -> None:
    host.run("pkill -x dockerd")
    wait_until(lambda: not host.box.shell("pgrep -x dockerd; :"), "dockerd's end", 30)


def _run_containers(host: Host) -> None:
    host.run("mkdir -p /tmp/image/bin && cp /bin/busybox /tmp/image/bin")
    host.run("tar -C /tmp/image -c . | docker import - box")
    for name, words in CONTAINERS.items():
        host.run(
            f"docker run --detach --stop-signal KILL --name {name} {words} "
            "--sysctl net.ipv6.conf.default.accept_dad=0 box /bin/busybox sleep 1000"
        )
        _join(host, name)


def _run_again(host: Host, *names: str) -> None:
    for name in names:
        host.run(f"docker start {name}")
        _join(host, name)


def _join(host: Host, name: str) -> None:
    where = host.run(f"docker inspect -f '{{{{.NetworkSettings.SandboxKey}}}}' {name}").strip()
    host.join(name, where.removeprefix("/var"), [ADDRESSES[name]], tcp=[80])


def test_docker(judge: Callable[[Play], None]) -> None:
    judge(play)
