"""What is written down about a loaded ruleset, but for its text and its counters (records.py)."""

from __future__ import annotations

import json
from pathlib import Path

from bpfilter.dataclass import asdict, dataclass
from bpfilter.errors import StateError
from bpfilter.rules.model import Family

VERSION = 4


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
class SearchedChain:
    """A chain found through an index, as it was when compiled: `steps` is the most that one
    search takes a packet, `bytes` the memory of the index."""

    chain: str
    rules: int
    in_front: int
    tuples: int
    steps: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Generation:
    """One ruleset, loaded into one slot."""

    family: Family
    slot: int
    source: str
    #: Of the base chains.
    policies: dict[str, str]
    #: Rules that are new begin with the counters written in the text they came from.
    seed: bool
    applied_at: float
    load_s: float
    rules: int
    #: Whether it is written down which counter each rule has: not those after the policies,
    #: one by one.
    ordered: bool
    #: Whether it is written down which line before each line was; else equal ones were the same.
    traced: bool
    #: Whether the lines are spelt and ordered as iptables-save writes them.
    canonical: bool
    cells: int
    words: int
    counters_per_cpu: int
    cpus: int
    needs_conntrack: bool
    #: The same for all that were made of one another by editing: their maps are of the same
    #: sizes and their programs of the same instructions.
    lineage: str
    #: Counters that nothing counts in: those of rules taken out, and all from `unused` on.
    free: tuple[int, ...]
    unused: int
    programs: tuple[LoadedProgram, ...] = ()
    #: Whether the rules are instructions of their own; else cells, and chains with an index.
    straight: bool = False
    searched: tuple[SearchedChain, ...] = ()

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
        searched = tuple(SearchedChain(**chain) for chain in data.pop("searched"))
        return Generation(
            **{**data, "family": Family(data["family"]), "free": tuple(data["free"])},
            programs=programs,
            searched=searched,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StateError(
            f"{path}: is not a state file of this version; run 'bpfilter clear' first"
        ) from error
