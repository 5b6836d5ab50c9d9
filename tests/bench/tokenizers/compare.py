#!/usr/bin/env python3
"""Speed of tokenizing, one thread, beside the original libraries (sentencepiece, tokenizers), in one run on the same documents.

compare.py --bin build/bin [--shared ../shared/data] [--seconds 3] [--rounds 3] [--json FILE] [--ours-alone]

The two take turns, round by round; the figure is the median of MB of text per second of processor time. Ids of both must be
equal. Libraries are installed into a virtual environment of this script's own (--venv); where that cannot be done it ends
with 77, as skipped tests do.
"""
import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
# Versions of SentencePiece from 0.2 on decide between equal segmentations of unigram models in another way than the one that
# is linked here (Debian's 0.1.97).
LIBRARIES = {"sentencepiece": "sentencepiece==0.1.99", "tokenizers": "tokenizers"}

THEIRS = r'''
import json, sys, time
kind, source, path, seconds = sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])
documents = [json.loads(line)["text"] for line in open(path, encoding="utf-8")]
if kind == "sentencepiece":
    import sentencepiece
    model = sentencepiece.SentencePieceProcessor(model_file=source)
    encode = model.encode
else:
    import os
    import tokenizers
    if kind == "byte-level BPE":
        from tokenizers import ByteLevelBPETokenizer
        model = ByteLevelBPETokenizer(source + "/vocab.json", source + "/merges.txt")
    elif kind == "tokenizer.json":
        model = tokenizers.Tokenizer.from_file(source + "/tokenizer.json")
    else:
        from tokenizers import BertWordPieceTokenizer
        model = BertWordPieceTokenizer(source + "/vocab.txt", lowercase=True)
    encode = lambda text: model.encode(text, add_special_tokens=False).ids
value, tokens = 0xCBF29CE484222325, 0
for document in documents:
    for i in encode(document):
        value = ((value ^ i) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
        tokens += 1
size = sum(len(d.encode()) for d in documents)
begin, start, passes = time.thread_time(), time.time(), 0
while passes == 0 or time.thread_time() - begin < seconds:
    for document in documents:
        encode(document)
    passes += 1
print(json.dumps({"bytes": size * passes, "tokens": tokens * passes, "processor_seconds": time.thread_time() - begin,
                  "seconds": time.time() - start, "ids": value}))
'''


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


def environment(folder):
    python = folder / "bin" / "python"
    if not python.exists():
        made = subprocess.run([sys.executable, "-m", "venv", str(folder)], capture_output=True)
        if made.returncode != 0:
            skip("no virtual environment can be made")
    wanted = [str(python), "-c", "import " + ", ".join(LIBRARIES)]
    if subprocess.run(wanted, capture_output=True).returncode != 0:
        installed = subprocess.run([str(python), "-m", "pip", "install", "-q", *LIBRARIES.values()], capture_output=True)
        if installed.returncode != 0 or subprocess.run(wanted, capture_output=True).returncode != 0:
            skip("the packages " + " and ".join(LIBRARIES.values()) + " cannot be installed")
    versions = subprocess.run([str(python), "-m", "pip", "list", "--format=json"], capture_output=True, text=True).stdout
    return python, {p["name"]: p["version"] for p in json.loads(versions) if p["name"] in LIBRARIES}


def documents(path, size=4096):
    """The novels of the example, cut behind line ends into documents of about 4 kB."""
    count = 0
    with open(path, "w", encoding="utf-8") as out:
        for book in sorted((ROOT / "deploy/examples/janeausten/train").glob("*.txt")):
            text = ""
            for line in book.read_text(encoding="utf-8").splitlines(keepends=True):
                text += line
                if len(text) >= size:
                    out.write(json.dumps({"text": text}) + "\n")
                    text, count = "", count + 1
    return count


def run(command):
    env = dict(os.environ, TOKENIZERS_PARALLELISM="false", RAYON_NUM_THREADS="1")
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, env=env)
    if done.returncode != 0:
        sys.exit(f"{' '.join(str(c) for c in command[:3])} failed: {done.stderr.strip()}")
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "build/bin")
    parser.add_argument("--shared", type=pathlib.Path, default=ROOT.parent / "shared/data")
    parser.add_argument("--venv", type=pathlib.Path, default=ROOT / "build/tokenizers-venv")
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ours-alone", action="store_true")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    python, versions = (None, {}) if options.ours_alone else environment(options.venv)
    tokenizers = options.shared / "tokenizers"
    example = ROOT / "deploy/examples/janeausten/tokenizer.model"
    fetched = ROOT / "build/tools"  # by tests/models.sh
    # Name, what the original library calls it, its source here, its source there.
    cases = [("SentencePiece, the example's", "sentencepiece", example, example),
             ("SentencePiece, openllama", "sentencepiece", tokenizers / "openllama", None),
             ("SentencePiece, t5", "sentencepiece", tokenizers / "t5", None),
             ("byte-level BPE, roberta", "byte-level BPE", tokenizers / "roberta", tokenizers / "roberta"),
             ("byte-level BPE, Llama 3", "tokenizer.json", fetched / "llama3", fetched / "llama3"),
             ("byte-level BPE, Qwen2", "tokenizer.json", fetched / "qwen2", fetched / "qwen2"),
             ("WordPiece, bert-uncased", "WordPiece", tokenizers / "bert-uncased", tokenizers / "bert-uncased")]
    results = []
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "documents.jsonl"
        count = documents(path)
        for name, kind, ours, theirs in cases:
            if not ours.exists():
                print(f"{name}: {ours} is not there")
                continue
            if theirs is None:
                theirs = next(p for p in (ours / "tokenizer.model", ours / "spiece.model") if p.exists())
            speeds = {"ours": [], "theirs": []}
            ids = set()
            for _ in range(options.rounds):
                sides = {"ours": [options.bin / "bench_tokenizers", ours, path, options.seconds]}
                if python:
                    sides["theirs"] = [python, "-c", THEIRS, kind, theirs, path, options.seconds]
                for side, command in sides.items():
                    result = run(command)
                    speeds[side].append(result["bytes"] / result["processor_seconds"] * 1e-6)
                    ids.add(result["ids"])
            row = {"tokenizer": name, "ours_mb_per_second": round(statistics.median(speeds["ours"]), 2)}
            if python:
                row |= {"theirs_mb_per_second": round(statistics.median(speeds["theirs"]), 2), "ids_equal": len(ids) == 1}
            row["rounds"] = speeds
            results.append(row)
            beside = f"  theirs {row['theirs_mb_per_second']:7.2f}  ids {'equal' if row['ids_equal'] else 'DIFFER'}" if python else ""
            print(f"{name:32} ours {row['ours_mb_per_second']:7.2f} MB/s of processor time{beside}", flush=True)
    report = {"machine": {"processor": processor(), "cores": os.cpu_count(), "load": os.getloadavg()},
              "date": time.strftime("%Y-%m-%d"), "documents": count, "versions": versions, "results": results}
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    if any(row.get("ids_equal") is False for row in results):
        sys.exit("ids differ")


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


main()
