"""Verdicts, paths and counters of simulated packets."""

from __future__ import annotations

import pytest

from bpfilter.errors import RefusedError, RuleError, RuleSyntaxError
from bpfilter.rules.model import Hook
from bpfilter.simulate.facts import MissingFactError
from bpfilter.simulate.packet import Connection, Owner, Packet, PacketType, State, Surroundings
from bpfilter.simulate.run import Outcome, Simulator
from bpfilter.simulate.text import parse_packet
from tests.unit.simulate.support import V6, places, ruleset, simulator

SSH = "tcp 192.0.2.7:40000 > 198.51.100.9:22 syn"
WEB = "tcp 192.0.2.7:40000 > 198.51.100.9:80 syn"
CHAINS = (
    ":web",
    ":deep",
    "-A INPUT -p udp",
    "-A INPUT -p tcp -m tcp --dport 80 -j web",
    "-A INPUT -j ACCEPT",
    "-A web -s 192.0.2.0/24 -g deep",
    "-A web -j DROP",
    "-A deep -p tcp",
    "-A deep -j RETURN",
)


def test_path_is_every_rule_that_matched_in_order() -> None:
    sim = simulator(*CHAINS)
    result = sim.run(WEB, in_interface="eth0")
    assert (result.verdict, result.hook, result.reason) == (Outcome.ACCEPT, Hook.INPUT, "")
    assert places(result) == ["INPUT 2", "web 1", "deep 1", "deep 2", "INPUT 3"]
    assert [step.text for step in result.path][:2] == [
        "-A INPUT -p tcp -m tcp --dport 80 -j web",
        "-A web -s 192.0.2.0/24 -g deep",
    ]
    assert result.path[0].rule == sim.table.chain("INPUT").rules[1]
    assert places(sim.run(SSH, in_interface="eth0")) == ["INPUT 3"]


def test_policy_is_the_last_step() -> None:
    result = simulator("-A INPUT -p udp -j ACCEPT").run(SSH, in_interface="eth0")
    assert (result.verdict, places(result)) == (Outcome.DROP, ["INPUT 0"])
    assert result.path[0].text == "-P INPUT DROP"
    assert result.path[0].rule is None


def test_counters_add_up_and_paths_do_not() -> None:
    sim = simulator("-A INPUT -p tcp", "-A OUTPUT -p tcp -j ACCEPT")
    for _ in range(3):
        assert places(sim.run(SSH, in_interface="eth0")) == ["INPUT 1", "INPUT 0"]
    sim.run(f"{SSH} len=100", out_interface="eth0")
    # unseen, aborted; policies of INPUT, FORWARD, OUTPUT; the two rules
    assert sim.totals() == [0, 0, 0, 0, 3, 120, 0, 0, 0, 0, 3, 120, 1, 100]


@pytest.mark.parametrize(
    ("given", "hook"),
    [
        ({"in_interface": "eth0"}, "INPUT"),
        ({"out_interface": "eth0"}, "OUTPUT"),
        ({"in_interface": "eth0", "out_interface": "eth1"}, "FORWARD"),
        ({"in_interface": "eth0", "hook": Hook.FORWARD}, "FORWARD"),
    ],
)
def test_interfaces_tell_the_hook(given: dict[str, str], hook: str) -> None:
    assert simulator().run(SSH, **given).path[0].chain == hook  # type: ignore[arg-type]


def test_somewhere_a_packet_must_be() -> None:
    with pytest.raises(RuleError, match="say where the packet is met"):
        simulator().run(SSH)
    with pytest.raises(RuleError, match="no rules at PREROUTING"):
        simulator().run(SSH, Hook.PREROUTING)


def test_interfaces_are_compared_by_name() -> None:
    sim = simulator(
        "-A FORWARD -i eth0 -o eth1 -j ACCEPT", "-A FORWARD -i ppp+ ! -o eth1 -j ACCEPT"
    )
    for names, rule in (
        (("eth0", "eth1"), "FORWARD 1"),
        (("ppp7", "eth0"), "FORWARD 2"),
        (("ppp7", "eth1"), "FORWARD 0"),
        (("eth01", "eth1"), "FORWARD 0"),
    ):
        result = sim.run(SSH, in_interface=names[0], out_interface=names[1])
        assert places(result) == [rule], names


def test_ipv6() -> None:
    sim = simulator("-A INPUT -p tcp -m tcp --dport 80 -j ACCEPT", family=V6)
    result = sim.run("tcp [2001:db8::1]:4000 > [2001:db8::2]:80", in_interface="eth0")
    assert places(result) == ["INPUT 1"]
    with pytest.raises(RuleSyntaxError, match="IPv6 packet is needed"):
        sim.run(SSH, in_interface="eth0")


def test_interface_names_have_a_limit() -> None:
    sim = simulator("-A INPUT -i abcdefghijklmno -j ACCEPT")
    assert places(sim.run(SSH, in_interface="abcdefghijklmno")) == ["INPUT 1"]
    with pytest.raises(RuleError, match="longer than 15 bytes"):
        sim.run(SSH, in_interface="abcdefghijklmnop")


@pytest.mark.parametrize(
    ("state", "reply", "rule"),
    [
        ("new", False, 1),
        ("established", False, 2),
        ("established", True, 2),
        ("related", False, 3),
        ("invalid", False, 4),
        ("untracked", False, 5),
    ],
)
def test_connection_states(state: str, reply: bool, rule: int) -> None:
    names = ("NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED")
    sim = simulator(*(f"-A INPUT -m conntrack --ctstate {name} -j ACCEPT" for name in names))
    around = Surroundings("eth0", connection=Connection(reply=reply))
    result = sim.run(SSH, state=state, around=around)
    assert places(result) == [f"INPUT {rule}"]


def test_states_have_names() -> None:
    with pytest.raises(RuleError, match="no connection state 'old': new, established"):
        simulator().run(SSH, in_interface="eth0", state="old")


ORIGINAL = Surroundings("eth0", connection=Connection(State.ESTABLISHED))
REPLY = Surroundings("eth0", connection=Connection(State.ESTABLISHED, reply=True))
ANSWER = "tcp 198.51.100.9:22 > 192.0.2.7:40000 ack"


@pytest.mark.parametrize(
    ("options", "packet", "around", "matches"),
    [
        ("--ctdir ORIGINAL", SSH, ORIGINAL, True),
        ("--ctdir REPLY", SSH, ORIGINAL, False),
        ("--ctdir REPLY", ANSWER, REPLY, True),
        ("--ctorigsrc 192.0.2.7 --ctorigdst 198.51.100.9", SSH, ORIGINAL, True),
        ("--ctorigsrc 192.0.2.7 --ctorigdst 198.51.100.9", ANSWER, REPLY, True),
        ("--ctreplsrc 198.51.100.9 --ctrepldst 192.0.2.7", ANSWER, REPLY, True),
        ("--ctorigsrc 192.0.2.7", ANSWER, ORIGINAL, False),
        ("--ctorigsrcport 40000 --ctorigdstport 22", ANSWER, REPLY, True),
        ("--ctreplsrcport 22 --ctrepldstport 40000", SSH, ORIGINAL, True),
        ("--ctproto tcp", SSH, ORIGINAL, True),
        ("--ctproto udp", SSH, ORIGINAL, False),
        ("--ctstatus ASSURED", SSH, ORIGINAL, True),
        ("--ctstatus ASSURED", SSH, Surroundings("eth0", connection=Connection()), False),
        (
            "--ctstatus EXPECTED",
            SSH,
            Surroundings("eth0", connection=Connection(status=1)),
            True,
        ),
        (
            "--ctexpire 30",
            SSH,
            Surroundings("eth0", connection=Connection(expires_s=30)),
            True,
        ),
        (
            "--ctexpire 29",
            SSH,
            Surroundings("eth0", connection=Connection(expires_s=30)),
            False,
        ),
    ],
)
def test_connection_entry(options: str, packet: str, around: Surroundings, matches: bool) -> None:
    result = simulator(f"-A INPUT -m conntrack {options} -j ACCEPT").run(packet, around=around)
    assert (result.verdict is Outcome.ACCEPT) is matches


def test_connection_entry_of_ipv6() -> None:
    options = "--ctorigsrc 2001:db8::1 --ctrepldst 2001:db8::1 --ctorigdstport 80"
    sim = simulator(f"-A INPUT -m conntrack {options} -j ACCEPT", family=V6)
    result = sim.run("tcp [2001:db8::1]:4000 > [2001:db8::2]:80", around=ORIGINAL)
    assert result.verdict is Outcome.ACCEPT


@pytest.mark.parametrize(
    ("match", "around", "packet", "accepted"),
    [
        ("-m mark --mark 5", Surroundings("eth0", mark=5), SSH, True),
        ("-m mark --mark 5", Surroundings("eth0", mark=5), f"{SSH} mark=6", False),
        ("-m mark --mark 0x6/0xf", Surroundings("eth0"), f"{SSH} mark=0x16", True),
        (
            "-m connmark --mark 9",
            Surroundings("eth0", connection=Connection(mark=9)),
            SSH,
            True,
        ),
        ("-m mac --mac-source 02:00:00:00:00:01", Surroundings("eth0"), SSH, False),
        (
            "-m mac --mac-source 02:00:00:00:00:01",
            Surroundings("eth0"),
            f"{SSH} mac=02:00:00:00:00:01",
            True,
        ),
        (
            "-m mac --mac-source 02:00:00:00:00:01",
            Surroundings("lo"),
            f"{SSH} mac=02:00:00:00:00:01",
            False,
        ),
        ("-m pkttype --pkt-type unicast", Surroundings("eth0"), SSH, True),
        (
            "-m pkttype --pkt-type broadcast",
            Surroundings("eth0"),
            "udp 192.0.2.7:68 > 255.255.255.255:67",
            True,
        ),
        (
            "-m pkttype --pkt-type multicast",
            Surroundings("eth0"),
            "udp 192.0.2.7:5353 > 224.0.0.251:5353",
            True,
        ),
        ("-m length --length 40", Surroundings("eth0"), SSH, True),
        ("-m ttl --ttl-eq 3", Surroundings("eth0"), f"{SSH} ttl=3", True),
        ("-p tcp -m tcp --tcp-option 8", Surroundings("eth0"), f"{SSH} opt=1,8", True),
        ("-p tcp -m tcp --tcp-option 8", Surroundings("eth0"), f"{SSH} opt=1,9", False),
    ],
)
def test_facts_reach_the_rules(
    match: str, around: Surroundings, packet: str, accepted: bool
) -> None:
    result = simulator(f"-A INPUT {match} -j ACCEPT").run(packet, around=around)
    assert (result.verdict is Outcome.ACCEPT) is accepted


def test_multicast_of_ipv6() -> None:
    sim = simulator("-A INPUT -m pkttype --pkt-type multicast -j ACCEPT", family=V6)
    assert sim.run("icmpv6 fe80::1 > ff02::1", in_interface="eth0").verdict is Outcome.ACCEPT
    assert sim.run("icmpv6 fe80::1 > fe80::2", in_interface="eth0").verdict is Outcome.DROP
    told = Packet(parse_packet("icmpv6 fe80::1 > fe80::2").data, kind=PacketType.MULTICAST)
    assert sim.run(told, in_interface="eth0").verdict is Outcome.ACCEPT


def test_owner_of_a_socket() -> None:
    sim = simulator(
        "-A OUTPUT -m owner --uid-owner 1000 --gid-owner 100-200 -j ACCEPT",
        "-A OUTPUT -m owner ! --socket-exists -j ACCEPT",
    )
    for owner, step in ((Owner(1000, 150), 1), (Owner(1000, 50), 0), (Owner(0, 150), 0)):
        result = sim.run(SSH, around=Surroundings(out_interface="eth0", owner=owner))
        assert places(result) == [f"OUTPUT {step}"], owner
    assert places(sim.run(SSH, out_interface="eth0")) == ["OUTPUT 2"]


@pytest.mark.parametrize("groups", [(), (5,), (1, 9), (1, 5, 9), tuple(range(0, 4000, 5))])
@pytest.mark.parametrize("invert", ["", "! "])
def test_supplementary_groups(groups: tuple[int, ...], invert: str) -> None:
    """Lists of any length, searched for one number, a range, and again and again."""
    asked = [(number, number) for number in (0, 1, 4, 5, 6, 9, 10, 3995, 4000, 2**32 - 2)]
    asked += [(0, 0), (2, 4), (6, 8), (2, 9), (10, 4000), (3996, 5000), (0, 2**32 - 2)]
    sim = simulator(
        *(
            f"-A OUTPUT -m owner {invert}--gid-owner {low}-{high} --suppl-groups"
            for low, high in asked
        ),
    )
    result = sim.run(SSH, around=Surroundings(out_interface="eth0", owner=Owner(0, 7, groups)))
    mine = [any(low <= group <= high for group in (7, *groups)) for low, high in asked]
    counted = [number for number, found in enumerate(mine, 1) if found is not bool(invert)]
    assert places(result) == [f"OUTPUT {number}" for number in (*counted, 0)]


def test_processors() -> None:
    sim = simulator("-A INPUT -m cpu --cpu 3 -j ACCEPT", cpus=4)
    for cpu, accepted in ((3, True), (1, False)):
        result = sim.run(SSH, around=Surroundings("eth0", cpu=cpu))
        assert (result.verdict is Outcome.ACCEPT) is accepted
        assert len(result.path) == 1
    assert sim.totals()[4:] == [1, 40, 0, 0, 0, 0, 1, 40]


def test_hotdrop_has_a_reason() -> None:
    short = parse_packet(SSH).data[:30]
    result = simulator("-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT").run(short, Hook.INPUT)
    assert (result.verdict, places(result)) == (Outcome.DROP, [])
    assert result.reason == "a match drops packets whose headers are cut short or wrong"


def test_unreadable_packets_have_a_reason() -> None:
    result = simulator("-A INPUT -s 192.0.2.7 -j ACCEPT").run(b"\x45\0\0\0", Hook.INPUT)
    assert (result.verdict, result.reason) == (Outcome.DROP, "the packet cannot be read")


@pytest.mark.parametrize("linear", [None, 0, 20, 33])
def test_where_a_packet_lies_makes_no_difference(linear: int | None) -> None:
    sim = simulator("-A INPUT -p tcp -m tcp --dport 22 --syn -j ACCEPT", linear=linear)
    assert sim.run(SSH, in_interface="eth0").verdict is Outcome.ACCEPT


def test_captures_that_are_cut_short_decide_as_far_as_they_go() -> None:
    sim = simulator(
        "-A INPUT -s 203.0.113.1 -j DROP",
        "-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT",
    )
    whole = parse_packet(f"{SSH} len=500").data
    assert sim.run(Packet(whole[:40], length=500), Hook.INPUT).verdict is Outcome.ACCEPT
    assert sim.totals()[-1] == 500  # what the kernel would count
    result = sim.run(Packet(whole[:30], length=500), Hook.INPUT)
    assert result.verdict is Outcome.UNDECIDED
    assert "only 30 bytes" in result.reason


LIMITED = (
    "-A INPUT -p udp -m udp --dport 53 -m limit --limit 3/min -j ACCEPT",
    "-A INPUT -p tcp -m tcp --dport 22 -m limit --limit 3/min -j LOG",
    "-A INPUT -p tcp -m limit --limit 3/min -m multiport --dports 1:9 -j LOG",
    "-A INPUT -p icmp -j LOG",
    "-A INPUT -p icmp -j REJECT --reject-with icmp-host-prohibited",
    "-A INPUT -p sctp -j MARK --set-mark 1",
    "-A INPUT -m limit --limit 3/min",
    "-A INPUT -j ACCEPT",
)


def test_refused_rules_are_named() -> None:
    with pytest.raises(RefusedError, match="match 'limit'") as caught:
        simulator(*LIMITED)
    assert "REJECT" in "".join(caught.value.__notes__)


@pytest.mark.parametrize(
    ("packet", "verdict", "path"),
    [
        # Rule 7 may match or not; that decides nothing.
        ("udp 192.0.2.7:9 > 198.51.100.9:54", Outcome.ACCEPT, ["INPUT 7?", "INPUT 8"]),
        ("udp 192.0.2.7:9 > 198.51.100.9:53", Outcome.UNDECIDED, ["INPUT 1?"]),
        # Behind a refused match, multiport may drop the packet.
        (SSH, Outcome.UNDECIDED, ["INPUT 2?", "INPUT 3?"]),
        ("icmp 192.0.2.7 > 198.51.100.9", Outcome.DROP, ["INPUT 4", "INPUT 5"]),
        ("sctp 192.0.2.7:9 > 198.51.100.9:9", Outcome.UNDECIDED, ["INPUT 6?"]),
        ("proto 253 192.0.2.7 > 198.51.100.9", Outcome.ACCEPT, ["INPUT 7?", "INPUT 8"]),
    ],
)
def test_partial_results_are_sure(packet: str, verdict: Outcome, path: list[str]) -> None:
    sim = simulator(*LIMITED, partial=True)
    result = sim.run(packet, in_interface="eth0")
    steps = [f"INPUT {step.number}{'?' * bool(step.doubt)}" for step in result.path]
    assert (result.verdict, steps) == (verdict, path)
    assert ("cannot be enforced" in result.reason) is (verdict is Outcome.UNDECIDED)
    for step in result.path:
        assert step.rule == sim.table.chain("INPUT").rules[step.number - 1]


def test_partial_is_the_same_where_nothing_is_refused() -> None:
    for packet in (SSH, WEB, "udp 192.0.2.7:9 > 198.51.100.9:53"):
        results = [
            simulator(*CHAINS, partial=partial).run(packet, in_interface="eth0")
            for partial in (False, True)
        ]
        assert results[0] == results[1]


def test_wrong_rulesets_are_refused() -> None:
    with pytest.raises(RuleError, match="oop"):
        simulator(":a", ":b", "-A INPUT -j a", "-A a -j b", "-A b -j a")
    only_nat = ruleset().__class__(V6, ())
    with pytest.raises(RuleError, match=r"no \*filter table"):
        Simulator(only_nat)


def test_missing_facts_are_asked_for() -> None:
    sim = simulator("-A FORWARD -i eth0 -o eth1 -j ACCEPT")
    with pytest.raises(MissingFactError, match="say --out NAME"):
        sim.run(SSH, Hook.FORWARD, in_interface="eth0")
    with pytest.raises(MissingFactError, match="say --in NAME"):
        sim.run(SSH, Hook.FORWARD, out_interface="eth0")
    assert sim.run(SSH, Hook.INPUT).verdict is Outcome.DROP  # nothing is asked there
