#!/usr/bin/env python3
"""claims.py over a small made-up tree: a good page passes, and each kind of mistake is found where it stands."""

import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import claims

TREE = {
    "server/core/pass.cc": "// See server/core/pass.h.\nvoid decision_pass(SlotBoard& board);\n",
    "server/core/pass.h": "class SlotBoard {};\n",
    "client/main.cc": 'app.add_flag("--watch");\n',
    "docs/reference/job-file.md": "| `training.kept_inputs` | whole number |\n",
    "docs/reference/cli.md": "## `galleon`\n### `galleon submit`\n### `galleon admin`\n#### `galleon admin backup`\n",
    "docs/good.md": "# Good\n\n## The pass: how\n",
}


def problems(page, foreign=(), **more):
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name, text in {**TREE, "docs/page.md": page, **{name.replace("__", "/"): text for name, text in more.items()}}.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        return claims.Check(claims.Tree(root), foreign).run()


class Claims(unittest.TestCase):
    def finds(self, page, *parts, **more):
        found = problems(page, **more)
        self.assertEqual(len(found), 1, found)
        for part in parts:
            self.assertIn(part, found[0])

    def test_what_is_there_passes(self):
        self.assertEqual(problems("[a](good.md#the-pass-how) `decision_pass`, `SlotBoard`, server/core/*.cc, `training.kept_inputs`, `kept_inputs: 3`, pass.cc,\n"
                                  "`galleon submit --watch`\n\n```sh\ngalleon submit job.yaml --watch\nsystemctl enable --now galleon\n```\n"), [])

    def test_a_link_to_nowhere(self):
        self.finds("text\n\n[a](gone.md)\n", "docs/page.md:3: gone.md", "no such file")

    def test_a_link_to_a_heading_that_is_gone(self):
        self.finds("[a](good.md#the-past)\n", "no such heading")

    def test_a_path_that_moved(self):
        self.finds("In server/core/past.cc it is decided.\n", "server/core/past.cc", "no such path")

    def test_a_path_in_a_folder_that_moved(self):
        self.finds("`server/mind/*.cc`\n", "server/mind/*.cc", "no such path")

    def test_a_file_by_its_bare_name(self):
        self.finds("In `past.cc`.\n", "past.cc", "no such file")

    def test_a_function_that_was_renamed(self):
        self.finds("`decision_past` does it.\n", "decision_past", "no such name")

    def test_a_type_that_was_renamed(self):
        self.finds("`SlotTable` has them.\n", "SlotTable", "no such name")

    def test_a_key_that_the_job_file_has_not(self):
        self.finds("`training.kept_outputs`\n", "training.kept_outputs", "no such key")

    def test_a_command_that_is_not_there(self):
        self.finds("`galleon submerge job.yaml`\n", "galleon submerge", "no such command")

    def test_a_nested_command_that_is_not_there(self):
        self.finds("`galleon admin restore x`\n", "galleon admin restore", "no such command")

    def test_an_option_that_is_not_there(self):
        self.finds("`galleon submit --look`\n", "--look", "no such option")

    def test_an_option_in_a_block_of_commands(self):
        self.finds("```sh\nX=1 galleon submit job.yaml --look\n```\n", "docs/page.md:2: --look")

    def test_a_comment_that_names_a_file_that_is_gone(self):
        self.finds("", "server/core/wait.cc:2: server/core/past.cc", **{"server__core__wait.cc": "int a;\n// As in server/core/past.cc.\n"})

    def test_a_comment_is_no_proof_of_a_name(self):
        self.finds("`waiting_room`\n", "waiting_room", **{"server__core__wait.cc": "// The waiting_room of jobs.\n"})

    def test_a_foreign_name_is_let_pass(self):
        self.assertEqual(problems("`adam_of_others`\n", foreign=["adam_of_others"]), [])

    def test_a_foreign_name_that_nobody_needs(self):
        found = problems("nothing\n", foreign=["adam_of_others"])
        self.assertEqual(found, ["foreign_names.txt: adam_of_others: nobody needs it"])


if __name__ == "__main__":
    unittest.main()
