#!/usr/bin/env python3
"""commands.py over made-up pages: what runs, and each way in which a page can be wrong."""

import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import commands


def checked(page):
    blocks, mistakes, _ = commands.blocks_of("page.md", page)
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "source"
        source.mkdir()
        (source / "novel.txt").write_text("Emma\n")
        return mistakes + (commands.check("page.md", blocks, source, pathlib.Path(folder)) if blocks else [])


class Commands(unittest.TestCase):
    def test_blocks_share_a_shell_a_home_and_the_repository(self):
        self.assertEqual(checked("```sh\nname=Emma\ncp novel.txt ~/copy.txt\ncd ~\n```\n\n```sh\ngrep $name copy.txt\n```\n\n```\nEmma\n```\n"), [])

    def test_a_command_that_fails(self):
        found = checked("```sh\ntrue\n```\n\n```sh\nfalse\necho after\n```\n")
        self.assertEqual(len(found), 1)
        self.assertIn("page.md:5: exit code 1", found[0])

    def test_an_output_that_is_another_one(self):
        found = checked("```sh\necho 'loss 4.2 nats'\n```\n\n```\nloss 4.3 bits\n```\n")
        self.assertEqual(len(found), 1)
        self.assertIn("loss 4.3 bits", found[0])

    def test_numbers_and_speeds_may_differ(self):
        self.assertEqual(checked("```sh\necho 'step 25/300  loss 4.2  9.7k tokens/s  48 s left'\n```\n\n```\nstep 50/300  loss 4.3  12.1k tokens/s  1 min 3 s left\n```\n"), [])

    def test_the_processor_may_be_another_but_must_be_told(self):
        says = "my-text     0.0 s  processor  AMD EPYC, AVX-512; loops avx512\n"
        self.assertEqual(commands.differences(says, "my-text     0.1 s  processor  Intel Xeon, AVX2; loops avx2\n", False), [])
        self.assertEqual(len(commands.differences(says, "my-text     0.1 s  tokenize   data.train\n", False)), 1)

    def test_counts_of_a_plan_may_not(self):
        self.assertEqual(commands.differences("total 76.2 MiB\n", "total 76.3 MiB\n", True), ["total 76.2 MiB"])
        self.assertEqual(commands.differences("total 76.2 MiB\n", "total 76.3 MiB\n", False), [])

    def test_a_block_with_a_reason_is_not_run(self):
        self.assertEqual(checked("```sh norun=build\nfalse\n```\n"), [])

    def test_a_block_that_no_shell_understands(self):
        self.assertIn("does not understand", checked("```sh norun=build\nif true; done\n```\n")[0])

    def test_a_reason_that_nobody_knows(self):
        self.assertIn("no such reason", checked("```sh norun=laziness\nfalse\n```\n")[0])


if __name__ == "__main__":
    unittest.main()
