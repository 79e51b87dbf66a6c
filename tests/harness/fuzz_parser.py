"""Throw mangled rulesets at the parser for a while: any text is rules, or an error with a place.

    python -m tests.harness.fuzz_parser [--seconds 60] [--seed N]

What would be enforced must come back: written and read again it is the same text.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import time
from pathlib import Path

from bpfilter.compiler.lower import lower_table
from bpfilter.rules.check import check_ruleset
from bpfilter.rules.model import Family, Ruleset
from bpfilter.rules.saved import format_saved, parse_saved, read_saved

ROOT = Path(__file__).resolve().parents[1]
SPELLED = re.compile(r"^[^#\n]*? ((?:! )?-[mpjg] .+)$", re.MULTILINE)
#: Longest time one input of a few hundred lines may take.
MAX_SECONDS = 5.0
HEAD = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:own - [0:0]\n"
# fmt: off
BITS = (
    "!", '"', "'", "\\", ":", ",", "/", "+", "-", "[", "]", "0", "-1", "4294967296",
    "255.255.0.255", "::", "-m", "-p", "-j", "-g", "-A", "-s", "--", "COMMIT", "*filter",
    ":x - [0:0]", "\0", "\x7f", "\ud800", "é", "\t", "\r", " " * 300, "A" * 300,
)
# fmt: on


def corpus() -> list[str]:
    """Give lines to start from: every spelling that the tests of extensions have."""
    lines = []
    for path in sorted((ROOT / "unit" / "ext").glob("*_spellings.txt")):
        # A spelling is a rule from its first option on, whatever the file says before it.
        found = SPELLED.findall(path.read_text())
        lines += [f"-A INPUT {words}" for words in found]
    for path in sorted((ROOT / "golden" / "saved").glob("*.rules")):
        lines += path.read_text().splitlines()
    return lines


def mangled(rng: random.Random, lines: list[str]) -> str:
    """Give a ruleset with a few things wrong."""
    chosen = [rng.choice(lines) for _ in range(rng.randrange(1, 12))]
    text = HEAD + "\n".join(chosen) + "\nCOMMIT\n"
    for _ in range(rng.randrange(0, 4)):
        text = rng.choice(MANGLES)(rng, text)
    return text


def _insert(rng: random.Random, text: str) -> str:
    at = rng.randrange(len(text) + 1)
    return text[:at] + rng.choice(BITS) + text[at:]


def _remove(rng: random.Random, text: str) -> str:
    at = rng.randrange(len(text) + 1)
    return text[:at] + text[at + rng.randrange(1, 9) :]


def _swap_words(rng: random.Random, text: str) -> str:
    words = text.split(" ")
    a, b = rng.randrange(len(words)), rng.randrange(len(words))
    words[a], words[b] = words[b], words[a]
    return " ".join(words)


def _replace_word(rng: random.Random, text: str) -> str:
    words = text.split(" ")
    words[rng.randrange(len(words))] = rng.choice(BITS)
    return " ".join(words)


def _change_character(rng: random.Random, text: str) -> str:
    at = rng.randrange(len(text)) if text else 0
    return text[:at] + chr(rng.randrange(1, 256)) + text[at + 1 :]


MANGLES = (_insert, _remove, _swap_words, _replace_word, _change_character)


def try_one(text: str, family: Family) -> bool:
    """Read one text; True if it was accepted. Raises: AssertionError, or whatever is wrong."""
    started = time.monotonic()
    ruleset, errors = read_saved(text, "fuzz", family)
    for error in errors:
        assert error.span is not None, f"no place in {error}"
        assert "\n" not in str(error), f"more than a line: {error}"
        error.span.caret()
    if not errors and is_enforced(ruleset):
        written = format_saved(ruleset, counters=True)
        assert format_saved(parse_saved(written, "again", family), counters=True) == written
    took = time.monotonic() - started
    assert took < MAX_SECONDS, f"{took:.1f} s"
    return not errors


def is_enforced(ruleset: Ruleset) -> bool:
    """Say if all of it would be: of some other matches iptables-save prints what nobody reads."""
    if check_ruleset(ruleset):
        return False
    return not any(lower_table(table, ruleset.family).refused for table in ruleset.tables)


def fuzz(seconds: float, seed: int) -> tuple[int, int]:
    """Give how many texts were tried and how many accepted; prints one that breaks."""
    rng = random.Random(seed)
    lines = corpus()
    tried = accepted = 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        text, family = mangled(rng, lines), rng.choice(list(Family))
        try:
            accepted += try_one(text, family)
        except BaseException:
            print(f"seed {seed}, text {tried}, {family.name}: {text!r}", file=sys.stderr)  # noqa: T201
            raise
        tried += 1
    return tried, accepted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    args = parser.parse_args()
    tried, accepted = fuzz(args.seconds, args.seed)
    print(f"seed {args.seed}: {tried} texts, {accepted} accepted, no fault")  # noqa: T201


if __name__ == "__main__":
    main()
