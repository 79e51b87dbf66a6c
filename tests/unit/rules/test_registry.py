"""Extensions are found by name and imported when first used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bpfilter import ext
from bpfilter.errors import RuleError
from bpfilter.rules.model import Family, Match, Target
from bpfilter.rules.registry import REGISTRY, V4, match

ext.load_all()


def test_every_module_registers_what_the_table_says() -> None:
    listed = {name for names in ext.MODULES.values() for name in names.split()}
    found = {name for name, _ in (*REGISTRY.matches, *REGISTRY.targets)}
    assert found <= listed


def test_every_module_of_the_package_is_in_the_table() -> None:
    files = {path.stem for path in Path(ext.__file__).parent.glob("[a-z]*.py")}
    helpers = files - set(ext.MODULES)
    assert helpers <= {"ranges"}  # shared by others, registers nothing


@pytest.mark.parametrize("kind", ["match", "target"])
def test_each_class_is_whole(kind: str) -> None:
    table = REGISTRY.matches if kind == "match" else REGISTRY.targets
    assert table
    for (name, _), cls in table.items():
        assert issubclass(cls, Match if kind == "match" else Target), name
        assert name == cls.NAME
        assert len({option.name for option in cls.OPTIONS}) == len(cls.OPTIONS), name
        assert all(option.name.startswith("--") for option in cls.OPTIONS), name


def test_unknown_names() -> None:
    assert REGISTRY.match("nosuch", Family.IPV4) is None
    assert REGISTRY.find_target("nosuch", Family.IPV4) is None
    assert REGISTRY.find_target("tcp", Family.IPV4) is None
    assert REGISTRY.match("LOG", Family.IPV4) is None
    with pytest.raises(RuleError, match="ip6tables has no -m icmp here"):
        REGISTRY.find_match("icmp", Family.IPV6)


def test_a_name_has_one_class() -> None:
    with pytest.raises(AssertionError):
        match("tcp", V4)(type("Other", (), {}))


def test_reading_imports_only_what_is_used() -> None:
    program = (
        "import sys\n"
        "from bpfilter.rules.saved import parse_saved\n"
        "from bpfilter.rules.model import Family\n"
        "text = '*filter\\n-A INPUT -p tcp --dport 1 -j DROP\\nCOMMIT\\n'\n"
        "parse_saved(text, 'file', Family.IPV4)\n"
        "print(*sorted(m for m in sys.modules if m.startswith('bpfilter.ext.')))\n"
        "assert not {'numpy', 'pyroute2', 'rich'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["bpfilter.ext.tcp"]
