"""`bpfilter install` and `uninstall` in a tree, with the real update-alternatives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bpfilter.cli.main import main
from bpfilter.errors import StateError
from bpfilter.iptables.config import read_config
from bpfilter.iptables.install import UNIT, WANTED, InstallError, Plan, install
from bpfilter.iptables.installed import Installed
from bpfilter.iptables.uninstall import uninstall
from tests.unit.iptables.conftest import FAMILIES, SCRIPTS, VERBS, Tree

SBIN = "/usr/sbin"


def put(tree: Tree, select: str = "", *, dry_run: bool = False) -> list[str]:
    said: list[str] = []
    install(Plan(tree.root, SCRIPTS, SBIN, select, dry_run), said.append)
    return said


def take(tree: Tree, *, dry_run: bool = False) -> list[str]:
    said: list[str] = []
    assert uninstall(tree.root, said.append, dry_run=dry_run)
    return said


def test_there_and_back(tree: Tree) -> None:
    tree.has_iptables()
    before = tree.links()
    said = put(tree)
    assert sum(line.startswith("link ") for line in said) == 6
    assert any("bpfilter install --set" in line for line in said)
    for family in FAMILIES:
        assert tree.selected(family) == ("auto", f"{family}-nft")
        for verb in VERBS:
            link = tree.at(f"{SBIN}/{family}-bpf{verb}")
            assert link.resolve() == tree.at(f"{SCRIPTS}/{family}-bpf{verb}")
    assert f"ExecStart={SCRIPTS}/bpfilter restore --boot\n" in tree.at(UNIT).read_text()
    assert tree.at(WANTED).resolve() == tree.at(UNIT)
    assert tree.links() != before
    assert all("stays" in line for line in put(tree)), "all is done already"
    take(tree)
    assert tree.links() == before
    assert not uninstall(tree.root, print)


def test_selected_with_its_slaves(tree: Tree) -> None:
    tree.has_iptables()
    tree.alternatives("--set", "ip6tables", f"{SBIN}/ip6tables-legacy")
    before = tree.links()
    put(tree, "set")
    for family in FAMILIES:
        assert tree.selected(family) == ("manual", f"{family}-bpf")
        for verb in VERBS:
            assert (tree.at(f"{SBIN}/{family}{verb}")).is_symlink()
            chosen = tree.at(f"/etc/alternatives/{family}{verb}")
            assert chosen.readlink() == Path(f"{SBIN}/{family}-bpf{verb}")
    put(tree, "set")
    take(tree)
    assert tree.links() == before
    assert tree.selected("ip6tables") == ("manual", "ip6tables-legacy")
    assert tree.selected("iptables") == ("auto", "iptables-nft")


def test_preferred_in_automatic_mode(tree: Tree) -> None:
    tree.has_iptables()
    tree.alternatives("--set", "ip6tables", f"{SBIN}/ip6tables-legacy")
    before = tree.links()
    put(tree)
    put(tree, "auto")
    assert [tree.selected(family) for family in FAMILIES] == [
        ("auto", "iptables-bpf"),
        ("auto", "ip6tables-bpf"),
    ]
    put(tree)
    assert tree.selected("iptables") == ("auto", "iptables-bpf")
    take(tree)
    assert tree.links() == before


def test_what_was_chosen_since_stays(tree: Tree) -> None:
    tree.has_iptables()
    put(tree, "set")
    tree.alternatives("--set", "iptables", f"{SBIN}/iptables-legacy")
    take(tree)
    assert tree.selected("iptables") == ("manual", "iptables-legacy")
    assert tree.selected("ip6tables") == ("auto", "ip6tables-nft")


def test_without_debians_iptables(tree: Tree) -> None:
    before = tree.links()
    put(tree)
    assert tree.selected("iptables") == ("auto", "iptables-bpf")
    take(tree)
    assert tree.links() == before


def test_no_other_is_left(tree: Tree) -> None:
    tree.has_iptables("nft")
    put(tree)
    for family in FAMILIES:
        tree.alternatives("--remove", family, f"{SBIN}/{family}-nft")
    assert any("no command any more" in line for line in take(tree))
    assert not tree.at(f"{SBIN}/iptables").is_symlink()


def test_iptables_that_is_no_alternative(tree: Tree) -> None:
    tree.make(f"{SBIN}/iptables", "a program")
    said = put(tree, "set")
    assert any("is no alternative" in line for line in said)
    assert f"    ln -s {SBIN}/iptables-bpf-save /usr/local/sbin/iptables-save" in said
    assert tree.at(f"{SBIN}/iptables").read_text() == "a program"


def test_without_alternatives_and_systemd(tree: Tree) -> None:
    tree.at("/var/lib/dpkg/alternatives").rmdir()
    tree.at("/usr/lib/systemd/systemd").unlink()
    said = put(tree, "set")
    assert any("no alternatives as Debian has them" in line for line in said)
    assert any("bpfilter restore --boot" in line for line in said)
    assert not tree.at(UNIT).exists()
    take(tree)


def test_dry_runs_change_nothing(tree: Tree) -> None:
    tree.has_iptables()
    before = tree.links()
    would = put(tree, "set", dry_run=True)
    assert tree.links() == before
    assert put(tree, "set") == would
    after = tree.links()
    would = take(tree, dry_run=True)
    assert tree.links() == after
    assert take(tree) == would


class Stopped(BaseException):
    pass


@pytest.mark.parametrize("select", ["", "set", "auto"])
def test_interrupted_anywhere(tree: Tree, select: str) -> None:
    tree.has_iptables()
    tree.alternatives("--set", "ip6tables", f"{SBIN}/ip6tables-legacy")
    before = tree.links()
    put(tree, select)
    whole = tree.links()
    take(tree)

    def stop_at(number: int) -> list[str]:
        said: list[str] = []

        def say(text: str) -> None:
            if len(said) == number:
                raise Stopped
            said.append(text)

        try:
            install(Plan(tree.root, SCRIPTS, SBIN, select), say)
        except Stopped:
            return said
        raise StopIteration

    for step in range(100):
        try:
            stop_at(step)
        except StopIteration:
            break
        if step % 2:
            take(tree)
            assert tree.links() == before, f"interrupted at {step}"
            put(tree, select)
        else:
            put(tree, select)
        assert tree.links() == whole, f"interrupted at {step}"
        took: list[str] = []

        def say(text: str, took: list[str] = took, step: int = step) -> None:
            if len(took) == step:
                raise Stopped
            took.append(text)

        try:
            uninstall(tree.root, say)
        except Stopped:
            take(tree)
        assert tree.links() == before, f"interrupted at {step}"
    assert step > 8


def test_what_others_have_made_stays(tree: Tree) -> None:
    tree.has_iptables()
    tree.make("/etc/bpfilter.conf", "kernel-tool = legacy\n")
    tree.make("/etc/bpfilter/rules.v4", "*filter\nCOMMIT\n")
    tree.make(UNIT, "[Unit]\n")
    tree.at(f"{SBIN}/iptables-bpf").symlink_to(f"../..{SCRIPTS}/iptables-bpf")
    said = put(tree)
    assert any("not as we would write it" in line for line in said)
    said = take(tree)
    assert any("saved rules in" in line for line in said)
    assert tree.at("/etc/bpfilter.conf").read_text() == "kernel-tool = legacy\n"
    assert tree.at(UNIT).read_text() == "[Unit]\n"
    assert tree.at(f"{SBIN}/iptables-bpf").is_symlink()
    assert not tree.at(f"{SBIN}/iptables-bpf-save").is_symlink()


def test_what_was_changed_since_stays(tree: Tree) -> None:
    tree.has_iptables()
    put(tree)
    tree.make("/etc/bpfilter.conf", "boot-failure = closed\n")
    tree.make(UNIT, "[Unit]\n")
    put(tree)
    said = take(tree)
    assert sum("was changed, and stays" in line for line in said) == 2
    assert tree.at("/etc/bpfilter.conf").exists()
    assert tree.at(UNIT).exists()
    assert not tree.at(WANTED).is_symlink()


def test_a_newer_unit_replaces_ours(tree: Tree) -> None:
    put(tree)
    record = Installed.read(tree.root)
    assert record is not None
    record.add_file(UNIT, b"older\n")
    record.write()
    tree.make(UNIT, "older\n")
    assert any(line.startswith("write") for line in put(tree))
    assert "ExecStart" in tree.at(UNIT).read_text()
    take(tree)
    assert not tree.at(UNIT).exists()


def test_something_in_the_way(tree: Tree) -> None:
    tree.make(f"{SBIN}/ip6tables-bpf-save", "else")
    before = tree.links()
    with pytest.raises(InstallError, match="not of our making"):
        put(tree)
    tree.at(f"{SCRIPTS}/iptables-bpf-save").unlink()
    with pytest.raises(InstallError, match="pip puts it beside"):
        put(tree)
    del before[f"{SCRIPTS[1:]}/iptables-bpf-save"]
    assert tree.links() == before


def test_a_record_that_cannot_be_read(tree: Tree) -> None:
    put(tree)
    record = tree.at("/var/lib/bpfilter/installed.json")
    assert json.loads(record.read_text())["alternatives"] == {"iptables": None, "ip6tables": None}
    for damage in ("{", "[]", '{"links": 1}'):
        record.write_text(damage)
        with pytest.raises(StateError, match="cannot be told"):
            put(tree)


def test_the_configuration_is_what_is_the_default(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tree)
    path = tree.at("/etc/bpfilter.conf")
    monkeypatch.setenv("BPFILTER_CONF", str(path))
    default = read_config()
    lines = path.read_text().splitlines()
    settings = [line for line in lines if line.startswith("#") and not line.startswith("# ")]
    path.write_text("\n".join(line.removeprefix("#") for line in settings))
    assert len(settings) == 3
    assert read_config() == default


def test_files_that_cannot_be_made(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    (tree.at("/usr/sbin")).rmdir()
    tree.make("/usr/sbin", "no directory")
    assert main(["install", "--root", str(tree.root), "--scripts", SCRIPTS]) == 1
    assert capsys.readouterr().err == f"bpfilter: {tree.at('/usr/sbin')}: File exists\n"


def test_commands(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    tree.has_iptables()
    where = ("--root", str(tree.root))
    assert main(["uninstall", *where]) == 0
    assert "nothing that 'bpfilter install' made" in capsys.readouterr().err
    assert main(["install", *where, "--scripts", SCRIPTS, "--set", "--dry-run"]) == 0
    assert capsys.readouterr().out.endswith("nothing was changed\n")
    assert main(["install", *where, "--scripts", SCRIPTS, "--set"]) == 0
    assert tree.selected("iptables") == ("manual", "iptables-bpf")
    assert main(["uninstall", *where]) == 0
    assert tree.selected("iptables") == ("auto", "iptables-nft")
    for words in (["--scripts", "bin"], ["--directory", "sbin"], ["--root", "/nonexistent"]):
        assert main(["install", *words]) == 2
    assert main(["install", "--set", "--auto"]) == 2
