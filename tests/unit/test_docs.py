"""What the documentation says: commands and files exist, links lead somewhere, code runs."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from bpfilter import Family, check_ruleset, ext, parse_saved
from bpfilter.cli.main import COMMANDS, command_parser
from bpfilter.cli.usage import options
from bpfilter.compiler.lower import lower_table
from bpfilter.ext._unenforced import UnenforcedMatch
from bpfilter.rules.registry import REGISTRY
from tests.harness.doc_pages import (
    EXAMPLES,
    PAGES,
    ROOT,
    Session,
    blocks,
    code_lines,
    links,
    matches,
    sessions,
)
from tests.unit.cli.conftest import FakeFirewall, firewall

__all__ = ["firewall"]  # a fixture

COMMAND = re.compile(r"(?:^|[#$|] |exec \w+ )bpfilter ([\w-].*)")


@pytest.fixture(params=PAGES, ids=lambda page: page.name)
def page(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if link.startswith("http"):
            continue
        name, _, fragment = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), f"{page.name}: {link}"
        if fragment:
            headings = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.M)
            assert fragment in map(anchor, headings), f"{page.name}: {link}"


def test_every_page_is_reached_from_the_readme() -> None:
    readme = PAGES[0]
    linked = {(readme.parent / link).resolve() for link in links(readme)}
    assert set(PAGES) - {readme} <= linked


def test_files_named_exist(page: Path) -> None:
    # Paths of this repository, as they are written in code.
    named = re.compile(r"^((?:docs|tests|src|demo|scripts|firewall|compiler|rules)/[\w./-]+)$")
    for line in code_lines(page):
        found = named.match(line)
        if found:
            places = (ROOT / found[1], ROOT / "src" / "bpfilter" / found[1])
            assert any(place.exists() for place in places), f"{page.name}: {line}"


def test_commands_exist(page: Path) -> None:
    for line in code_lines(page):
        for rest in COMMAND.findall(line):
            if ": " not in rest.split("'")[0]:  # not a message, `bpfilter: …`
                check_command(page, rest)


def check_command(page: Path, rest: str) -> None:
    try:
        words = shlex.split(rest.split(" | ")[0], comments=True)
    except ValueError:
        pytest.fail(f"{page.name}: {rest} is not a command line")
    name, *arguments = [word for word in words if word not in ("…", "[…]")]
    if name.startswith("-") or name == "COMMAND":
        return
    assert name in COMMANDS, f"{page.name}: {rest}"
    known = {
        spelling for action in options(command_parser(name)) for spelling in action.option_strings
    }
    for word in arguments:
        if word.startswith("-") and word != "-":
            assert word in known, f"{page.name}: {rest}: {word}"


def test_options_named_in_prose_exist() -> None:
    known = {
        spelling
        for name in COMMANDS
        for action in options(command_parser(name))
        for spelling in action.option_strings
    }
    foreign = {"--modprobe", "--privileged", "--userns", "--suppl-groups", "--rt-0-not-strict"}
    for page in PAGES:
        for line in code_lines(page):
            if re.fullmatch(r"--[a-z-]+( [A-Z]+)?", line):
                word = line.split()[0]
                assert word in known | foreign, f"{page.name}: {word}"


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for page in PAGES:
        for line in code_lines(page):
            found = re.match(r"(?:# )?make (\w+)", line)
            if found:
                assert re.search(rf"^{found[1]}:", makefile, re.M), f"{page.name}: {line}"


def test_the_readme_begins_with_the_two_commands() -> None:
    lines = [line for line in PAGES[0].read_text("utf-8").splitlines() if line]
    assert lines[0].startswith("# ")
    assert [line.split("#")[0].strip() for line in lines[1:3]] == ["make demo", "make test"]


def test_python_snippets_run(firewall: FakeFirewall, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    for block in blocks(ROOT / "docs" / "python-api.md", "python"):
        code = compile(block, "python-api.md", "exec")
        exec(code, names)
    called = [call[0] for call in firewall.calls]
    assert called == ["Firewall", "verify", "apply", "table", "status", "zero", "clear"]
    assert "rules.v4:2:10: unknown option" in capsys.readouterr().out


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.v?")), ids=lambda path: path.name)
def test_examples_are_rules(path: Path) -> None:
    family = Family.IPV6 if path.suffix == ".v6" else Family.IPV4
    assert not check_ruleset(parse_saved(path.read_bytes(), path.name, family))


OFFLINE = [
    (page, session)
    for page in PAGES
    for session in sessions(page)
    if session.command.startswith("bpfilter check")
]


@pytest.mark.parametrize(
    ("page", "session"), OFFLINE, ids=lambda value: getattr(value, "name", "")
)
def test_offline_commands_print_what_is_shown(page: Path, session: Session) -> None:
    command = session.command.replace(
        "bpfilter", f"{sys.executable} -c 'from bpfilter.cli.main import run; run()'", 1
    )
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, cwd=EXAMPLES
    )
    assert done.stdout + done.stderr == session.output


def test_there_are_offline_commands() -> None:
    assert len(OFFLINE) >= 4


def listed(marker: str) -> set[str]:
    """Give the names of a list in the support matrix, up to the next empty line."""
    text = (ROOT / "docs" / "support-matrix.md").read_text("utf-8")
    after = text.split(f"<!-- {marker} -->\n")[1].split("\n\n")[0]
    return set(re.findall(r"`(\w+)`", after))


def test_the_support_matrix_is_what_the_code_does() -> None:
    ext.load_all()
    classes = {name: found for (name, _), found in REGISTRY.matches.items()}
    refused = {name for name, found in classes.items() if issubclass(found, UnenforcedMatch)}
    targets = {name for name, _ in REGISTRY.targets}
    known = {name for names in ext.MODULES.values() for name in names.split()}
    assert listed("enforced matches") == set(classes) - refused
    assert listed("refused matches") == refused
    assert listed("refused targets") == targets
    assert known == set(classes) | targets


#: What the matrix says of matches that are enforced but for some options.
EXCEPTIONS = {
    Family.IPV6: (
        "-m addrtype --dst-type LOCAL",
        "-p udp -m rt --rt-type 0 --rt-0-addrs ::1 --rt-0-not-strict",
    ),
}


def test_exceptions_are_refused_and_nothing_else_is_called_one() -> None:
    text = (ROOT / "docs" / "support-matrix.md").read_text("utf-8")
    items = text.split("But for:\n\n")[1].split("\n\n")[0].splitlines()
    rules = [(family, rule) for family, each in EXCEPTIONS.items() for rule in each]
    assert len(items) == len(rules)
    for item, (family, rule) in zip(items, rules, strict=True):
        match = rule.split("-m ")[1].split()[0]
        assert item.startswith(f"- `{match}")
        saved = f"*filter\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT {rule} -j DROP\nCOMMIT\n"
        table = parse_saved(saved, "rules", family).table("filter")
        assert table is not None
        assert lower_table(table, family).refused, rule


def test_the_number_of_matches_is_said_right() -> None:
    count = len(listed("enforced matches"))
    for name in ("README.md", "CHANGES.md"):
        assert f"{count} matches" in (ROOT / name).read_text("utf-8")


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("a 1 b\n", "a  22 b\n", True),
        ("a\n[…]\nb\n", "a\nx\ny\nb\n", True),
        ("a\n[…]\n", "a\n", True),
        ("a\n", "a\nb\n", False),
        ("a.c\n", "abc\n", False),
    ],
)
def test_output_is_compared_but_for_numbers(expected: str, printed: str, same: bool) -> None:
    assert matches(expected, printed) is same
