"""Where a loaded ruleset counts packets, for whoever reads that without compiling anything."""

from __future__ import annotations

COUNTERS_MAP = "counters"
COUNTER_BYTES = 16  # u64 packets, u64 bytes

#: Counter that is not shown: implicit returns at the end of user chains count here.
COUNTER_NONE = 0
#: Packets dropped because evaluation could not finish (fail closed).
COUNTER_ABORTED = 1
#: First counter that belongs to a policy or rule.
COUNTER_FIRST = 2
