"""Policies that a ruleset does not declare: the ones in force stay, as with iptables-restore.

It sets the policies that `:CHAIN POLICY` lines name, and leaves the others as they are.
So a ruleset is compiled for the policies in force, and put in force only while these still
are; where nothing is in force, they are ACCEPT.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bpfilter.dataclass import replace
from bpfilter.errors import StateError
from bpfilter.firewall.store import Store
from bpfilter.rules.model import Chain, Family

#: Base chains and their policies.
Policies = Mapping[str, str]


def undeclared(chains: Iterable[Chain]) -> frozenset[str]:
    """Name the base chains whose policies a ruleset leaves as they are."""
    return frozenset(chain.name for chain in chains if not chain.declared)


def in_force(
    store: Store, family: Family, names: frozenset[str], otherwise: Policies | None = None
) -> Policies:
    """Give the policies in force for some base chains; the caller holds the lock, or shares it.

    Where nothing is in force, they are those of `otherwise`, or ACCEPT.

    Raises: StateError if something is in force that has lost its state.
    """
    if not names:
        return {}
    try:
        generation = store.generation(family)
    except StateError as error:
        listed = ", ".join(sorted(names))
        raise StateError(
            f"no policy is given for {listed}, and the one in force cannot be told: {error}"
        ) from error
    known = (otherwise or {}) if generation is None else generation.policies
    return {name: known.get(name, "ACCEPT") for name in names}


def declare(chains: Iterable[Chain], policies: Policies) -> tuple[Chain, ...]:
    """Give the chains with what they do not declare written in."""
    return tuple(
        replace(chain, policy=policies[chain.name], declared=True)
        if chain.name in policies
        else chain
        for chain in chains
    )
