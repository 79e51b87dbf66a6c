"""firewalld with FirewallBackend=iptables: a D-Bus service that keeps iptables-restore busy."""

from __future__ import annotations

from collections.abc import Callable

from tests.e2e.clients.host import NEIGHBOURS, Host, Play, from_host, through, to_host
from tests.harness.waiting import wait_until

RICH_RULES = (
    'rule family="ipv4" source address="192.0.2.10" reject type="icmp-admin-prohibited"',
    'rule family="ipv4" source address="192.0.2.0/24" service name="https" '
    'log prefix="https " level="info" limit value="3/m" accept',
    'rule family="ipv6" port port="8080" protocol="tcp" accept',
    'rule priority="-10" family="ipv4" destination address="10.0.1.1" port port="8081" '
    'protocol="tcp" drop',
)

STEPS = (
    ("a service", "--add-service=http --permanent"),
    ("a port", "--add-port=8080-8081/tcp --permanent"),
    ("rich rules", " ".join(f"--add-rich-rule='{rule}'" for rule in RICH_RULES) + " --permanent"),
    ("reload", "--reload"),
    ("an interface elsewhere", "--zone=internal --change-interface=eth1"),
    ("masquerading", "--zone=public --add-masquerade"),
    ("a forwarded port", "--add-forward-port=port=8443:proto=tcp:toport=80:toaddr=10.0.2.2"),
    ("a policy", "--permanent --new-policy=out"),
    ("its zones", "--permanent --policy=out --add-ingress-zone=internal --add-egress-zone=public"),
    ("its target", "--permanent --policy=out --set-target=ACCEPT"),
    (
        "its refusals",
        "--permanent --policy=out --add-rich-rule='rule port port=25 protocol=tcp reject'",
    ),
    ("icmp blocked", "--add-icmp-block=echo-request"),
    ("denials logged", "--set-log-denied=unicast"),
    ("an ipset", "--permanent --new-ipset=bad --type=hash:ip"),
    ("its entry", "--permanent --ipset=bad --add-entry=192.0.2.11"),
    ("its rule", "--permanent --add-rich-rule='rule source ipset=bad drop'"),
    ("a complete reload", "--complete-reload"),
    ("runtime to permanent", "--runtime-to-permanent"),
    ("panic", "--panic-on"),
    ("no panic", "--panic-off"),
    (
        "direct",
        "--direct --add-rule ipv4 filter INPUT 0 -p tcp --dport 22 -m length --length 0:9 -j DROP",
    ),
    ("passthrough", "--direct --passthrough ipv6 -I INPUT -p tcp --dport 22 -j REJECT"),
)

#: Those after which there is nothing new to see.
_SILENT = {
    "a port",
    "a policy",
    "its zones",
    "its target",
    "its refusals",
    "an ipset",
    "its entry",
}


def play(host: Host) -> None:
    host.serve(tcp=(22, 25, 80, 443, 8080, 8081))
    ports = ("tcp/22", "tcp/80", "tcp/443", "tcp/8080", "tcp/8081", "icmp")
    host.watch(
        *to_host(*ports),
        *to_host("tcp/22", "tcp/80", at="server"),
        *(probe for by in NEIGHBOURS for probe in to_host(*ports, families="4", source=by)),
        *to_host("tcp/8443", families="4"),
        *through("tcp/80"),
        *through("tcp/80", "tcp/25", at="server"),
        *from_host("tcp/80"),
    )
    host.run(
        "sed -i s/^FirewallBackend=.*/FirewallBackend=iptables/ /etc/firewalld/firewalld.conf"
    )
    host.run("install -d -o messagebus /run/dbus")
    host.box.start("dbus-daemon", "--system", "--nofork", "--nopidfile", log="/var/log/dbus")
    wait_until(
        lambda: "1" in host.box.shell("[ -S /run/dbus/system_bus_socket ] && echo 1; :"), "dbus"
    )
    host.box.start("firewalld", "--nofork", "--nopid", log="/var/log/firewalld.out")
    _wait_until_running(host)
    host.look("start")
    for step, words in STEPS:
        host.tell(f"firewall-cmd {words}")
        if step not in _SILENT:
            host.look(step)
    host.tell("firewall-cmd --list-all-zones")
    host.tell("firewall-cmd --state")
    host.tell("grep -i -e error -e warning /var/log/firewalld", hide=r"(?m)^[\d-]+ [\d:]+")
    host.run("pkill firewalld")
    wait_until(lambda: not host.box.shell("pgrep firewalld; :"), "firewalld's end", 30)
    host.look("stop")


def _wait_until_running(host: Host) -> None:
    def is_running() -> bool:
        return host.box.shell("firewall-cmd --state 2>&1; :").strip() == "running"

    wait_until(is_running, "firewalld runs", 30)


def test_firewalld(judge: Callable[[Play], None]) -> None:
    judge(play)
