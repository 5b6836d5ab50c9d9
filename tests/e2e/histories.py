"""Whether what callers saw of one job can have happened one call after the other, each within its own time (Wing and Gong 1993).

A job is a register: absent, then QUEUED, then CANCELLED. A call without an answer may have taken effect at any time after it was made,
or never.
"""
import math
from dataclasses import dataclass

ABSENT, QUEUED, CANCELLED = "absent", "QUEUED", "CANCELLED"


@dataclass(frozen=True)
class Call:
    kind: str                   # submit, cancel or read
    made: float
    answered: float = math.inf  # inf: nobody knows what became of it
    seen: str = ""              # of a read: the state; of a submit: the job's id


def after(state, call):
    """The state that the call leaves; None: it cannot have happened in this one."""
    if call.kind == "read":
        return state if call.seen == state else None
    if call.kind == "submit":
        return QUEUED if state == ABSENT else state
    return None if state == ABSENT else CANCELLED


def linearizable(calls):
    """Of one job. Reads without an answer say nothing."""
    calls = sorted((c for c in calls if c.kind != "read" or c.answered < math.inf), key=lambda c: c.made)
    if len({c.seen for c in calls if c.kind == "submit" and c.seen}) > 1:
        return False
    done = sum(1 << i for i, c in enumerate(calls) if c.answered < math.inf)
    seen, to_do = set(), [(0, ABSENT)]
    while to_do:
        taken, state = to_do.pop()
        if taken & done == done:
            return True
        # What comes next was made before any other that is left was answered.
        end = min(c.answered for i, c in enumerate(calls) if not taken >> i & 1)
        for i, call in enumerate(calls):
            if call.made > end:
                break
            if taken >> i & 1:
                continue
            following = after(state, call)
            one = (taken | 1 << i, following)
            if following is not None and one not in seen:
                seen.add(one)
                to_do.append(one)
    return False
