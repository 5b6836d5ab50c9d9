#!/usr/bin/env python3
"""The search over two rates, what its table tells, and the picture, on made-up losses."""

import math
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import frontier  # noqa: E402
import two_rates  # noqa: E402

OWN = {"matrices": 0.004, "rest": 0.04, "further": 4}


def bowl(matrices, rest):
    """Least at 0.016 and 0.02."""
    def away(rate, best):
        return abs(math.log2(rate / best))
    return 4 + away(matrices, 0.016) + (0 if rest is None else away(rest, 0.02))


class SearchTest(unittest.TestCase):
    def test_it_goes_on_while_the_best_lies_at_an_end_and_not_further_than_it_may(self):
        asked = []
        best = two_rates.search(OWN, {"one_rate": False}, lambda *point: asked.append(point) or bowl(*point))
        self.assertEqual(best, (0.016, 0.02))
        self.assertEqual([m for m, r in asked if r == 0.04], [0.004, 0.008, 0.002, 0.016, 0.032, 0.016])
        self.assertEqual(two_rates.search({**OWN, "further": 0}, {"one_rate": False}, bowl), (0.008, 0.02))
        self.assertEqual(two_rates.search(OWN, {"one_rate": True}, bowl), (0.016, None))

    def test_a_search_that_is_not_whole_has_no_best_point(self):
        losses = {}
        best = two_rates.search(OWN, {"one_rate": False}, lambda *point: losses.setdefault(point, bowl(*point)))
        self.assertEqual(two_rates.finished_search(OWN, {"one_rate": False}, losses), best)
        del losses[(0.032, 0.04)]
        self.assertIsNone(two_rates.finished_search(OWN, {"one_rate": False}, losses))

    def test_a_loss_is_reached_by_the_mean_of_five(self):
        line = {"steps_and_losses": [[10 * i, loss] for i, loss in enumerate([6, 3, 5, 5, 5, 4, 4], start=1)]}
        self.assertEqual(two_rates.steps_to(line, 4.5), 60)
        self.assertEqual(two_rates.steps_to(line, 4.8), 50)
        self.assertIsNone(two_rates.steps_to(line, 4.2))


class PictureTest(unittest.TestCase):
    def test_the_frontier_holds_what_no_other_beats_in_both(self):
        self.assertEqual(frontier.frontier([(4, 2.0), (1, 3.0), (2, 3.5), (8, 2.1), (3, 2.5)]), [(1, 3.0), (3, 2.5), (4, 2.0)])

    def test_every_method_is_drawn_by_name(self):
        methods = [{"title": "A & B", "bytes": 2**20, "mean": 4.0, "error": 0.1}, {"title": "C", "bytes": 2**22, "mean": 5.0, "error": math.nan}]
        text = frontier.draw(methods, "title")
        self.assertIn("A &amp; B", text)
        self.assertEqual(text.count("<circle"), 2)


if __name__ == "__main__":
    unittest.main()
