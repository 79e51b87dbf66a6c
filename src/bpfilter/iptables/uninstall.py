"""Take away what `install` has made, and give back what was there: the other way round.

alternatives → boot service → /etc/bpfilter.conf → links → the record of it all
"""

from __future__ import annotations

import os
from pathlib import Path

from bpfilter.iptables.alternatives import Alternatives
from bpfilter.iptables.install import (
    CONFIGURATION,
    UNIT,
    WANTED,
    Say,
    reload_systemd,
)
from bpfilter.iptables.installed import Installed, remove_empty
from bpfilter.iptables.kept import DIRECTORY


def uninstall(root: Path, say: Say, *, dry_run: bool = False) -> bool:
    """Do all steps, and say each; False if nothing is installed. Raises: Error."""
    record = Installed.read(root)
    if record is None:
        return False
    _Uninstalling(record, say, dry_run).run()
    return True


class _Uninstalling:
    def __init__(self, record: Installed, say: Say, dry_run: bool) -> None:
        self.record = record
        self.say = say
        self.dry_run = dry_run

    def run(self) -> None:
        for name, before in list(self.record.alternatives.items()):
            self._alternative(name, before)
        had_unit = UNIT in self.record.files
        self._link(WANTED, "../bpfilter.service", UNIT)  # as systemctl enable makes it, too
        self._file(UNIT)
        if had_unit and str(self.record.root) == "/" and not self.dry_run:
            reload_systemd()
        self._file(CONFIGURATION)
        for path in list(self.record.links):
            if path != WANTED:
                self._link(path)
        kept = self.record.at(str(DIRECTORY))
        if kept.exists():
            self.say(f"saved rules in {kept} stay")
        if not self.dry_run:
            self.record.forget()

    # What was chosen before is, before ours goes: no moment without, whoever interrupts it.
    def _alternative(self, name: str, before: list[str] | None) -> None:
        groups = Alternatives(self.record.root)
        group = groups.query(name)
        ours = next((p for p in self.record.links if p.endswith(f"/{name}-bpf")), "")
        if group is None or ours not in group.choices:
            return
        status, value = before or ("auto", "")
        if len(group.choices) == 1 and before is not None:
            self.say(f"{name} will be no command any more: no other alternative is left for it")
        if group.value == ours and status == "manual" and value in group.choices:
            self.say(f"have {name} be {value}, as it was")
            if not self.dry_run:
                groups.select(name, value)
        self.say(f"take {ours} out of the alternatives for {name}")
        if not self.dry_run:
            groups.remove(name, ours)
            if group.value == ours and status == "auto" and len(group.choices) > 1:
                groups.automatic(name)

    def _file(self, path: str) -> None:
        place = self.record.at(path)
        if path not in self.record.files or not place.exists():
            return
        if not self.record.is_ours(path):
            self.say(f"{place} was changed, and stays")
            return
        self.say(f"remove {place}")
        if not self.dry_run:
            place.unlink()

    def _link(self, path: str, *targets: str) -> None:
        place = self.record.at(path)
        if path not in self.record.links or not place.is_symlink():
            return
        if os.readlink(place) not in (self.record.links[path], *targets):
            return
        self.say(f"remove {place}")
        if not self.dry_run:
            place.unlink()
            if path == WANTED:
                remove_empty(place.parent)
