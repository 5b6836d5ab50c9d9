#!/usr/bin/env python3
"""The convergence study: arms of arms.py, each at a learning rate tuned for it, on real text.

    tests/bench/study/study.py run [--study llama-9m] [--data FOLDER] [--results FILE] [--threads 1 --parallel 2]
    tests/bench/study/study.py table [--study llama-9m] [--results FILE] [--into docs/convergence.md]

A first seed goes over an arm's grid of rates; the grid is extended while its best rate lies at an end. The other seeds
then run at the best rate. A study of a large model chooses the rate by short runs (`tuning_steps`). Every finished run is a line of the results file, and a run that has a line is not run again:
a study that was ended goes on where it was. The table is made from these lines alone. An arm that this version of
Galleon does not have is skipped with the trainer's own words.

The text does not ship with the project: a folder with books-pd-train.*.json.gz and books-pd-validation.*.json.gz, or
any other with --train and --validation. Without it the program ends with 77. Standard library only.
"""

import argparse
import concurrent.futures
import copy
import datetime
import glob
import hashlib
import json
import math
import os
import pathlib
import platform
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from arms import ARMS, CLAIMS, STUDIES  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[3]
SKIPPED = 77
MOST_EXTENSIONS = 3
UNAVAILABLE = "not available in this version"


def job_of(study, arm, rate, seed, steps):
    """The job file of one run as a dictionary; `data` holds no paths yet."""
    optimizer = {**arm["optimizer"], "learning_rate": rate, "schedule": {"type": "cosine"}}
    if arm["galore"] is not None:
        optimizer["galore"] = {"rank": study["rank"], "refresh_interval": study["interval"], **arm["galore"]}
        if optimizer["galore"]["rank"] == "whole":
            optimizer["galore"]["rank"] = study["whole"]
    if arm["lora"] is not None:
        # alpha = rank: a scale of one, so that the learning rate alone is tuned.
        optimizer["lora"] = {"rank": study["rank"], "alpha": study["rank"], **arm["lora"]}
    return {
        "name": "study",
        "task": "pretrain",
        "model": {"source": "preset:" + study["model"], "seed": seed},
        "data": {"format": "tokens", "sequence_length": study["sequence"], "seed": seed},
        "optimizer": optimizer,
        "training": {
            "steps": steps,
            "global_batch": study["batch"],
            "micro_batch": study["micro_batch"],
            "precision": arm["precision"],
            "log_every": 50,
            "evaluate_every": steps,
            "evaluate_tokens": study["evaluate_tokens"],
        },
        "checkpoint": {"every": study.get("checkpoint_every", steps), "keep": 1},
    }


class Corpus:
    """Token files made once from text, so that no run tokenizes again. The key changes with their content."""

    def __init__(self, options, work):
        self.files = {}
        digest = hashlib.sha256()
        for split, pattern in (("train", options.train), ("validation", options.validation)):
            found = sorted(glob.glob(str(pathlib.Path(options.data) / pattern)))
            if not found:
                print(f"skipped: there is no text: {options.data}/{pattern} matches nothing. The text of the study "
                      "does not ship with the project; name a folder with --data", file=sys.stderr)
                sys.exit(SKIPPED)
            target = work / f"{split}.tokens"
            source = json.dumps([[f, os.stat(f).st_size] for f in found] + [options.tokenizer])
            stamp = work / f"{split}.source"
            if not target.exists() or not stamp.exists() or stamp.read_text() != source:
                command = [options.bin + "/galleon", "tokenize", "--tokenizer", options.tokenizer, "--output", str(target),
                           "--begin-token", "none", "--end-token", "</s>"]
                for name in found:
                    command += ["--input", name]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                stamp.write_text(source)
            digest.update(target.read_bytes())
            self.files[split] = str(target)
        self.key = digest.hexdigest()[:16]
        self.vocabulary = options.vocabulary


class Study:
    def __init__(self, options):
        self.options = options
        self.study = dict(STUDIES[options.study])
        if options.steps:
            self.study["steps"] = options.steps
        if options.seeds:
            self.study["seeds"] = list(range(1, options.seeds + 1))
        self.work = pathlib.Path(options.work) / options.study
        self.work.mkdir(parents=True, exist_ok=True)
        self.corpus = Corpus(options, self.work)
        self.results = pathlib.Path(options.results)
        drop_cut_line(self.results)
        self.lock = threading.Lock()
        self.running = set()  # processes
        self.done = {line["key"]: line for line in read_lines(self.results)}
        self.unavailable = {}
        self.failed = {}

    def arms(self):
        names = self.options.arms or self.study["arms"] or list(ARMS)
        for name in names:
            if name not in ARMS:
                sys.exit(f"there is no arm {name}; one of {', '.join(ARMS)}")
        return names

    def run(self):
        """The exit status: 1 if a run failed."""
        with concurrent.futures.ThreadPoolExecutor(self.options.parallel) as pool:
            list(pool.map(self.arm, self.arms()))
        for name, reason in self.unavailable.items():
            print(f"skipped: {name}: {reason}")
        for name, reason in self.failed.items():
            print(f"failed: {name}: {reason}")
        return 1 if self.failed else 0

    def arm(self, name):
        try:
            self.tune_and_repeat(name)
        except RuntimeError as error:
            self.failed[name] = str(error)

    def tune_and_repeat(self, name):
        first = self.study["seeds"][0]
        steps = self.study["steps"]
        tuning_steps = self.study.get("tuning_steps", steps)
        losses = {}
        for rate in ARMS[name]["rates"]:
            losses[rate] = self.one(name, rate, first, tuning_steps)
            if name in self.unavailable:
                return
        for _ in range(MOST_EXTENSIONS):
            best = min(losses, key=losses.get)
            if best not in (min(losses), max(losses)) or math.isinf(losses[best]):
                break
            rate = best / 2 if best == min(losses) else best * 2
            losses[rate] = self.one(name, rate, first, tuning_steps)
        best = min(losses, key=losses.get)
        for seed in self.study["seeds"]:
            self.one(name, best, seed, steps)

    def finished(self, command):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            with self.lock:
                self.running.add(process)
            try:
                out, err = process.communicate()
            finally:
                with self.lock:
                    self.running.discard(process)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def stop(self, *_):
        """At SIGTERM: the runs end, and the study with them; it goes on from its results when it is started again."""
        for process in list(self.running):
            process.terminate()
        os._exit(143)

    def one(self, name, rate, seed, steps):
        job = job_of(self.study, ARMS[name], rate, seed, steps)
        return self.run_job(job, {"arm": name, "learning_rate": rate, "seed": seed})

    def run_job(self, described, run, study=None):
        """The validation loss of a run, from its line where it has one; infinite if it diverged. run: what its line says of it."""
        name = run["arm"]
        key = hashlib.sha256(json.dumps([described, self.corpus.key, self.corpus.vocabulary], sort_keys=True).encode()).hexdigest()[:16]
        if key in self.done:
            return loss_of(self.done[key])
        job = copy.deepcopy(described)
        job["model"]["overrides"] = {"vocab_size": self.corpus.vocabulary}
        job["data"].update({split: [path] for split, path in self.corpus.files.items()})
        folder = self.work / key
        folder.mkdir(exist_ok=True)  # one that is there already is of a run that was ended: it goes on from its checkpoint
        (folder / "job.yaml").write_text(json.dumps(job, indent=1))
        command = ["nice", "-n", str(self.options.nice), self.options.bin + "/galleon", "train", str(folder / "job.yaml"), "--output",
                   str(folder / "out"), "--threads", str(self.options.threads)]
        start, processor = time.time(), processor_seconds()
        done = self.finished(command)
        seconds, processor = time.time() - start, processor_seconds() - processor
        said = (done.stderr + done.stdout).strip()
        if UNAVAILABLE in said:
            reason = next(text for text in said.splitlines() if UNAVAILABLE in text)
            self.unavailable[name] = reason.split(": ", 2)[-1]
            shutil.rmtree(folder)
            return math.inf
        line = {"key": key, "study": study or self.options.study, **run}
        if done.returncode == 0:
            line |= {"outcome": "finished", **read_metrics(folder / "out" / "metrics.jsonl")}
        elif "not finite" in said:
            line |= {"outcome": "diverged", "message": said.splitlines()[-1]}
        else:
            raise RuntimeError(f"{run}, exit status {done.returncode}: {said}")
        if self.options.parallel == 1:
            line["processor_seconds"] = round(processor, 1)
        line |= {"wall_seconds": round(seconds, 1), "threads": self.options.threads, "parallel": self.options.parallel,
                 "machine": machine(), "date": datetime.date.today().isoformat(), "corpus": self.corpus.key,
                 "vocabulary": self.corpus.vocabulary, "job": described}
        with self.lock:
            self.results.parent.mkdir(parents=True, exist_ok=True)
            with self.results.open("a") as file:
                file.write(json.dumps(line) + "\n")
                file.flush()
                os.fsync(file.fileno())
            self.done[key] = line
        shutil.rmtree(folder)
        said_of = "  ".join(f"{value:<9g}" if isinstance(value, float) else str(value) for key, value in run.items() if key != "arm")
        print(f"{name:20} {said_of}  loss {loss_of(line):.4f}  {seconds:.0f} s", flush=True)
        return loss_of(line)


def drop_cut_line(path):
    """Removes a last line without its end, which a study that was killed left."""
    if path.exists() and (text := path.read_text()) and not text.endswith("\n"):
        path.write_text(text[: text.rfind("\n") + 1])


def read_lines(path):
    return [json.loads(text) for text in path.read_text().splitlines()] if path.exists() else []


def read_metrics(path):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    step = [line for line in lines if "loss" in line][-1]
    evaluation = [line for line in lines if "validation_loss" in line][-1]
    return {"validation_loss": evaluation["validation_loss"], "validation_tokens": evaluation["validation_tokens"],
            "train_loss": step["loss"], "tokens": step["tokens"], "train_seconds": round(step["seconds"], 1),
            "memory": step["memory"], "steps_and_losses": [[line["step"], round(line["loss"], 5)] for line in lines if "loss" in line],
            "sent": [line["communication_bytes"] for line in lines if line.get("communication_bytes")]}


def processor_seconds():
    """Of all processes that have ended and were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def loss_of(line):
    return line["validation_loss"] if line["outcome"] == "finished" else math.inf


def machine():
    model = platform.processor() or platform.machine()
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    return f"{model}, {os.cpu_count()} cores"


def mean_and_error(values):
    """The mean, and its standard error; the latter is nan for a single value."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, math.nan
    variance = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
    return mean, math.sqrt(variance / len(values))


def summaries(lines, study):
    """By arm: what its runs at the best rate of the first seed gave. Of several budgets in a file, the newest counts."""
    chosen = {}
    for name in ARMS:
        own = [line for line in lines if line["arm"] == name and line["study"] == study]
        if not own:
            continue
        newest = own[-1]["job"]["training"]
        own = [line for line in own if line["corpus"] == own[-1]["corpus"]]
        whole = [line for line in own if line["job"]["training"] == newest]
        brief = STUDIES[study].get("tuning_steps", newest["steps"])
        if newest["steps"] == brief and "tuning_steps" in STUDIES[study]:
            continue  # no run of all steps yet
        first = min(line["seed"] for line in whole)
        tuned = {line["learning_rate"]: loss_of(line) for line in own
                 if line["seed"] == first and line["job"]["training"] == {**newest, "steps": brief, "evaluate_every": brief}}
        best = min(tuned, key=tuned.get)
        at_best = [line for line in whole if line["learning_rate"] == best]
        if any(math.isinf(loss_of(line)) for line in at_best):
            continue
        mean, error = mean_and_error([loss_of(line) for line in at_best])
        last = at_best[-1]
        chosen[name] = {"title": ARMS[name]["title"], "rate": best, "tried": sorted(tuned), "mean": mean, "error": error,
                        "seeds": sorted(line["seed"] for line in at_best), "tokens": last["tokens"],
                        "bytes": last["memory"]["optimizer_states"] + last["memory"]["subspaces"],
                        "seconds": sum(line["train_seconds"] for line in at_best) / len(at_best)}
    return chosen


def table(lines, study):
    chosen = summaries(lines, study)
    if not chosen:
        return f"There is no finished run of {study}.\n"
    base = next((chosen[name] for name in ("full-adamw", "full-bf16") if name in chosen), None)
    out = ["| arm | rate (of those tried) | seeds | validation loss | against full rank | optimizer state | tokens | seconds |",
           "|---|---|---|---|---|---|---|---|"]
    for name, s in chosen.items():
        against = f"{100 * (s['mean'] / base['mean'] - 1):+.2f} %" if base else ""
        loss = f"{s['mean']:.4f}" + ("" if math.isnan(s["error"]) else f" ± {s['error']:.4f}")
        out.append(f"| {s['title']} | {s['rate']:g} ({', '.join(f'{r:g}' for r in s['tried'])}) | "
                   f"{', '.join(map(str, s['seeds']))} | {loss} | {against} | {s['bytes'] / 2**20:.2f} MiB | "
                   f"{s['tokens']:,} | {s['seconds']:.0f} |")
    claims = [(chosen[a], chosen[b], limit) for a, b, limit in CLAIMS if a in chosen and b in chosen]
    if claims:
        out += ["", "| claim | difference | holds |", "|---|---|---|"]
        for a, b, limit in claims:
            difference = 100 * (a["mean"] / b["mean"] - 1)
            out.append(f"| {a['title']} within {limit:g} % of {b['title']} | {difference:+.2f} % | "
                       f"{'yes' if difference <= limit else 'no'} |")
    own = [line for line in lines if line["study"] == study]
    brief = STUDIES[study].get("tuning_steps")
    tuned_by = f" in runs of {brief} steps" if brief else ""
    out += ["", f"{study}, vocabulary {own[-1]['vocabulary']:,}, {len(own)} runs, {own[-1]['machine']}, "
            f"{own[0]['date']} to {own[-1]['date']}. Mean ± standard error over the seeds, at the rate that was best for "
            f"the first seed{tuned_by}. Made by `tests/bench/study/study.py table`."]
    return "\n".join(out) + "\n"


def put_into(path, study, text):
    """Replaces what lies between the study's two marks in a document."""
    begin, end = f"<!-- {study} begins -->", f"<!-- {study} ends -->"
    document = path.read_text()
    if begin not in document or end not in document:
        sys.exit(f"{path} has no marks {begin} and {end}")
    head, rest = document.split(begin, 1)
    path.write_text(head + begin + "\n" + text + end + rest.split(end, 1)[1])


def add_commands(parser, studies, default, results):
    """run and table, and their options."""
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run what has no line in the results yet")
    show = commands.add_parser("table", help="the table of the lines")
    for command in (run, show):
        command.add_argument("--study", default=default, choices=studies)
        command.add_argument("--results", default=str(ROOT / "tests/bench/results" / results))
    run.add_argument("--arms", nargs="*", help="these alone")
    run.add_argument("--bin", default=str(ROOT / "build/bin"), help="folder of galleon and galleon-trainer")
    run.add_argument("--work", default=str(ROOT / "build/study"), help="token files and unfinished runs")
    run.add_argument("--data", default=str(ROOT / "../shared/data/lm"), help="folder of the text")
    run.add_argument("--train", default="books-pd-train.*.json.gz")
    run.add_argument("--validation", default="books-pd-validation.*.json.gz")
    run.add_argument("--tokenizer", default=str(ROOT / "deploy/examples/janeausten/tokenizer.model"))
    run.add_argument("--vocabulary", type=int, default=2048, help="of the tokenizer")
    run.add_argument("--threads", type=int, default=1, help="of a run")
    run.add_argument("--parallel", type=int, default=max(1, (os.cpu_count() or 1)), help="arms at a time")
    run.add_argument("--nice", type=int, default=19, help="niceness of a run")
    run.add_argument("--steps", type=int, help="instead of the study's")
    run.add_argument("--seeds", type=int, help="how many, instead of the study's")
    show.add_argument("--into", help="a document with the study's marks")


def run_until_end(own):
    signal.signal(signal.SIGTERM, own.stop)
    return own.run()


def show_table(options, make):
    text = make(read_lines(pathlib.Path(options.results)), options.study)
    if options.into:
        put_into(pathlib.Path(options.into), options.study, text)
    else:
        print(text, end="")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add_commands(parser, list(STUDIES), "llama-9m", "convergence.jsonl")
    options = parser.parse_args()
    if options.command == "run":
        return run_until_end(Study(options))
    return show_table(options, table)


if __name__ == "__main__":
    sys.exit(main())
