#!/usr/bin/env python3
"""Data, tokenizers, models and copies of checkpoints in an object store, against a real S3 server, also one in trouble.

    object_store_test.py BIN_FOLDER
"""

import collections
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

import pyarrow as pa
import pyarrow.parquet as pq

from parquet_test import rows
from runs import BINARIES, PATIENCE, SECRET, RunsTest, main
from store_server import GoogleStore, Proxy, StoreTest

SCHEDULE = {"optimizer": {"schedule": {"steps": 10, "warmup_steps": 1}}}


class ObjectStoreTest(StoreTest):
    def setUp(self):
        super().setUp()
        self.start_store("team")
        self.table = pa.Table.from_pylist(rows(900))
        pq.write_table(self.table, self.folder / "a.parquet", row_group_size=250)
        (self.folder / "b.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows(300, 2)))
        for name in ("a.parquet", "b.jsonl"):
            self.server.put("team", f"corpus/part/{name}", (self.folder / name).read_bytes())

    def proxy(self, trouble):
        proxy = Proxy(self.server, trouble)
        self.addCleanup(proxy.close)
        self.use(proxy.address)
        return proxy

    def local(self):
        return self.tokens(self.folder / "a.parquet", self.folder / "b.jsonl")

    def test_globs_and_orders_are_those_of_files(self):
        both = self.local()
        for address in ("s3://team/corpus/part/*", "s3://team/corpus/**", "s3://team/**/part/{a,b}.*", "s3://team/corpus/*/[ab].*"):
            self.assertEqual(self.tokens(address), both, address)
        self.assertEqual(self.tokens("s3://team/corpus/part/b.jsonl", "s3://team/corpus/part/a.parquet"),
                         self.tokens(self.folder / "b.jsonl", self.folder / "a.parquet"))
        self.server.put("team", "corpus/odd/a[1].txt", b"square brackets")
        self.assertEqual(len(self.tokens("s3://team/corpus/odd/a[1].txt")), 32)
        compressed = subprocess.run(["zstd", "-q", "-c", self.folder / "b.jsonl"], stdout=subprocess.PIPE, check=True).stdout
        self.server.put("team", "corpus/b.zst", compressed)
        self.assertEqual(self.tokens("s3://team/corpus/b.zst"), self.tokens(self.folder / "b.jsonl"))

    def test_what_is_not_there_or_not_read_is_refused_by_name(self):
        for address, message in {
            "s3://team/corpus/none*": "--input: no file matches s3://team/corpus/none*",
            "s3://nobody/x": "s3://nobody/x",
            f"s3://id:{SECRET}@team/x": "credentials do not belong in an address",
            "hf://datasets/x": "hf:// is not read; download it",
            "https://example.com/x.parquet": "https:// is not read; download it",
            "s3a://team/x": "write s3://",
        }.items():
            self.assertIn(message, self.refusal(address))
        self.proxy(lambda method, path: "refuse")
        self.assertRegex(self.refusal("s3://team/corpus/part/a.parquet"), "s3://team/corpus/part/a.parquet: access is refused")

    def test_a_store_in_trouble_gives_the_same_tokens_or_an_error_that_names_it(self):
        both = self.local()
        counts = collections.Counter()

        def some(kind, how_many):
            def trouble(method, path):
                if method != "GET" or "corpus" not in path or "list-type" in path:
                    return None
                counts[kind] += 1
                return kind if counts[kind] <= how_many else None
            return trouble

        for kind, how_many in (("cut", 2), ("busy", 2), ("slow", 1000)):
            proxy = self.proxy(some(kind, how_many))
            self.assertEqual(self.tokens("s3://team/corpus/part/*"), both, kind)
            self.assertGreaterEqual(counts[kind], min(how_many, 2), kind)
            proxy.close()
        self.proxy(lambda method, path: "cut" if method == "GET" and "a.parquet" in path else None)
        self.assertIn("s3://team/corpus/part/a.parquet", self.refusal("s3://team/corpus/part/a.parquet"))
        self.use("http://127.0.0.1:1")
        self.assertRegex(self.refusal("s3://team/corpus/part/a.parquet"), "s3://team/corpus/part/a.parquet: .*[Cc]onnect")

    def test_a_run_is_that_of_the_same_files_on_a_disk(self):
        data = {"train": ["s3://team/corpus/part/*"]}
        self.train(self.job(data=data), "stored")
        self.train(self.job(data={"train": [str(self.folder / "a.parquet"), str(self.folder / "b.jsonl")]}), "local")
        self.assertEqual(self.losses("stored"), self.losses("local"))
        names = [sorted(p.name for p in (self.folder / run / "data").iterdir()) for run in ("stored", "local")]
        self.assertEqual(names[0], names[1])  # the fingerprint is of the content

    def save_small_model(self):
        """A model's folder with a tokenizer, from a run of its own."""
        source = self.folder / "tokenizer"
        source.mkdir()
        (source / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"}))
        (source / "tokenizer.json").write_text(json.dumps({
            "version": "1.0", "added_tokens": [], "normalizer": None, "post_processor": None,
            "pre_tokenizer": {"type": "Whitespace"}, "decoder": None,
            "model": {"type": "WordLevel", "unk_token": "[UNK]",
                      "vocab": {w: i for i, w in enumerate(["[UNK]", "</s>", "the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog"])}}}))
        self.train(self.job(tokenizer=str(source), data={"train": [str(self.folder / "b.jsonl")], "sequence_length": 16}), "base")
        return self.folder / "base/checkpoints/step-00000006"

    def upload(self, folder, prefix):
        for path in pathlib.Path(folder).rglob("*"):
            if path.is_file():
                self.server.put("team", f"{prefix}/{path.relative_to(folder)}", path.read_bytes())

    def test_models_and_tokenizers_are_brought_here_and_again_when_they_change(self):
        folder = self.save_small_model()
        self.upload(folder, "models/small")
        data = {"train": [str(self.folder / "b.jsonl")], "sequence_length": 16}
        stored = self.job("stored", task="finetune", model={"source": "s3://team/models/small"}, tokenizer="s3://team/models/small/", data=data)
        status, text = self.galleon("plan", stored)
        self.assertEqual(status, 0, text)
        weights = list((self.folder / "cache").rglob("model.safetensors"))
        self.assertEqual(len(weights), 1)
        self.assertEqual(weights[0].stat().st_size, (folder / "model.safetensors").stat().st_size)
        self.assertLess(weights[0].stat().st_blocks * 512, weights[0].stat().st_size / 2)  # the header alone
        self.train(stored, "a")
        self.train(self.job("local", task="finetune", model={"source": str(folder)}, tokenizer=str(folder), data=data), "b")
        self.assertEqual(self.losses("a"), self.losses("b"))
        outputs = [self.galleon("generate", "--model", m, "--prompt", "the quick", "--tokens", "4", "--temperature", "0")
                   for m in ("s3://team/models/small", folder)]
        self.assertEqual(outputs[0][0], 0, outputs)
        self.assertEqual(outputs[0][1].splitlines()[-1], outputs[1][1].splitlines()[-1])
        # Another object under the same name is another model.
        other = self.folder / "a/checkpoints/step-00000006"
        self.upload(other, "models/small")
        self.train(stored, "c")
        self.assertNotEqual(self.losses("c"), self.losses("a"))
        self.server.put("team", "models/empty/readme.md", b"none")
        text = self.train(self.job(tokenizer="s3://team/models/empty", data=data), "d", ok=False)
        self.assertIn("tokenizer: s3://team/models/empty does not exist, or has no files that are read", text)

    def test_a_folder_is_brought_once_for_processes_that_ask_at_once_and_kept_thirty_days_after(self):
        self.upload(self.save_small_model(), "models/small")
        fetched = collections.Counter()

        def slow(method, path):
            if method == "GET" and path.split("?")[0].endswith((".json", ".safetensors")):
                fetched[path.split("?")[0]] += 1
                return "slow"
            return None
        self.proxy(slow)
        command = [BINARIES / "galleon", "tokenize", "--tokenizer", "s3://team/models/small", "--input", self.folder / "b.jsonl"]
        running = [subprocess.Popen([*command, "--output", self.folder / f"{i}.tokens"], env=self.environment, stdout=subprocess.PIPE,
                                    stderr=subprocess.STDOUT) for i in range(3)]
        for process in running:
            output = process.communicate(timeout=PATIENCE)[0]
            self.assertEqual(process.returncode, 0, output)
        self.assertGreater(len(fetched), 0)
        self.assertEqual(set(fetched.values()), {1}, fetched)
        copies = self.folder / "cache/objects"
        mine = next(copies.iterdir())
        for name, days in (("0" * 16, 31), ("1" * 16, 29)):
            (copies / name).mkdir()
            then = time.time() - days * 86400
            os.utime(copies / name, (then, then))
        os.utime(mine, (then, then))
        status, text = self.galleon(*command[1:], "--output", self.folder / "again.tokens")
        self.assertEqual(status, 0, text)
        self.assertEqual({p.name for p in copies.iterdir()}, {mine.name, "1" * 16})
        self.assertLess(time.time() - mine.stat().st_mtime, 86400)  # that it was asked for counts

    def copied(self, every=2, keep=2, **more):
        return self.job(data={"train": [str(self.folder / "b.jsonl")]}, checkpoint={"every": every, "keep": keep, "copy_to": "s3://team/runs/small/"}, **more)

    def manifests(self):
        return [key for key in self.server.keys("team", "runs/small/") if key.endswith("manifest.json")]

    def test_checkpoints_are_copied_whole_and_a_lost_folder_goes_on_from_the_copy(self):
        self.train(self.copied(training={"steps": 6}), "first")
        # The newest is always there; one that still waited when the next was written is left out.
        self.assertEqual(self.manifests()[-1], "runs/small/step-00000006/manifest.json")
        self.assertLessEqual(len(self.manifests()), 2)
        folder = self.folder / "first/checkpoints/step-00000006"
        for path in folder.rglob("*"):
            if path.is_file():
                stored = self.server.client.get_object(Bucket="team", Key=f"runs/small/step-00000006/{path.relative_to(folder)}")["Body"].read()
                self.assertEqual(stored, path.read_bytes(), path)
        # Ten steps without a break are ten steps of which six came from the store, on a machine that has nothing of the first.
        self.server.client.delete_objects(Bucket="team", Delete={"Objects": [{"Key": k} for k in self.server.keys("team", "runs/")]})
        self.train(self.copied(training={"steps": 6}, **SCHEDULE), "second")
        shutil.rmtree(self.folder / "second")
        text = self.train(self.copied(training={"steps": 10}, **SCHEDULE), "second")
        self.assertIn("brought from s3://team/runs/small/step-00000006", text)
        whole = self.job(training={"steps": 10}, data={"train": [str(self.folder / "b.jsonl")]}, **SCHEDULE)
        self.train(whole, "whole")
        self.assertEqual(self.losses("second"), self.losses("whole")[6:])
        self.assertEqual(*[(self.folder / run / "checkpoints/step-00000010/model.safetensors").read_bytes() for run in ("second", "whole")])
        # Asked for by its address.
        named = self.job(training={"steps": 10}, data={"train": [str(self.folder / "b.jsonl")]}, **SCHEDULE,
                         checkpoint={"resume": "s3://team/runs/small/step-00000010"})
        text = self.train(named, "named")
        self.assertIn("continuing from step 10", text)

    def test_a_damaged_copy_is_passed_over_by_name(self):
        # Step 3 is copied when the run goes on from it, and so before step 6.
        self.train(self.copied(every=3, training={"steps": 3}, **SCHEDULE), "first")
        self.train(self.copied(every=3, **SCHEDULE), "first")
        shutil.rmtree(self.folder / "first")
        key = "runs/small/step-00000006/model.safetensors"
        body = bytearray(self.server.client.get_object(Bucket="team", Key=key)["Body"].read())
        body[-7] ^= 1
        self.server.put("team", key, bytes(body))
        text = self.train(self.copied(every=3, **SCHEDULE), "first")
        self.assertRegex(text, "the copy of step 6 was passed over: .*model.safetensors is damaged")
        self.assertIn("continuing from step 3", text)

    def test_a_manifest_cannot_name_files_outside_of_its_folder(self):
        self.train(self.copied(every=6), "first")
        shutil.rmtree(self.folder / "first")
        key = "runs/small/step-00000006/manifest.json"
        manifest = json.loads(self.server.client.get_object(Bucket="team", Key=key)["Body"].read())
        manifest["files"]["../../../escaped"] = {"bytes": 3, "crc32": 1}
        self.server.put("team", "runs/small/step-00000006/../../../escaped", b"out")
        self.server.put("team", key, json.dumps(manifest).encode())
        text = self.train(self.copied(every=6), "first", ok=False)
        self.assertRegex(text, "no sound copy is left in s3://team/runs/small")
        self.assertIn("names a file outside of its folder", text)
        self.assertFalse(list(self.folder.rglob("escaped")))

    def test_a_store_that_cannot_be_written_is_told_before_training(self):
        self.proxy(lambda method, path: "refuse" if method in ("PUT", "POST") else None)
        text = self.train(self.copied(), ok=False)
        self.assertRegex(text, "checkpoint.copy_to: s3://team/runs/small/galleon-can-write: access is refused")
        self.assertFalse((self.folder / "run/checkpoints/step-00000002").exists())

    def test_a_copy_that_fails_at_the_end_fails_the_run_and_is_made_up_for(self):
        self.proxy(lambda method, path: "refuse" if method in ("PUT", "POST") and "step-00000006" in path else None)
        text = self.train(self.copied(), ok=False)
        self.assertRegex(text, "the checkpoint of step 6 is saved, and could not be copied: s3://team/runs/small/step-00000006/.*access is refused")
        self.use(self.server.address)
        self.train(self.copied())
        self.assertIn("runs/small/step-00000006/manifest.json", self.manifests())

    def test_a_killed_copy_is_taken_up_where_it_was(self):
        proxy = self.proxy(lambda method, path: "slow" if method == "PUT" else None)
        job = self.copied(every=6)
        process = subprocess.Popen([BINARIES / "galleon-trainer", "--job", job, "--output", self.folder / "run"], env=self.environment,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.folder)
        progress = self.folder / "run/checkpoints/.copied.json"
        deadline = time.monotonic() + PATIENCE
        while not progress.exists():
            self.assertLess(time.monotonic(), deadline)
            if process.poll() is not None:
                break
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
        done = json.loads(progress.read_text())["files"]
        self.assertTrue(done)
        if "runs/small/step-00000006/manifest.json" in self.manifests():
            self.skipTest("the copy was complete before the kill")
        before = len(proxy.requests)
        self.train(job)
        written = [path for method, path in proxy.requests[before:] if method == "PUT" and "step-00000006" in path]
        for name in done:
            self.assertFalse([path for path in written if path.endswith(name)], (name, written))
        self.assertIn("runs/small/step-00000006/manifest.json", self.manifests())


class GoogleStoreTest(RunsTest):
    def test_data_is_read_and_checkpoints_are_copied(self):
        store = GoogleStore()
        self.addCleanup(store.close)
        self.environment["STORAGE_EMULATOR_HOST"] = store.address
        store.create("team")
        pq.write_table(pa.Table.from_pylist(rows(300)), self.folder / "a.parquet")
        (self.folder / "b.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows(300, 2)))
        for name in ("a.parquet", "b.jsonl"):
            store.put("team", f"corpus/{name}", (self.folder / name).read_bytes())
        self.assertEqual(self.tokens("gs://team/corpus/*"), self.tokens(self.folder / "a.parquet", self.folder / "b.jsonl"))
        self.assertIn("--input: no file matches gs://team/none*", self.refusal("gs://team/none*"))
        job = self.job(data={"train": ["gs://team/corpus/*"]}, checkpoint={"every": 3, "copy_to": "gs://team/runs/small"})
        self.train(job)
        shutil.rmtree(self.folder / "run")
        self.assertIn("brought from gs://team/runs/small/step-00000006", self.train(job))


if __name__ == "__main__":
    main()
