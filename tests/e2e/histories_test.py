#!/usr/bin/env python3
"""The checker of histories: what can have happened passes, what cannot fails, and both as a slow and plain search says."""
import itertools
import math
import random
import sys
import unittest

from histories import ABSENT, CANCELLED, QUEUED, Call, after, linearizable


def submit(made, answered=math.inf, job="a-1"):
    return Call("submit", made, answered, job if answered < math.inf else "")


def cancel(made, answered=math.inf):
    return Call("cancel", made, answered)


def read(made, answered, seen):
    return Call("read", made, answered, seen)


class Histories(unittest.TestCase):
    def test_what_can_have_happened_passes(self):
        for calls in ([read(0, 1, ABSENT), submit(2, 3), read(4, 5, QUEUED), cancel(6, 7), read(8, 9, CANCELLED)],
                      [submit(0, 10), read(1, 2, ABSENT), read(3, 4, QUEUED), read(5, 6, QUEUED)],
                      [submit(0), read(1, 2, ABSENT), read(3, 4, ABSENT), read(5, 6, QUEUED)],
                      [submit(0, 1), cancel(2), read(3, 4, QUEUED), read(5, 6, CANCELLED)],
                      [submit(0, 1), cancel(2, 9), read(3, 4, CANCELLED), read(5, 6, CANCELLED), submit(7, 8)]):
            self.assertTrue(linearizable(calls), calls)

    def test_what_cannot_fails(self):
        for calls in ([submit(0, 1), read(2, 3, ABSENT)],                                       # acknowledged and lost
                      [submit(0, 1), cancel(2, 3), read(4, 5, QUEUED)],                         # read from whoever is behind
                      [submit(0, 1), cancel(2), read(3, 4, CANCELLED), read(5, 6, QUEUED)],     # there and back
                      [read(0, 1, QUEUED), submit(2, 3)],                                       # before anybody asked
                      [submit(0), read(1, 2, QUEUED), read(3, 4, ABSENT)],
                      [submit(0, 1), submit(2, 3, "a-2")]):                                     # twice
            self.assertFalse(linearizable(calls), calls)

    def test_it_agrees_with_a_search_of_all_orders(self):
        def plain(calls):
            unknown = [c for c in calls if c.answered == math.inf]
            for left_out in itertools.chain.from_iterable(itertools.combinations(unknown, n) for n in range(len(unknown) + 1)):
                for order in itertools.permutations([c for c in calls if c not in left_out]):
                    if any(b.answered < a.made for a, b in itertools.combinations(order, 2)):
                        continue
                    state = ABSENT
                    for call in order:
                        state = state and after(state, call)
                    if state:
                        return True
            return False
        dice, found = random.Random(7), {True: 0, False: 0}
        for _ in range(400):
            calls = []
            for _ in range(dice.randint(2, 5)):
                made = dice.randint(0, 12) + dice.random()
                answered = made + dice.randint(1, 5)
                calls.append(dice.choice([submit(made, answered), submit(made), cancel(made, answered), cancel(made), read(made, answered, dice.choice([ABSENT, QUEUED, CANCELLED]))]))
            found[plain(calls)] += 1
            self.assertEqual(linearizable(calls), plain(calls), calls)
        self.assertGreater(min(found.values()), 50)


if __name__ == "__main__":
    sys.exit(unittest.main())
