"""The command in a real namespace: what users see, whatever they feed it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bpfilter import Family, Firewall, parse_saved
from tests.harness.engines import legacy_restore
from tests.harness.legacy import legacy
from tests.harness.netns import Namespace
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.e2e

COMMAND = (sys.executable, "-c", "from bpfilter.cli.main import run; run()")
Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]

CHAINS = ":INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n"
#: Every rule that packets get to lets them go on: the kernel's own tables come after ours.
RULES = f"""\
*filter
{CHAINS}:pings - [0:0]
-A INPUT -i lo -p icmp -j pings
-A INPUT -p udp -m udp --dport 7000:7010 -m comment --comment "a \\"quoted\\" word" -j ACCEPT
-A INPUT ! -s 127.0.0.0/8 -m tcp -p tcp --dport 22 --syn -j DROP
-A INPUT -s 192.0.2.0/255.255.255.0 -j DROP
-A FORWARD -i eth+ -o wlan0 -p 47 -g pings
-A OUTPUT -p icmp -m icmp --icmp-type echo-request -m length --length 80:90
-A OUTPUT -d 127.0.0.1 -f -j RETURN
-A pings -p icmp -m icmp --icmp-type 8 -m ttl --ttl-eq 64 -j RETURN
-A pings -m conntrack --ctstate ESTABLISHED
COMMIT
"""
RULES6 = f"""\
*filter
{CHAINS}:pings - [0:0]
-A INPUT -i lo -p ipv6-icmp -j pings
-A INPUT -p udp -m multiport --dports 7000,7001 -j ACCEPT
-A OUTPUT -s ::1 -p icmpv6 -m icmp6 --icmpv6-type echo-request -m hl --hl-gt 5
-A pings ! -d 2001:db8::/32 -j RETURN
COMMIT
"""
SAVED = {4: RULES, 6: RULES6}


def command(namespace: Namespace) -> Run:
    """Give what runs a command line in a namespace; a traceback fails the test."""

    def invoke(*words: str, stdin: str = "") -> Done:
        full = (*COMMAND, *words, "--netns", str(namespace.path))
        done = subprocess.run(full, input=stdin, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr
        assert "a bug in bpfilter" not in done.stderr
        return done

    return invoke


@pytest.fixture
def run(namespace: Namespace) -> Run:
    return command(namespace)


@pytest.fixture
def files(tmp_path: Path) -> dict[int, str]:
    for version, text in SAVED.items():
        (tmp_path / f"rules.v{version}").write_text(text)
    return {version: str(tmp_path / f"rules.v{version}") for version in SAVED}


def converse(namespace: Namespace) -> None:
    """Ping and send datagrams over loopback, in both families."""
    for address, family in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)):
        namespace.run("ping", "-c", "2", "-i", "0.01", address)
        with namespace.entered():
            sender = socket.socket(family, socket.SOCK_DGRAM)
            listener = socket.socket(family, socket.SOCK_DGRAM)
        with sender, listener:
            listener.bind((address, 7001))
            sender.sendto(bytes(100), (address, 7001))
            assert len(listener.recv(200)) == 100


@pytest.mark.parametrize("version", [4, 6])
def test_lists_what_iptables_lists(
    run: Run, namespace: Namespace, files: dict[int, str], version: int
) -> None:
    # Ours first: it sees a packet before the kernel's tables do.
    assert run("apply", files[version]).returncode == 0
    legacy_restore(namespace, version, SAVED[version])
    converse(namespace)
    judge = "iptables" if version == 4 else "ip6tables"
    family = f"-{version}"
    for ours, theirs in (
        (["list"], ["-S"]),
        (["list", "pings"], ["-S", "pings"]),
        (["list", "-v"], ["-nvL", "-x"]),
        (["list", "-v", "INPUT", "--line-numbers"], ["-nvL", "INPUT", "-x", "--line-numbers"]),
    ):
        assert run(*ours, family).stdout == namespace.run(*legacy(judge), *theirs)
    saved = namespace.run(*legacy(f"{judge}-save"), "-c")
    plain = "".join(line for line in saved.splitlines(True) if not line.startswith("#"))
    assert run("list", "--save", family).stdout == plain
    assert "[0:0] -A INPUT" not in plain.splitlines()[5]  # there was traffic to count
    for each in (4, 6):
        legacy_restore(namespace, each, f"*filter\n{CHAINS}COMMIT\n".replace("DROP", "ACCEPT"))


def test_apply_list_status_zero_clear(
    run: Run, namespace: Namespace, files: dict[int, str]
) -> None:
    assert run("list").stderr == "bpfilter: no rules are in force\n"
    dry = run("apply", "--dry-run", files[4])
    assert dry.returncode == 0
    assert "9 rules verified by the kernel" in dry.stdout
    assert run("status").returncode == 0
    assert json.loads(run("list", "--json").stdout) == []

    applied = run("apply", files[4], files[6])
    assert (applied.returncode, applied.stdout, applied.stderr) == (0, "", "")
    converse(namespace)
    counted = json.loads(run("list", "--json").stdout)
    assert [family["family"] for family in counted] == ["ipv4", "ipv6"]
    first = counted[0]["chains"][0]["rules"][0]
    assert first["rule"] == "-A INPUT -i lo -p icmp -j pings"
    assert (first["packets"], first["bytes"]) == (4, 336)

    status = json.loads(run("status", "--json").stdout)
    assert [family["generation"]["rules"] for family in status["families"]] == [9, 4]
    for family in status["families"]:
        assert [hook["hook"] for hook in family["hooks"]] == ["INPUT", "FORWARD", "OUTPUT"]
        assert all(hook["link_id"] for hook in family["hooks"])
        assert not family["problems"]
    words = run("status")
    assert words.returncode == 0
    assert "9 rules" in words.stdout
    assert "\x1b" not in words.stdout

    assert run("zero", "-4").returncode == 0
    counted = json.loads(run("list", "--json").stdout)
    assert counted[0]["chains"][0]["rules"][0]["packets"] == 0
    assert counted[1]["chains"][0]["rules"][0]["packets"] == 4

    assert run("clear", "-4").stderr == ""
    assert [family["family"] for family in json.loads(run("list", "--json").stdout)] == ["ipv6"]
    assert run("clear").returncode == 0
    assert run("clear").stderr == "bpfilter: nothing was in force\n"


def test_rules_from_standard_input(run: Run) -> None:
    assert run("apply", "-4", "-", stdin=RULES).returncode == 0
    status = json.loads(run("status", "--json").stdout)
    assert status["families"][0]["generation"]["source"] == "-"


def with_line(line: str) -> bytes:
    return f"*filter\n{CHAINS}{line}\nCOMMIT\n".encode()


BAD = {
    "binary": (bytes(range(1, 256)) * 100, ":1:1: "),
    "zeros": (bytes(100_000), ":1:1: "),
    "empty": (b"", "no *filter table"),
    "no COMMIT": (with_line("-A INPUT -j DROP").replace(b"COMMIT\n", b""), "COMMIT"),
    "unknown option": (with_line("-A INPUT --frob 1 -j DROP"), ":5:10: "),
    "unknown match": (with_line("-A INPUT -m frob -j DROP"), ":5:13: "),
    "unknown chain": (with_line("-A INPUT -j nowhere"), ":5:13: "),
    "unknown table": (b"*frob\nCOMMIT\n", ":1:2: "),
    "bad address": (with_line("-A INPUT -s 300.1.2.3 -j DROP"), ":5:13: "),
    "bad port": (with_line("-A INPUT -p tcp --dport 99999 -j DROP"), ":5:25: "),
    "open quote": (with_line('-A INPUT -m comment --comment "x -j DROP'), ":5:"),
    "10 MB word": (with_line("-A INPUT -s " + "1" * 10_000_000), ":5:1: "),
    "10 MB line": (with_line("-A INPUT " + "-s 10.0.0.1 " * 900_000), ":5:"),
    "10 MB chain": (with_line("-N " + "a" * 10_000_000), ":5:"),
    "10 MB of lines": (with_line("\n" * 10_000_000 + "-A INPUT --frob"), ":10000005:10: "),
    "deep negation": (with_line("-A INPUT " + "! " * 1_000_000 + "-s 1.2.3.4"), ":5:"),
    "a loop": (with_line(":a - [0:0]\n:b - [0:0]\n-A INPUT -j a\n-A a -j b\n-A b -j a"), ":9:"),
    "refused": (with_line("-A INPUT -p tcp -j REJECT --reject-with tcp-reset"), ":5:1: "),
    "another table": (b"*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j ACCEPT\nCOMMIT\n", ":3:"),
    "not text": (with_line("-A INPUT -j NIL").replace(b"NIL", b"\xff\xfe\x00"), ":5:15: "),
}


@pytest.fixture(scope="module")
def ruled() -> Iterator[Namespace]:
    """A namespace for many tests, with RULES in force."""
    with Namespace("ruled") as namespace:
        firewall = Firewall(namespace.path)
        firewall.apply(parse_saved(RULES, "rules", Family.IPV4))
        yield namespace
        firewall.clear(Family.IPV4)


@pytest.mark.parametrize("name", BAD)
def test_bad_rules_change_nothing(ruled: Namespace, tmp_path: Path, name: str) -> None:
    data, place = BAD[name]
    path = tmp_path / "bad.v4"
    path.write_bytes(data)
    done = command(ruled)("apply", str(path))
    assert done.returncode == 2
    assert done.stdout == ""
    first, *more = done.stderr.splitlines()
    assert first.startswith("bpfilter: ")
    assert place in first
    if place.startswith(":"):
        assert first.startswith(f"bpfilter: {path}:")
    assert len(first) < 400
    assert len(more) <= 3  # the line, cut, the caret below it, and that there is more of it
    assert len("\n".join(more)) < 400
    assert_unchanged(ruled)


def assert_unchanged(ruled: Namespace) -> None:
    table = Firewall(ruled.path).table(Family.IPV4)
    assert table == parse_saved(RULES, "rules", Family.IPV4).table("filter")


@pytest.mark.parametrize("options", [["--dry-run"], ["--confirm", "60"], ["-c", "-v"]])
def test_refused_rules_change_nothing(
    ruled: Namespace, tmp_path: Path, options: list[str]
) -> None:
    path = tmp_path / "refused.v4"
    path.write_bytes(BAD["refused"][0])
    done = command(ruled)("apply", *options, str(path))
    assert done.returncode == 2
    assert "'REJECT' cannot be enforced" in done.stderr
    assert_unchanged(ruled)
    assert command(ruled)("confirm").returncode == 1


def test_refusals_are_told_all_at_once(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "rules.v4"
    path.write_bytes(with_line("-A INPUT -j REJECT\n-A OUTPUT -j LOG"))
    lines = run("apply", str(path)).stderr.splitlines()
    assert [line.split(": ")[1] for line in lines if line.startswith("bpfilter: ")] == [
        f"{path}:5:1",
        f"{path}:6:1",
    ]


NO_CAPABILITIES = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all")
USER_NAMESPACE = ("unshare", "--user", "--map-root-user")


@pytest.mark.parametrize(
    ("before", "missing"),
    [(NO_CAPABILITIES, "CAP_BPF"), (NOBODY, "CAP_BPF"), (USER_NAMESPACE, "user namespace")],
    ids=["no capabilities", "nobody", "root of a user namespace"],
)
@pytest.mark.parametrize(
    "words",
    [["apply", "FILE"], ["apply", "--dry-run", "FILE"], ["list"], ["status"], ["zero"], ["clear"]],
    ids=" ".join,
)
def test_without_privileges(
    namespace: Namespace, before: tuple[str, ...], missing: str, words: list[str]
) -> None:
    if before is NOBODY:
        can = subprocess.run((*before, *COMMAND, "--version"), capture_output=True, check=False)
        if can.returncode:
            pytest.skip("user nobody cannot read this directory")
    # Rules on standard input: nobody could not read the test's files.
    words = ["-" if word == "FILE" else word for word in words]
    done = subprocess.run(
        (*before, *COMMAND, *words), input=RULES, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert missing in done.stderr
    assert done.stderr.startswith("bpfilter: ")
    assert done.stderr.count("\n") == 1


def test_a_namespace_that_is_not_there() -> None:
    done = subprocess.run(
        (*COMMAND, "list", "--netns", "bpft-no-such"), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "bpft-no-such" in done.stderr
    assert done.stderr.count("\n") == 1


def test_not_confirmed_rolls_back(run: Run, files: dict[int, str], tmp_path: Path) -> None:
    assert run("apply", files[4]).returncode == 0
    before = run("list").stdout
    other = tmp_path / "other.v4"
    other.write_bytes(with_line("-A INPUT -p tcp -j DROP"))
    done = run("apply", "--confirm", "3", str(other))
    assert done.returncode == 1
    assert "run 'bpfilter confirm' within " in done.stdout
    assert "not confirmed; the rules before are in force again" in done.stderr
    assert run("list").stdout == before


@pytest.fixture
def waiting(namespace: Namespace, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """An `apply --confirm` whose rules are in force and not confirmed yet."""
    other = tmp_path / "other.v4"
    other.write_bytes(with_line("-A INPUT -p tcp -j DROP"))
    words = ("apply", "--confirm", "30", str(other), "--netns", str(namespace.path))
    firewall = Firewall(namespace.path)
    with subprocess.Popen(
        (*COMMAND, *words),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_until(lambda: firewall.table(Family.IPV4), "the rules in force", seconds=20)
        yield process
        process.kill()


def test_confirmed_from_elsewhere_stays(run: Run, waiting: subprocess.Popen[str]) -> None:
    assert run("confirm").returncode == 0
    out, err = waiting.communicate(timeout=20)
    assert waiting.returncode == 0
    assert "the new rules stay in force" in out
    assert not err
    assert "-A INPUT -p tcp -j DROP" in run("list").stdout
    assert run("confirm").returncode == 1
