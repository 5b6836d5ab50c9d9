#!/usr/bin/env python3
"""The study's program on a model of a few thousand parameters: study_test.py FOLDER_OF_PROGRAMS."""

import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import study  # noqa: E402

PROGRAMS = ""


def text(words, seed):
    source = random.Random(seed)
    return " ".join(source.choice(["the", "ship", "sails", "north", "and", "turns", "slowly"]) for _ in range(words))


class StudyTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.root = pathlib.Path(self.folder.name)
        (self.root / "train.txt").write_text(text(4000, 1))
        (self.root / "validation.txt").write_text(text(1500, 2))
        self.results = self.root / "results.jsonl"

    def run_study(self, *arguments):
        command = [sys.executable, str(HERE / "study.py"), "run", "--study", "tiny", "--bin", PROGRAMS, "--data",
                   str(self.root), "--train", "train.txt", "--validation", "validation.txt", "--tokenizer", "bytes",
                   "--vocabulary", "257", "--results", str(self.results), "--work", str(self.root / "work"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def test_a_study_tunes_each_arm_repeats_it_at_its_best_rate_and_goes_on_after_an_end(self):
        done = self.run_study("--arms", "full-adamw", "galore-subspace")
        self.assertEqual(done.returncode, 0, done.stderr + done.stdout)
        lines = study.read_lines(self.results)
        for name in ("full-adamw", "galore-subspace"):
            tuned = {l["learning_rate"]: l["validation_loss"] for l in lines if l["arm"] == name and l["seed"] == 1}
            repeated = [l["learning_rate"] for l in lines if l["arm"] == name and l["seed"] == 2]
            self.assertGreaterEqual(len(tuned), 3)
            self.assertEqual(repeated, [min(tuned, key=tuned.get)])
        self.assertEqual(list((self.root / "work" / "tiny").glob("*/out")), [])
        # Killed in the middle of a line, and of a run: what has a line is not run again.
        whole = self.results.read_text()
        cut = whole.splitlines()[-1]
        self.results.write_text(whole[: whole.rindex(cut)] + cut[:20])
        again = self.run_study("--arms", "full-adamw", "galore-subspace")
        self.assertEqual(again.returncode, 0, again.stderr)
        self.assertEqual(len(again.stdout.splitlines()), 1, again.stdout)
        last = json.loads(cut)
        repeated = study.read_lines(self.results)[-1]
        self.assertEqual((repeated["key"], repeated["validation_loss"]), (last["key"], last["validation_loss"]))
        self.assertEqual(self.run_study("--arms", "full-adamw", "galore-subspace").stdout, "")

    def test_a_large_study_chooses_its_rate_by_short_runs_and_a_killed_run_goes_on_from_its_checkpoint(self):
        chosen = ["--study", "tiny-tuned-briefly", "--arms", "full-adamw"]
        done = self.run_study(*chosen)
        self.assertEqual(done.returncode, 0, done.stderr + done.stdout)
        lines = study.read_lines(self.results)
        short = {l["learning_rate"]: l["validation_loss"] for l in lines if l["job"]["training"]["steps"] == 4}
        long = [l for l in lines if l["job"]["training"]["steps"] == 20]
        self.assertEqual([l["learning_rate"] for l in long], [min(short, key=short.get)])
        self.assertIn(f"{long[0]['validation_loss']:.4f}", study.table(lines, "tiny-tuned-briefly"))
        # The long run again, killed after a checkpoint: the rest is the same, bit for bit.
        self.results.write_text("".join(json.dumps(l) + "\n" for l in lines if l not in long))
        folder = self.root / "work" / "tiny-tuned-briefly" / long[0]["key"]
        folder.mkdir()
        job = {**long[0]["job"]}
        job["model"] = {**job["model"], "overrides": {"vocab_size": 257}}
        tokens = self.root / "work" / "tiny-tuned-briefly"
        job["data"] = {**job["data"], "train": [str(tokens / "train.tokens")], "validation": [str(tokens / "validation.tokens")]}
        (folder / "job.yaml").write_text(json.dumps(job))
        with subprocess.Popen([PROGRAMS + "/galleon", "train", str(folder / "job.yaml"), "--output", str(folder / "out"),
                               "--threads", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as train:
            while train.poll() is None and not (folder / "out" / "checkpoints" / "step-00000002").exists():
                time.sleep(0.001)
            train.kill()
        again = self.run_study(*chosen)
        self.assertEqual(again.returncode, 0, again.stderr)
        self.assertEqual(study.read_lines(self.results)[-1]["validation_loss"], long[0]["validation_loss"])
        self.assertFalse(folder.exists())

    def test_text_that_is_not_there_is_a_skip_by_name(self):
        done = self.run_study("--data", str(self.root / "none"))
        self.assertEqual(done.returncode, study.SKIPPED)
        self.assertIn("does not ship", done.stderr)


def line(arm, rate, seed, loss):
    return {"key": f"{arm}{rate}{seed}", "study": "tiny", "arm": arm, "learning_rate": rate, "seed": seed,
            "outcome": "finished" if loss else "diverged", "validation_loss": loss, "tokens": 1000, "train_seconds": 2.0,
            "memory": {"optimizer_states": 2**20, "subspaces": 2**19}, "machine": "m", "date": "d", "corpus": "c",
            "vocabulary": 257, "job": {"training": {"steps": 1, "evaluate_every": 1}}}


class TableTest(unittest.TestCase):
    def test_a_row_is_the_mean_over_seeds_at_the_rate_that_was_best_for_the_first(self):
        lines = [line("full-adamw", 0.1, 1, 2.0), line("full-adamw", 0.1, 2, 2.2), line("full-adamw", 0.2, 1, None),
                 line("galore-subspace", 0.1, 1, 2.2), line("galore-subspace", 0.2, 1, 2.4)]
        table = study.table(lines, "tiny")
        self.assertIn("| Full rank, AdamW | 0.1 (0.1, 0.2) | 1, 2 | 2.1000 ± 0.1000 | +0.00 % | 1.50 MiB | 1,000 | 2 |", table)
        self.assertIn("| GaLore, subspace iteration | 0.1 (0.1, 0.2) | 1 | 2.2000 | +4.76 % |", table)
        self.assertIn("within 2 % of Full rank, AdamW | +4.76 % | no |", table)

    def test_a_document_gets_the_table_between_its_marks(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "page.md"
            path.write_text("a\n<!-- tiny begins -->\nold\n<!-- tiny ends -->\nb\n")
            study.put_into(path, "tiny", "new\n")
            self.assertEqual(path.read_text(), "a\n<!-- tiny begins -->\nnew\n<!-- tiny ends -->\nb\n")


if __name__ == "__main__":
    PROGRAMS = sys.argv.pop(1)
    unittest.main()
