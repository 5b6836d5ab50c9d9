#!/usr/bin/env python3
"""The search over two rates, what its table and that of the moments' types tell, and the picture, on made-up losses."""

import math
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import frontier  # noqa: E402
import state_types  # noqa: E402
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


class StateTypesTest(unittest.TestCase):
    def lines(self):
        """A whole search of AdamW whose best point is (0.016, 0.02), and its flash beside it under two seeds."""
        found = {}

        def loss_at(*point):
            found[point] = bowl(*point)
            return found[point]
        two_rates.search(two_rates.STUDIES["two-rates"], two_rates.ARMS["adamw"], loss_at)
        memory = {"optimizer_states": 2**20, "subspaces": 2**20}
        job = {"training": {"steps": 320, "global_batch": 16, "precision": "bf16"}, "data": {"sequence_length": 128}}
        common = {"arm": "adamw", "outcome": "finished", "memory": memory, "machine": "m", "date": "2026-11-30", "job": job}
        lines = [{**common, "study": "two-rates", "matrices": m, "rest": r, "seed": 1, "validation_loss": loss} for (m, r), loss in found.items()]
        at = {**common, "matrices": 0.016, "rest": 0.02}
        lines.append({**at, "study": "two-rates", "seed": 2, "validation_loss": 4.5})
        return lines + [{**at, "study": "state-types", "state": "flash", "seed": seed, "validation_loss": loss}
                        for seed, loss in ((1, 4.04), (2, 4.455), (3, 9.0))]

    def test_each_type_stands_beside_fp32_seed_by_seed(self):
        text = state_types.table(self.lines(), "state-types")
        self.assertIn("| AdamW | fp32 | 2 | 4.2500 ± 0.2500 |  | 2.00 MiB |", text)
        self.assertIn("| AdamW | flash | 2 | 4.2475 ± 0.2075 | +1.00 %, -1.00 % | 2.00 MiB |", text)
        self.assertNotIn("8-bit", text)
        self.assertIn("There is no run", state_types.table(self.lines()[:-1][1:3], "state-types"))

    def test_only_the_type_of_moments_differs(self):
        jobs = [two_rates.job_of(state_types.STUDIES["state-types"], state_types.arm_of("galore-muon", kind), 0.008, 0.04, 1)
                for kind in state_types.TYPES]
        rules = [job["optimizer"].pop("rule") for job in jobs]
        self.assertEqual(rules, ["muon", "muon8bit", "muon"])
        self.assertEqual([job["optimizer"].pop("state_type", None) for job in jobs], [None, None, "flash"])
        self.assertTrue(jobs[0] == jobs[1] == jobs[2])


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
