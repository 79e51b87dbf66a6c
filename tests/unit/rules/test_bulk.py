"""Large rulesets as columns: the same rules as line by line, or none at all."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import numpy as np
import pytest

from bpfilter.errors import SourceError
from bpfilter.rules import keys, lexing, saved, section
from bpfilter.rules.bulk import Slot, read_bulk
from bpfilter.rules.model import Family
from bpfilter.rules.saved import MAX_LINE_BYTES, SavedLines, parse_saved
from tests.harness.fuzz_parser import BITS, corpus, mangled
from tests.harness.rules_gen import Knobs, random_ruleset
from tests.unit.rules.bulk_support import filter_table, read_both
from tests.unit.rulesets import RealRuleset, rulesets

V4, V6 = Family.IPV4, Family.IPV6
SEED = int(os.environ.get("BPFILTER_SEED", random.SystemRandom().randrange(1 << 30)))

USER = ("KUBE-SVC-A", "KUBE-SEP-B", "user", "LOG")


@pytest.fixture(params=["as they lie", "all of one code", "by keys"])
def _few(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare even a few lines as they lie in the text, in blocks, or all by their keys."""
    if request.param != "by keys":
        monkeypatch.setattr(keys, "_FEW", 2)
        monkeypatch.setattr(section, "_BLOCK_LINES", 7)
    if request.param == "all of one code":
        monkeypatch.setattr(keys, "_FACTOR", np.uint64(0))


def slots_of(line: str, family: Family = V4) -> set[str] | None:
    """Give the slots of a line, None if the text is not read as columns."""
    bulk = read_both(filter_table(line, chains=USER), family)
    if bulk is None:
        return None
    (shape,) = bulk["filter"].shapes
    return {slot.value for slot in shape.slots}


# --- what is a slot


@pytest.mark.parametrize(
    ("words", "slots"),
    [
        ("-s 10.1.2.3/32 -d 10.0.0.0/8 -j DROP", "source destination"),
        ("! -s 10.1.2.3 ! -d 1.2.3.4/31", "source destination"),
        ("-p tcp -m tcp --sport 1:1023 --dport 80 -j ACCEPT", "sports dports"),
        ("-p udp -m udp ! --sport 0 --dport 0:65534", "sports dports"),
        ("-p sctp -m sctp --dport 9", "dports"),
        ("-p dccp -m dccp --sport 9", "sports"),
        ("-p udplite -m udplite --sport 9:10", "sports"),
        ("-p tcp --dport 80", "dports"),
        ("-j user", "target"),
        ("-g KUBE-SVC-A", "target"),
        ("-m comment --comment plain", "comment"),
        ('-m comment --comment "a b -s 1.2.3.4 \\"c\\\\\\" \'" -j DROP', "comment"),
        ('-m comment --comment ""', "comment"),
        ('-s 1.2.3.4 -m comment --comment "-s 1.2.3.4"', "source comment"),
        ('-j LOG --log-prefix "-s 1.2.3.4 "', ""),
        ('-p tcp -m string --string "-j user" --algo bm -d 1.2.3.4', "destination"),
    ],
)
def test_slots(words: str, slots: str) -> None:
    assert slots_of(f"-A INPUT {words}") == set(slots.split())


@pytest.mark.parametrize("chain", ["user", "KUBE-SVC-A"])
def test_user_chains_are_slots(chain: str) -> None:
    assert slots_of(f"-A {chain} -p tcp") == {"chain"}


@pytest.mark.usefixtures("_few")
@pytest.mark.parametrize("quoted", ["", ' -m comment --comment "q"'])
def test_names_of_chains(quoted: str) -> None:
    names = ("é", "\udcff", "a\\b", "'", "[", ":", "ä\\", "x=y", "#", "tcp", "DROP2")
    odd = ("-x", "!", "!y", 'a"b', '"c"', "DNAT", "z\r", "LOG")
    lines = [f"-A {name} -p tcp --dport 1{quoted}" for name in names]
    lines += [f"-A INPUT -p tcp --dport 1 -j {name}{quoted}" for name in names]
    assert read_both(filter_table(*lines, *lines, chains=names)) is not None
    for name in odd:
        for line in (f"-A {name} -p tcp --dport 1", f"-A INPUT -p tcp --dport 1 -j {name}"):
            read_both(filter_table(*lines, line + quoted, *lines, chains=(*names, name)))


#: Lines in which one thing is not plain: it is no slot, whatever the ordinary reader says.
NEAR = {
    Slot.SOURCE: [
        "010.1.2.3", "10.1.2.03", "10.1.2", "10", "10.1.2.3.", "10.1.2.3/", "10.1.2.256",
        "10.1.2.3/0", "10.1.2.3/33", "10.1.2.3/08", "10.1.2.3/255.255.0.0", "10.1.2.3/255.0.255.0",
        "1.2.3.4,5.6.7.8", "localhost", "0x0a.1.2.3", "10.1.2.1000", "10.1.2.3/1000", "10..2.3",
        '"10.1.2.3"', "10.1.2.3/8/8", "+1.2.3.4", "1.2.3.4\t-p tcp", "1.2.3.4\r", "1.2.3.4'",
    ],
    Slot.DPORTS: [
        "080", "0:65535", ":80", "80:", ":", "65536", "80:79", "1:65536", "http", "80,81", "0x50",
        "80:080", "000", "80:81:82", "+80", "123456", '"80"', "-1", "80-81",
    ],
    Slot.COMMENT: [
        "-x", "!", "'a b'", "a\tb", "a\t-p tcp", '"a b"\t-p tcp', '\t"a b"', 'a"b"', '"a"b', '"a',
        '"a""b"', '"' + "a" * 256 + '"',
    ],
    Slot.TARGET: [
        "user\t", "user\t-p tcp", "ACCEPT", "nosuch", "LOG", '"user"', "use", "user2", "INPUT", "",
    ],
}  # fmt: skip
OPTIONS = {
    Slot.SOURCE: "-s {}",
    Slot.DPORTS: "-p tcp -m tcp --dport {}",
    Slot.COMMENT: "-m comment --comment {}",
    Slot.TARGET: "-j {}",
}


@pytest.mark.usefixtures("_few")
@pytest.mark.parametrize(
    ("slot", "value"), [(slot, value) for slot, values in NEAR.items() for value in values]
)
def test_near_misses_are_left_to_the_ordinary_reader(slot: Slot, value: str) -> None:
    line = f"-A INPUT {OPTIONS[slot].format(value)}"
    found = slots_of(line)
    assert found is None or slot.value not in found
    good = {
        Slot.SOURCE: "10.1.2.3/32",
        Slot.DPORTS: "80",
        Slot.COMMENT: '"a b"',
        Slot.TARGET: "user",
    }
    others = [f"-A INPUT {OPTIONS[slot].format(good[slot])}"] * 4
    read_both(filter_table(*others, line, *others, chains=USER))


@pytest.mark.parametrize(
    ("value", "is_slot"),
    [
        ("::/128", True), ("::1", True), ("2001:db8::/32", True), ("1:2:3:4:5:6:7:8/1", True),
        ("::ffff:1.2.3.4/96", True), ("FE80::A/64", True), ("::/0", False), ("::1/129", False),
        ("::1/064", False), ("1::2::3", False), ("::1/ffff::", False), ("localhost", False),
        ("fe80::1%lo", False), ("12345::", False), ("1.2.3.4", False), ("::1,::2", False),
        ("1:2:3:4:5:6:7", False), ("::1/", False), ("/64", False),
        ("1111:2222:3333:4444:5555:6666:123.123.123.123/128", True),
    ],
)  # fmt: skip
def test_ipv6_addresses(value: str, is_slot: bool) -> None:
    found = slots_of(f"-A INPUT -d {value} -j DROP", V6)
    assert (found is not None and "destination" in found) is is_slot
    good = "-A INPUT -d 2001:db8::1/64 -j DROP"
    read_both(filter_table(good, good, f"-A INPUT -d {value} -j DROP", good), V6)


@pytest.mark.parametrize(
    "line",
    [
        "-A INPUT -s 1.2.3.4 -s 1.2.3.4",
        "-A INPUT -p tcp -m tcp --dport 80 -m multiport --dports 80,81",
        "-A INPUT -p tcp -m tcp --dport 80 -m tcp --dport 80",
        "-A INPUT -m comment --comment a -m comment --comment a",
        "-A INPUT -m comment --comment a -m comment --comme b",
        "-A INPUT -m comment --commen the -j DROP",
        "-A INPUT -p tcp -m tcp --dpor 80 --sport 80",
        "-A INPUT -m set --match-set -s src -s 1.2.3.4",
        "-A INPUT -m comment --comment -s -s 1.2.3.4",
        "-A INPUT -i -s -s 1.2.3.4",
        "-A INPUT -i -s -j 1.2.3.4",
        "-A INPUT -m recent --name -s --rsource -s 1.2.3.4",
        "-A INPUT  -s  1.2.3.4",
        "-A INPUT -s 1.2.3.4 ",
        " -A INPUT -s 1.2.3.4",
        "-A  user -s 1.2.3.4",
        "-A INPUT --source 1.2.3.4",
        "-AINPUT -s 1.2.3.4",
        "-A INPUT -c 7 8 -s 1.2.3.4",
        "[1:2] -A INPUT -c 7 8 -s 1.2.3.4",
        "[1:2]-A INPUT -s 1.2.3.4",
        "[01:2] -A INPUT -s 1.2.3.4",
        "[1:2] -s 1.2.3.4 -A INPUT",
        "[18446744073709551616:2] -A INPUT -s 1.2.3.4",
        "[18446744073709551615:2] -A INPUT -s 1.2.3.4",
        "[1:2 -A INPUT",
        "-A INPUT -s 1.2.3.4 -m comment --comment é",
        '-A INPUT -s 1.2.3.4 -m comment --comment "é\udcff"',
        "-A é -s 1.2.3.4",
        "-4 -A INPUT -s 1.2.3.4",
        "-6 -A INPUT -s 1.2.3.4",
    ],
)
@pytest.mark.usefixtures("_few")
def test_odd_lines(line: str) -> None:
    for text in (filter_table(line, chains=USER), filter_table(*[line] * 5, chains=USER)):
        read_both(text)
    others = [line.replace("1.2.3.4", f"1.2.3.{n}").replace("80", str(n)) for n in range(9)]
    read_both(filter_table(*others, *reversed(others), chains=USER))


def test_a_slot_that_is_none_stays_in_the_key() -> None:
    lines = [
        f"-A INPUT -s 1.2.3.{n} -p tcp -m tcp --dport {n} -m multiport --dports 80,81"
        for n in range(5)
    ]
    bulk = read_both(filter_table(*lines))
    assert bulk is not None
    assert [shape.slots for shape in bulk["filter"].shapes] == [{Slot.SOURCE}] * 5


# --- whole texts


@pytest.mark.parametrize("ruleset", rulesets(), ids=str)
def test_real_rulesets(ruleset: RealRuleset) -> None:
    text = ruleset.path.read_bytes().decode("utf-8", "surrogateescape")
    read_both(text, ruleset.family)


def test_most_real_rulesets_are_read() -> None:
    found = [each for each in rulesets() if isinstance(each, RealRuleset)]
    if not found:
        pytest.skip("there is no ../shared/rulesets beside the project")
    texts = [(each.path.read_bytes().decode("utf-8", "surrogateescape"), each) for each in found]
    read = [each for text, each in texts if read_bulk(text, "file", each.family) is not None]
    assert len(read) > len(found) / 2


@pytest.mark.usefixtures("_few")
@pytest.mark.parametrize("version", [4, 6])
def test_random_rulesets(version: int) -> None:
    rng = random.Random(SEED)
    read = 0
    for _ in range(25):
        text = random_ruleset(rng, version, Knobs().themed(rng, version))
        read += read_both(text, V4 if version == 4 else V6) is not None
    assert read > 10, f"seed {SEED}"


def test_mangled_rulesets() -> None:
    rng = random.Random(SEED)
    lines = corpus()
    read = 0
    for number in range(300):
        text = mangled(rng, lines)
        try:
            read += read_both(text, rng.choice((V4, V6))) is not None
        except AssertionError:
            print(f"seed {SEED}, text {number}: {text!r}")  # noqa: T201
            raise
    assert read, f"seed {SEED}"


def good_lines(rng: random.Random) -> Iterator[str]:
    """Give lines of a few shapes."""
    for _ in range(4):
        host = ".".join(str(rng.randrange(256)) for _ in range(4))
        length, port = rng.randrange(1, 33), rng.randrange(65536)
        chain = rng.choice(USER[:3])
        yield f"-A INPUT -s {host}/32 -p tcp -m tcp --dport {port} -j DROP"
        yield f"-A INPUT -s {host}/{length} ! -d {host} -j {chain}"
        yield f"[{port}:{length}] -A INPUT -p udp -m udp --sport 0:{port % 65535} -g {chain}"
        yield f"-A INPUT -m comment --comment c{port}.{length} -j {chain}"
        yield f'-A {chain} -m comment --comment "{host} \\"{port}\\"" -m tcp -p tcp --dport 7'


@pytest.mark.usefixtures("_few")
def test_damaged_lines() -> None:
    rng = random.Random(SEED)
    read = 0
    for number in range(600):
        text = filter_table(*good_lines(rng), chains=USER)
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(text))
            damage = rng.choice(("", rng.choice('0123456789./:"\\ -!,\t\n'), rng.choice(BITS)))
            text = text[:at] + damage + text[at + rng.randrange(2) :]
        try:
            read += read_both(text) is not None
        except AssertionError:
            print(f"seed {SEED}, text {number}: {text!r}")  # noqa: T201
            raise
    assert read > 60, f"seed {SEED}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "# nothing\n",
        "*filter\nCOMMIT",
        "*filter\nCOMMIT\n",
        "*filter\n# a comment -s 1.2.3.4\n\n-A INPUT\n#\n-A INPUT -s 1.2.3.4\nCOMMIT\n#",
        '*filter\n-A INPUT -s 1.2.3.4\n# it\\\\ "is\n-A INPUT -m comment --comment "a"\n'
        '#"\n-A INPUT -m comment --comment "b\\\\"\n\nCOMMIT\n',
        "*filter\n-A INPUT -p tcp\n# -s 1.2.3.4\n-A INPUT -s 1.2.3.5\n#-s 1\n-A INPUT\nCOMMIT\n",
        "*nat\n:INPUT DROP [1:2]\n-A INPUT\nCOMMIT\n*filter\n:a - [0:0]\n-A a\nCOMMIT\n",
        "*filter\n:INPUT DROP [1:2]\n-A INPUT\nCOMMIT\n*filter\n-A OUTPUT\nCOMMIT\n",
        "*filter\n:INPUT - [0:0]\n:a - [3:4]\n:b -\n:B -\t[1:2]\n:c - [0:0]\n-A a -j B\nCOMMIT\n",
        "*filter\n:é - [0:0]\n:b - [0:0]\n-A é -j b\n-A b -s 1.2.3.4\nCOMMIT\n",
        "*filter\n-A INPUT -m comment --comment \"\x1b[0m\"\nCOMMIT\n",
        "*filter\n-A INPUT -j ACCEPT\n:a - [0:0]\n-A a\nCOMMIT\n",
    ],
)  # fmt: skip
def test_texts(text: str) -> None:
    read_both(text)


@pytest.mark.parametrize(
    "text",
    [
        "-A INPUT\n",
        "*filter\n-A INPUT\n",
        "-A INPUT\n*filter\nCOMMIT\n",
        "*filter\n-A a\n:a - [0:0]\nCOMMIT\n",
        "*filter\n-A INPUT -j a\n:a - [0:0]\n:b - [0:0]\nCOMMIT\n",
        "*filter\n*filter\nCOMMIT\n",
        "*nosuch\nCOMMIT\n",
        "COMMIT\n",
        filter_table("-A nosuch"),
        filter_table("-A INPUT -s 1.2.3.4", "-A INPUT -s nosuch"),
        filter_table("-A INPUT -j FORWARD"),
        filter_table("-A INPUT -j user", "-A user -j user", chains=("user",)),
        filter_table("-A INPUT -j a", "-A a -j b", "-A b -g a", chains=("a", "b")),
        filter_table("-A user -m conntrack --ctorigsrc nosuch", chains=("user",)),
        filter_table("-A INPUT -j a", "-A a -m owner --uid-owner 0", chains=("a",)),
        filter_table(chains=("a", "a")),
        filter_table(chains=("a" * 30, "b")),
        filter_table(chains=("ACCEPT", "b")),
        filter_table("#" + "x" * MAX_LINE_BYTES),
        filter_table("-A INPUT -m comment --comment \0"),
        filter_table("-A INPUT -m comment --comment \ud800"),
    ],
)
def test_faults_are_left_to_be_told(text: str) -> None:
    assert read_bulk(text, "file", V4) is None
    with pytest.raises(SourceError):
        parse_saved(text, "file", V4)


@pytest.mark.parametrize(
    "lines",
    [
        ["-A INPUT", "-D INPUT"],
        ["-I INPUT -s 1.2.3.4"],
        ["-N a", "-A a"],
        ["-P INPUT DROP"],
        ["-A INPUT -s 1.2.3.4,5.6.7.8"],
        ["-6 -A INPUT"],
        ["-A INPUT -m comment --comment \x01"],
    ],
)
def test_other_texts_are_left_to_the_ordinary_reader(lines: list[str]) -> None:
    assert read_bulk(filter_table(*lines), "file", V4) is None
    parse_saved(filter_table(*lines), "file", V4)


# Values are known to be misread by the lines of a shape that are read both ways: the last, and
# one that differs from the first.
@pytest.mark.parametrize("hosts", [(1, 2, 3), (1, 1, 2), (1, 2, 1)])
def test_it_checks_itself(hosts: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"-A INPUT -s 1.2.3.{host} -j DROP" for host in hosts]
    assert read_bulk(filter_table(*lines), "file", V4) is not None
    read = lexing.ipv4

    def wrong(data: lexing.Bytes, at: lexing.Places) -> lexing.Values:
        values = read(data, at)
        values.value[values.value != values.value[0]] ^= 8
        return values

    monkeypatch.setattr(lexing, "ipv4", wrong)
    assert read_bulk(filter_table(*lines), "file", V4) is None


# --- few lines are read by the ordinary reader


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the lines that are read one by one."""
    seen: list[str] = []
    command = SavedLines.command

    def spy(self: SavedLines, line: str, number: int) -> object:
        seen.append(line)
        return command(self, line, number)

    monkeypatch.setattr(SavedLines, "command", spy)
    return seen


def test_lines_of_a_shape_are_not_read_one_by_one(commands: list[str]) -> None:
    lines = [
        f"[{n}:{n}] -A FORWARD -s 10.{n % 200}.{n // 200}.0/{24 + n % 9} -d 1.2.3.4 -p tcp -m tcp "
        f"--sport {n}:{n * 2} --dport {n + 1} -j {'DROP' if n % 3 else 'user'}"
        for n in range(3000)
    ]
    bulk = read_bulk(filter_table(*lines, chains=("user",)), "file", V4)
    assert bulk is not None
    assert len(bulk["filter"].shapes) == 2
    assert len(commands) < 20


def test_chains_of_services_are_a_few_shapes(commands: list[str]) -> None:
    chains = tuple(f"KUBE-SVC-{n:04}" for n in range(500))
    lines = [f"-A INPUT -d 10.0.{n % 250}.{n // 250}/32 -j {c}" for n, c in enumerate(chains)]
    lines += [f'-A {c} -m comment --comment "ns/\\"{c}\\" x" -j ACCEPT' for c in chains]
    bulk = read_both(filter_table(*lines, chains=chains))
    assert bulk is not None
    table = bulk["filter"]
    assert [shape.slots for shape in table.shapes] == [
        {Slot.DESTINATION, Slot.TARGET},
        {Slot.CHAIN, Slot.COMMENT},
    ]
    assert [len(chain.rules) for chain in table.chains[:4]] == [1, 0, 0, 1]
    commands.clear()
    read_bulk(filter_table(*lines, chains=chains), "file", V4)
    assert len(commands) < 20


def test_rules_of_a_table_share_their_parts() -> None:
    lines = [f"-A INPUT -s 1.2.3.{n}/31 -p tcp -m tcp --dport {n % 2} -j DROP" for n in range(4)]
    bulk = read_bulk(filter_table(*lines), "file", V4)
    assert bulk is not None
    one, _, other, _ = bulk["filter"].table().chain("INPUT").rules
    assert one.source is not None
    assert other.source is not None
    assert one.source.mask is other.source.mask
    assert one.matches[0] is other.matches[0]
    assert one.protocol is other.protocol


# --- what reads all of a text uses the columns


def test_long_texts_are_read_as_columns(
    commands: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"-A INPUT -s 10.0.{n // 250}.{n % 250}/32 -j DROP" for n in range(saved.MANY_LINES)]
    made = parse_saved(filter_table(*lines), "file", V4)
    assert len(commands) < 10
    monkeypatch.setattr(saved, "MANY_LINES", 1 << 30)
    assert parse_saved(filter_table(*lines), "file", V4) == made
    assert len(commands) > len(lines)


def test_long_texts_with_a_fault_tell_of_it() -> None:
    lines = ["-A INPUT -s 10.0.0.1/32 -j DROP"] * saved.MANY_LINES
    lines[77] += " -s nosuch"
    with pytest.raises(SourceError, match=r"file:79:33"):
        parse_saved(filter_table(*lines), "file", V4)
