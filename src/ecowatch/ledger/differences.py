"""Why two issues of one period differ: by inputs, by pipeline, by boundary, and patch by patch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PatchFacts = tuple[str, float]
"""Digest of a patch's content, and its area in m²."""


def differences(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    patches_before: Mapping[str, PatchFacts],
    patches_after: Mapping[str, PatchFacts],
) -> dict[str, Any]:
    """Explain a difference between two issues; an empty result says that nothing differs.

    Parameters
    ----------
    before, after
        Inputs of the two, as `RunUnit.inputs`.
    patches_before, patches_after
        Patches by identity.

    Returns
    -------
    dict
        Only what differs: ``scenes_added`` (late scenes), ``scenes_removed``, ``scenes_changed``, ``pipelines``,
        ``boundary``, ``software``, ``not_compared``, ``rules``, ``patches_added``, ``patches_removed``,
        ``patches_changed`` and ``patch_area_delta_m2``.
    """
    old, new = before["scenes"], after["scenes"]
    found: dict[str, Any] = {
        "scenes_added": sorted(set(new) - set(old)),
        "scenes_removed": sorted(set(old) - set(new)),
        "scenes_changed": sorted(name for name in set(old) & set(new) if old[name] != new[name]),
        "pipelines": _changed(before["pipelines"], after["pipelines"]),
        "software": _changed(before["software"], after["software"]),
        "patches_added": sorted(set(patches_after) - set(patches_before)),
        "patches_removed": sorted(set(patches_before) - set(patches_after)),
        "patches_changed": sorted(
            i for i in set(patches_before) & set(patches_after) if patches_before[i] != patches_after[i]
        ),
    }
    for name in ("boundary", "not_compared", "rules"):
        if before.get(name) != after.get(name):
            found[name] = [before.get(name), after.get(name)]
    delta = sum(area for _, area in patches_after.values()) - sum(area for _, area in patches_before.values())
    return {name: value for name, value in found.items() if value} | (
        {"patch_area_delta_m2": round(delta, 1)} if delta else {}
    )


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    names = sorted(set(before) | set(after))
    return {n: [before.get(n), after.get(n)] for n in names if before.get(n) != after.get(n)}
