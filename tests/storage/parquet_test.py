#!/usr/bin/env python3
"""Parquet files as pyarrow writes them: every codec and type that docs/reference/data.md claims, beside the same rows in JSON lines.

    parquet_test.py BIN_FOLDER
"""

import datetime
import decimal
import json
import random

import pyarrow as pa
import pyarrow.parquet as pq

from runs import RunsTest, main

CODECS = ("none", "snappy", "gzip", "brotli", "zstd", "lz4")
WORDS = 'the "quick" brown föx\tjumps \\ over 龍 and\n\n🐎 \x01 a lazy dog\r\nwhile'.split(" ")


def rows(count, seed=1):
    draw = random.Random(seed)
    return [{"text": " ".join(draw.choice(WORDS) for _ in range(draw.randint(1, 60))), "id": i} for i in range(count)]


class ParquetTest(RunsTest):
    def parquet(self, name, table, **more):
        path = self.folder / name
        pq.write_table(table, path, **more)
        return path

    def lines(self, name, objects):
        path = self.folder / name
        path.write_text("".join(json.dumps(o) + "\n" for o in objects))
        return path

    def test_every_codec_page_and_row_group_gives_the_tokens_of_json_lines(self):
        content = rows(700)
        wanted = self.tokens(self.lines("rows.jsonl", content))
        table = pa.Table.from_pylist(content)
        for codec in CODECS:
            for version in ("1.0", "2.0"):
                path = self.parquet(f"{codec}-{version}.parquet", table, compression=codec, data_page_version=version,
                                    row_group_size=97, use_dictionary=version == "1.0")
                self.assertEqual(self.tokens(path), wanted, path)
        # Whatever the name; as one row group; without rows among others; beside other columns that have no form in JSON.
        self.assertEqual(self.tokens(self.parquet("train-00000-of-00001", table)), wanted)
        empty = self.parquet("empty.parquet", table.slice(0, 0))
        self.assertEqual(self.tokens(empty, self.folder / "none-1.0.parquet", empty), wanted)
        pictures = table.append_column("image", pa.array([b"\xff\xd8\xff" + bytes(9)] * len(content)))
        self.assertEqual(self.tokens(self.parquet("pictures.parquet", pictures)), wanted)

    def test_texts_of_every_type_are_the_same_text(self):
        content = [r["text"] for r in rows(50)]
        wanted = self.tokens(self.lines("rows.jsonl", [{"text": t} for t in content]))
        for kind in (pa.string(), pa.large_string(), pa.binary(), pa.large_binary(), pa.dictionary(pa.int32(), pa.string())):
            table = pa.table({"text": pa.array(content, pa.string()).cast(kind) if not pa.types.is_dictionary(kind)
                              else pa.array(content).dictionary_encode()})
            self.assertEqual(self.tokens(self.parquet("typed.parquet", table)), wanted, kind)

    def test_what_cannot_be_read_is_refused_by_file_row_and_column(self):
        table = pa.Table.from_pylist(rows(20))
        path = self.parquet("good.parquet", table)
        self.assertIn('it has no column "text"; its columns are body, id',
                      self.refusal(self.parquet("names.parquet", table.rename_columns(["body", "id"]))))
        (self.folder / "cut.parquet").write_bytes(path.read_bytes()[:-40])
        self.assertIn("cut.parquet: Parquet", self.refusal(self.folder / "cut.parquet"))
        broken = bytearray(path.read_bytes())
        broken[8:60] = bytes(52)
        (self.folder / "broken.parquet").write_bytes(broken)
        self.assertIn("broken.parquet: ", self.refusal(self.folder / "broken.parquet"))
        latin = pa.table({"text": pa.array([b"fine", "Königin".encode("latin-1")])})
        self.assertIn('latin.parquet: row 2, column "text": bytes that are no UTF-8', self.refusal(self.parquet("latin.parquet", latin)))
        nulls = pa.table({"text": pa.array(["one", None, "three"])})
        self.assertIn('nulls.parquet:2: no text field "text" (data.text_field): it is null', self.refusal(self.parquet("nulls.parquet", nulls)))
        numbers = pa.table({"text": pa.array([1, 2])})
        self.assertIn('numbers.parquet:1: no text field "text"', self.refusal(self.parquet("numbers.parquet", numbers)))
        status, text = self.galleon("tokenize", "--tokenizer", "bytes", "--output", "x", "--input", path, "--format", "text")
        self.assertNotEqual(status, 0)
        self.assertIn("is a Parquet file", text)

    def test_conversations_train_as_they_do_from_json_lines(self):
        draw = random.Random(2)
        talk = []
        for i in range(24):
            turns = [{"role": "system", "content": "Be short."}] if i % 3 == 0 else []
            for _ in range(draw.randint(1, 3)):
                turns += [{"role": "user", "content": draw.choice(WORDS)}, {"role": "assistant", "content": draw.choice(WORDS) + "!"}]
            talk.append({"messages": turns, "id": i})
        losses = []
        for path in (self.parquet("talk.parquet", pa.Table.from_pylist(talk)), self.lines("talk.jsonl", talk)):
            job = self.job(task="finetune", model={"source": "preset:tiny", "init": "random"},
                           data={"train": [str(path)], "format": "chat", "chat_template": "preset:chatml", "sequence_length": 96})
            self.train(job, output=path.suffix[1:])
            losses.append(self.losses(path.suffix[1:]))
        self.assertEqual(len(losses[0]), 6)
        self.assertEqual(*losses)

    def test_labelled_rows_train_as_they_do_from_json_lines(self):
        draw = random.Random(3)
        model = self.folder / "bert"
        model.mkdir()
        (model / "vocab.txt").write_text("".join(f"{t}\n" for t in ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh"]))
        (model / "config.json").write_text(json.dumps({
            "model_type": "bert", "vocab_size": 13, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1,
            "num_attention_heads": 2, "max_position_embeddings": 32}))
        labelled = [{"sentence": " ".join(draw.choice("abcdefgh") for _ in range(5)), "label": draw.randint(0, 2), "id": i} for i in range(40)]
        losses = []
        for path in (self.parquet("rows.parquet", pa.Table.from_pylist(labelled)), self.lines("rows.jsonl", labelled)):
            job = self.job(task="classify", model={"source": str(model), "init": "random"}, tokenizer=str(model), data={"train": [str(path)]},
                           training={"steps": 5})
            job.write_text(job.read_text().replace('"sequence_length": 48', '"sequence_length": 16'))
            self.train(job, output=path.suffix[1:])
            losses.append(self.losses(path.suffix[1:]))
        self.assertEqual(len(losses[0]), 5)
        self.assertEqual(*losses)
        job = self.job(task="classify", model={"source": str(model), "init": "random"}, tokenizer=str(model),
                       data={"train": [str(self.folder / "rows.parquet")], "sequence_length": 16, "columns": {"text": ["body"], "label": "label"}})
        self.assertIn('it has no column "body"', self.train(job, output="none", ok=False))

    def test_lists_that_are_null_or_empty_do_not_move_into_other_rows(self):
        draw = random.Random(4)
        talk = []
        for i in range(60):
            calls = draw.choice([None, [], [{"type": "function", "function": {"name": f"f{i}", "arguments": {"x": draw.choice([None, [], [i]])}}}]])
            talk.append({"messages": [{"role": "user", "content": f"go {i}", "tool_calls": None},
                                      {"role": "assistant", "content": draw.choice([None, "", f"said {i}"]) if calls else f"said {i}", "tool_calls": calls}]})
        template = self.folder / "template.jinja"
        template.write_text("{% for m in messages %}{% generation %}{{ m.role }}{{ m.content or '' }}{{ (m.tool_calls or []) | tojson }}{% endgeneration %}{% endfor %}")
        losses = []
        for name, path in (("a", self.parquet("talk.parquet", pa.Table.from_pylist(talk), row_group_size=7)), ("b", self.lines("talk.jsonl", talk))):
            job = self.job(task="finetune", model={"source": "preset:tiny", "init": "random"}, training={"steps": 15},
                           data={"train": [str(path)], "format": "chat", "chat_template": str(template), "sequence_length": 200})
            self.train(job, output=name)
            losses.append(self.losses(name))
        self.assertEqual(*losses)

    def test_values_of_every_type_arrive_as_documented(self):
        """A tool call whose arguments are a struct of every type is written by the template as JSON."""
        values = {
            "null": (None, pa.null()), "flag": (True, pa.bool_()), "small": (-7, pa.int8()), "large": (2**63 + 1, pa.uint64()),
            "half": (0.5, pa.float32()), "nan": (float("nan"), pa.float64()), "sixteen": (1.5, pa.float16()), "endless": (float("inf"), pa.float16()), "money": (decimal.Decimal("12.50"), pa.decimal128(9, 2)),
            "day": (datetime.date(2024, 2, 29), pa.date32()), "list": ([1, None, 3], pa.list_(pa.int32())),
            "lists": ([["a"], []], pa.list_(pa.list_(pa.string()))), "struct": ({"b": "x", "a": None}, pa.struct([("b", pa.string()), ("a", pa.int16())])),
            "map": ([("k", "v")], pa.map_(pa.string(), pa.string())),
        }
        wanted = {
            "null": None, "flag": True, "small": -7, "large": 2**63 + 1, "half": 0.5, "nan": None, "sixteen": 1.5, "endless": None, "money": 12.5, "day": "2024-02-29",
            "list": [1, None, 3], "lists": [["a"], []], "struct": {"b": "x", "a": None}, "map": {"k": "v"},
        }
        kind = pa.struct([(name, t) for name, (_, t) in values.items()])
        given = {name: value for name, (value, _) in values.items()}
        call = pa.struct([("type", pa.string()), ("function", pa.struct([("name", pa.string()), ("arguments", kind)]))])
        message = pa.struct([("role", pa.string()), ("content", pa.string()), ("tool_calls", pa.list_(call))])

        def talk(arguments):
            calls = [{"type": "function", "function": {"name": "f", "arguments": arguments}}]
            return [{"role": "user", "content": "go", "tool_calls": None}, {"role": "assistant", "content": "a", "tool_calls": calls}]
        table = pa.table({"messages": pa.array([talk(given)] * 4, pa.list_(message))})
        lines = [{"messages": talk(wanted)}] * 4
        template = self.folder / "template.jinja"
        template.write_text("{% for m in messages %}{% generation %}{{ m.role }}{{ m.content }}{{ (m.tool_calls or []) | tojson }}{% endgeneration %}{% endfor %}")
        losses = []
        for name, path in (("a", self.parquet("types.parquet", table)), ("b", self.lines("types.jsonl", lines))):
            job = self.job(task="finetune", model={"source": "preset:tiny", "init": "random"},
                           data={"train": [str(path)], "format": "chat", "chat_template": str(template), "sequence_length": 512},
                           training={"steps": 2, "global_batch": 2, "micro_batch": 2})
            status, text = self.galleon("train", job, "--output", name)
            self.assertEqual(status, 0, text)
            losses.append(self.losses(name))
        self.assertEqual(*losses)


if __name__ == "__main__":
    main()
