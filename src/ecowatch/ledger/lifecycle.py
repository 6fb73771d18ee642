"""The life of a problem from first flag to close-out: which state may follow which, and what a verdict moves.

The line is the one that supervision documents draw: found from images, read by a person, suspected, confirmed, rectified,
claimed to be done, checked from imagery, closed. What happens after a closing is decided by the ground: new works on a
closed site reopen it as relapsed, without anybody's word.
"""

from __future__ import annotations

from ..codes import ProblemState as S
from ..codes import VerdictKind
from ..errors import LedgerError

_UNREAD = frozenset({S.AUTO, S.SCREENED, S.INTERPRETED, S.SUSPECTED})

TRANSITIONS: dict[S, frozenset[S]] = {
    S.AUTO: frozenset({S.SCREENED, S.INTERPRETED, S.SUSPECTED, S.CONFIRMED, S.NO_PROBLEM}),
    S.SCREENED: frozenset({S.INTERPRETED, S.SUSPECTED, S.CONFIRMED, S.NO_PROBLEM}),
    S.INTERPRETED: frozenset({S.SUSPECTED, S.CONFIRMED, S.NO_PROBLEM}),
    S.SUSPECTED: frozenset({S.CONFIRMED, S.NO_PROBLEM}),
    S.CONFIRMED: frozenset({S.TO_RECTIFY, S.NO_PROBLEM}),
    S.NO_PROBLEM: frozenset({S.SUSPECTED, S.RELAPSED}),
    S.TO_RECTIFY: frozenset({S.RECTIFYING, S.CLAIMED_DONE}),
    S.RECTIFYING: frozenset({S.CLAIMED_DONE}),
    S.CLAIMED_DONE: frozenset({S.CHECKED, S.RECTIFYING}),
    S.CHECKED: frozenset({S.CLOSED, S.RECTIFYING}),
    S.CLOSED: frozenset({S.RELAPSED}),
    S.RELAPSED: frozenset({S.SUSPECTED, S.CONFIRMED, S.TO_RECTIFY, S.NO_PROBLEM}),
}
"""Every state with the states that may follow it."""

SETTLED = frozenset({S.NO_PROBLEM, S.CLOSED})
"""States in which nothing is owed any more; new works on such a site make it relapse."""

OWING = frozenset({S.TO_RECTIFY, S.RECTIFYING})
"""States with a deadline that can pass."""


def transition_allowed(current: S, target: S) -> bool:
    """Return whether `target` may follow `current`."""
    return target in TRANSITIONS[current]


def check_transition(problem_id: str, current: S, target: S) -> None:
    """Refuse a move that the life cycle does not know.

    Raises
    ------
    LedgerError
        ``TRANSITION`` with the states that may follow.
    """
    if not transition_allowed(current, target):
        following = ", ".join(sorted(TRANSITIONS[current]))
        raise LedgerError("TRANSITION", problem_id, f"{target} does not follow {current}", f"may follow: {following}")


def moves(state: S, verdict: VerdictKind) -> S | None:
    """Return the state to which a verdict moves a problem, or None where it stays.

    Unsure and field check move an unread problem to interpreted: somebody has looked. A problem under rectification is not
    moved by a verdict: its own steps are. A relapsed one is read again like a new one.
    """
    if state not in _UNREAD and state not in (S.RELAPSED, S.NO_PROBLEM, S.CONFIRMED):
        return None
    target = {
        VerdictKind.PROBLEM: S.SUSPECTED if state is S.NO_PROBLEM else S.CONFIRMED,
        VerdictKind.NO_PROBLEM: S.NO_PROBLEM,
        VerdictKind.UNSURE: S.INTERPRETED,
        VerdictKind.FIELD_CHECK: S.SUSPECTED,
    }[verdict]
    return target if transition_allowed(state, target) else None
