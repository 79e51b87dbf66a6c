"""What is written down about a loaded ruleset: enough to list it, and to finish an interrupted
change of rulesets.

    state/<netns inode>/<family>-<slot>.json   Generation
    state/<netns inode>/<family>-<slot>.base   counters carried over, pairs of u64 (packets, bytes)

Both are written beside and renamed. The json file is there before the ruleset is put in
force; the base file comes after that, once the counters of the ruleset before stand still.
A generation in force without a base file is one whose predecessor's counters are still to
be carried over, by whichever command comes next.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from bpfilter.errors import StateError
from bpfilter.rules.model import Family

VERSION = 1


@dataclass(frozen=True, slots=True)
class LoadedProgram:
    """Sizes in bytes; `verified` is how many instructions the verifier walked."""

    hook: str
    id: int
    instructions: int
    xlated_bytes: int
    jited_bytes: int
    verified: int


@dataclass(frozen=True, slots=True)
class Generation:
    """One ruleset, loaded into one slot; `text` is its filter table as iptables-save prints it."""

    family: Family
    slot: int
    text: str
    source: str
    #: Rules that are new begin with the counters written in `text`.
    seed: bool
    applied_at: float
    load_s: float
    rules: int
    cells: int
    words: int
    counters_per_cpu: int
    cpus: int
    needs_conntrack: bool
    programs: tuple[LoadedProgram, ...] = ()

    @property
    def name(self) -> str:
        """Give the name of the files and the pin directory of this slot."""
        return slot_name(self.family, self.slot)

    def to_json(self) -> str:
        return json.dumps({"version": VERSION, **asdict(self)}, indent=1)


def slot_name(family: Family, slot: int) -> str:
    return f"{family.command}-{slot}"


def read_generation(path: Path) -> Generation | None:
    """Read a generation's file, None if there is none.

    Raises: StateError if it is not one this version wrote.
    """
    try:
        data = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StateError(f"{path}: cannot be read as a state file: {error}") from error
    if not isinstance(data, dict) or data.pop("version", None) != VERSION:
        raise StateError(f"{path}: was written by another version; run 'bpfilter clear' first")
    try:
        programs = tuple(LoadedProgram(**program) for program in data.pop("programs"))
        return Generation(
            **{**data, "family": Family(data["family"])},
            programs=programs,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StateError(f"{path}: is not a state file: {error}") from error
