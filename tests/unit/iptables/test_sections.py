"""A restored text is cut into its tables, and every fault keeps its line."""

from __future__ import annotations

import pytest

from bpfilter.errors import ConfigError
from bpfilter.iptables.config import Config, read_config
from bpfilter.iptables.restore import LineError, Section, _sections
from bpfilter.iptables.words import Options, UsageError

OPTIONS = Options({"counters": ("c", 0), "table": ("T", 1), "wait": ("w", 2)}, "it", "Try it.")


def test_tables_and_comments() -> None:
    text = b"# one\n\n*filter\n:INPUT ACCEPT [0:0]\n# two\nCOMMIT\n*nat\nCOMMIT\n"
    comment, first, second = _sections(text)
    assert comment == b"# one\n"
    assert isinstance(first, Section)
    assert isinstance(second, Section)
    assert (first.name, first.first, first.last) == ("filter", 3, 6)
    assert first.body() == [b":INPUT ACCEPT [0:0]", b"# two"]
    assert first.text() == b"\n\n*filter\n:INPUT ACCEPT [0:0]\n# two\nCOMMIT\n"
    assert (second.name, second.first, second.last) == ("nat", 7, 8)


def test_a_table_without_an_end_is_looked_at_first() -> None:
    parts = _sections(b"*filter\n-A INPUT\nCOMMIT \n")
    section = next(parts)
    assert isinstance(section, Section)
    assert not section.whole
    assert section.body() == [b"-A INPUT", b"COMMIT "]
    with pytest.raises(LineError, match="COMMIT expected at line 4"):
        next(parts)


@pytest.mark.parametrize("text", [b"COMMIT\n", b"-A INPUT\n", b"\n\n \n", b":INPUT ACCEPT\n"])
def test_what_is_in_no_table_is_a_fault(text: bytes) -> None:
    with pytest.raises(LineError, match="failed"):
        list(_sections(text))


def test_options_as_getopt_reads_them() -> None:
    found = OPTIONS.read(["-cw", "5", "--tab", "nat", "file", "--", "-c"])
    assert found.values == {"c": "", "w": "5", "T": "nat"}
    assert found.others == ["file", "-c"]
    assert OPTIONS.read(["-w", "-c"]).values == {"w": "", "c": ""}
    assert OPTIONS.read(["--wait=3"]).values == {"w": "3"}
    assert OPTIONS.read(["-Tnat"]).values == {"T": "nat"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-x"], "it: invalid option -- 'x'"),
        (["--nosuch"], "it: unrecognized option '--nosuch'"),
        (["-T"], "it: option requires an argument -- 'T'"),
        (["--table"], "it: option '--table' requires an argument"),
        (["--counters=1"], "it: option '--counters' doesn't allow an argument"),
    ],
)
def test_options_that_are_none(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        OPTIONS.read(words)
    assert str(caught.value) == f"{message}\nTry it."


def config(text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> Config:
    path = f"{tmp_path}/conf"
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    monkeypatch.setenv("BPFILTER_CONF", path)
    return read_config()


def test_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    text = "# a comment\n\nkernel-tool = legacy  # why\n  unenforceable=refuse\n"
    text += "boot-failure = closed\n"
    assert config(text, monkeypatch, tmp_path) == Config("legacy", "refuse", "closed")
    monkeypatch.setenv("BPFILTER_CONF", f"{tmp_path}/none")
    assert read_config() == Config("auto", "delegate", "open")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("kernel-tool", "conf:2: `kernel-tool' is no setting; write NAME = VALUE"),
        ("tool = nft", "conf:2: there is no setting `tool'; there are kernel-tool"),
        ("kernel-tool = bpf", "conf:2: kernel-tool cannot be `bpf'; it is one of auto, nft"),
    ],
)
def test_settings_that_are_none(
    line: str, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    with pytest.raises(ConfigError) as caught:
        config(f"#\n{line}\n", monkeypatch, tmp_path)
    assert message in str(caught.value)
