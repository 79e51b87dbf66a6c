"""shorewall and shorewall6: a compiler whose script asks what iptables can, and restores."""

from __future__ import annotations

from collections.abc import Callable

from tests.e2e.clients.host import NEIGHBOURS, Host, Play, from_host, through, to_host

INTERFACES = """\
?FORMAT 2
net     NET_IF  tcpflags,OPTIONSphysical=eth0
loc     LOC_IF  tcpflags,physical=eth1
"""
POLICY = """\
loc     net     ACCEPT
fw      all     ACCEPT
net     all     DROP    info
all     all     REJECT  info
"""
RULES = """\
?SECTION ESTABLISHED
?SECTION RELATED
?SECTION INVALID
?SECTION UNTRACKED
?SECTION NEW
Invalid(DROP)           net     all     tcp
SSH(ACCEPT)             all     $FW
Web(ACCEPT)             net     $FW
Ping(ACCEPT)            all     $FW
DROP                    net:BAD $FW     tcp     8080
ACCEPT                  net     $FW     tcp     8080    -       -       10/sec:50
REJECT                  loc     net     tcp     25
ACCEPT                  net     loc:SERVER      tcp     80,443
ACCEPT:info             net     $FW     tcp     8081    -       -       s:LIMITS:5/min:5
"""
# In the order of shorewall and shorewall6: name, zones' kind, and what stands for BAD and SERVER.
_FAMILIES = (
    (
        "shorewall",
        "ipv4",
        {"BAD": "192.0.2.10", "SERVER": "10.0.2.2", "OPTIONS": "logmartians,nosmurfs,"},
    ),
    (
        "shorewall6",
        "ipv6",
        {"BAD": "[2001:db8:a::bad]", "SERVER": "[2001:db8:2::2]", "OPTIONS": ""},
    ),
)
_TIMES = r"\w{3} \w{3} +\d+ [\d:]+ (\w+ )?\d{4}|\w{3} +\d+ [\d:]{8}"


def _configure(host: Host) -> None:
    for name, kind, words in _FAMILIES:
        files = {"interfaces": INTERFACES, "policy": POLICY, "rules": RULES}
        files["zones"] = f"fw firewall\nnet {kind}\nloc {kind}\n"
        files["stoppedrules"] = "ACCEPT LOC_IF -\nACCEPT - LOC_IF\n"
        if name == "shorewall":
            files["snat"] = "?FORMAT 2\nMASQUERADE 10.0.2.0/24 NET_IF\n"
            files["rules"] += "DNAT net loc:10.0.2.2:80 tcp 8082\n"
        for file, text in files.items():
            for word, meaning in words.items():
                text = text.replace(word, meaning)
            host.box.write(f"/etc/{name}/{file}", text)
        host.run(f"sed -i s/^STARTUP_ENABLED=.*/STARTUP_ENABLED=Yes/ /etc/{name}/{name}.conf")


def play(host: Host) -> None:
    host.serve(tcp=(22, 25, 80, 443, 8080, 8081))
    ports = ("tcp/22", "tcp/80", "tcp/8080", "tcp/443", "icmp")
    host.watch(
        *to_host(*ports),
        *to_host("tcp/22", "tcp/80", at="server"),
        *(probe for by in NEIGHBOURS for probe in to_host(*ports, families="4", source=by)),
        *through("tcp/80", "tcp/22"),
        *through("tcp/80", "tcp/25", "icmp", at="server"),
        *to_host("tcp/8082", families="4"),
        *from_host("tcp/80"),
    )
    host.varying = r"\bsha-[lr]h-[0-9a-f]{20}\b"  # of the files and when they were written
    _configure(host)
    for name, _, _ in _FAMILIES:
        # What it found out by trying; the compiler then need not try again.
        host.tell(f"{name} show -f capabilities | tee /etc/{name}/capabilities", hide="(?m)^#.*")
        host.tell(f"{name} compile -e /etc/{name} /tmp/{name}.script | grep -iE 'error|warning'")
        host.run(f"{name} start")
    host.look("start")
    for probe in to_host("tcp/8081"):
        host.burst(probe, 7)
    host.tell("shorewall status", hide=f"(?m)^State:.*|{_TIMES}")
    host.run(f"shorewall drop {NEIGHBOURS[1]}; shorewall6 reject 2001:db8:1::2")
    host.tell("shorewall show dynamic", hide=_TIMES)
    host.look("blacklisted")
    host.run(f"shorewall allow {NEIGHBOURS[1]}; shorewall6 allow 2001:db8:1::2")
    host.run("sed -i s/8080/8081/ /etc/shorewall/rules && shorewall reload")
    host.look("reload")
    host.run("shorewall save && shorewall stop && shorewall6 stop")
    host.look("stop")
    host.run("shorewall restore")
    host.look("restore")
    host.run("shorewall clear && shorewall6 clear")
    host.look("clear")


def test_shorewall(judge: Callable[[Play], None]) -> None:
    judge(play)
