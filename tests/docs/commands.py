#!/usr/bin/env python3
"""The commands in documents, typed as a reader would: commands.py BIN [SOURCE]        BIN: folder of the built programs

A block that begins with ```sh is run. ```sh norun=REASON is not, and REASONS says why. The blocks of a document run one after the other in one
shell, in a folder that looks like the repository, with a home of their own. A block without a language behind a block that ran is what the
document says that it prints: each of its lines must be there, numbers and what depends on speed apart; the output of `galleon plan` exactly.
"""

import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

import claims

# Documents whose blocks are run.
RUN = ["README.md", "docs/tutorial.md", "docs/tune.md", "docs/reference/data.md"]
# Why a block of these is not.
REASONS = {
    "build": "compiles everything: tests/run.sh is what runs this test, and the quickstart's parts are tests of their own",
    "service": "runs until it is stopped; tests/e2e starts these programs with these options",
}
# Documents whose blocks are not run here, and why.
ELSEWHERE = {
    "docs/install.md": "installs on the machine, or needs two of them: deploy.systemd types the package's lines on a machine that it boots; deploy.dockerfile, deploy.images and deploy.release do the rest",
    "docs/operate.md": "needs names of machines, a second machine, or a service that runs: tests/cluster and tests/client run these commands",
    "docs/convergence.md": "takes hours, and text that is not here",
    "CONTRIBUTING.md": "builds and tests: what runs this test",
    "helm/galleon/README.md": "installs on a cluster: deploy.release installs the chart at a small API server",
    "tests/gpu/README.md": "needs nvcc, then a GPU: tests/gpu/run_test.sh and unpack_test.sh hold the scripts that these call",
}
BLOCK = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```[^\n]*$", re.MULTILINE | re.DOTALL)
END = "=== end of a block ==="


class Block:
    def __init__(self, line, text):
        self.line, self.text, self.says = line, text, None


def blocks_of(name, text):
    """(blocks to run, mistakes of the page, reasons that it gives)"""
    run, mistakes, reasons = [], [], set()
    last = None
    for found in BLOCK.finditer(text):
        language, info, inside = found.groups()
        line = text.count("\n", 0, found.start()) + 1
        if language == "sh":
            last = None
            reason = re.fullmatch(r" norun=(\w+)", info)
            if reason and reason.group(1) in REASONS:
                reasons.add(reason.group(1))
            elif info:
                mistakes.append(f"{name}:{line}: {info.strip()}: no such reason; REASONS has them")
            else:
                last = Block(line, inside)
                run.append(last)
            if subprocess.run(["bash", "-n"], input=inside, text=True, capture_output=True).returncode != 0:
                mistakes.append(f"{name}:{line}: a shell does not understand this block")
        else:
            if language == "" and last is not None:
                last.says = inside
            last = None
    return run, mistakes, reasons


def shape(line):
    """A line without what changes from run to run or from machine to machine; of a text that a model writes only its beginning is left."""
    line = re.sub(r"\s+\S+ tokens/s.*", "", line)
    line = re.sub(r"( s +processor) .*", r"\1", line)
    line = re.sub(r"[0-9][0-9.,]*k?", "N", line)
    return re.sub(r" +", " ", line).strip()[:32]


def differences(says, printed, exactly):
    """Lines of a document that were not printed."""
    if exactly:
        return [line for line in says.splitlines() if line.strip() and line not in printed.splitlines()]
    shapes = {shape(line) for line in printed.splitlines()}
    return [line for line in says.splitlines() if line.strip() and shape(line) not in shapes]


def stand_in(folder, source, binaries):
    """A folder that looks like the repository with a build in it."""
    (folder / "build").mkdir(parents=True)
    (folder / "build/bin").symlink_to(binaries)
    for path in source.iterdir():
        if not path.name.startswith((".", "build")):
            (folder / path.name).symlink_to(path)


def run_blocks(blocks, source, binaries, limit):
    """What each block printed, until one fails; its exit code last."""
    with tempfile.TemporaryDirectory(prefix="galleon-docs-") as name:
        folder = pathlib.Path(name)
        stand_in(folder / "galleon", source, binaries)
        (folder / "home").mkdir()
        script = "set -euo pipefail\n" + "".join(f"{block.text}\necho '{END}'\n" for block in blocks)
        environment = {**os.environ, "HOME": str(folder / "home"), "OMP_WAIT_POLICY": "PASSIVE"}
        environment.pop("GALLEON_SERVER", None)
        process = subprocess.Popen(["bash"], cwd=folder / "galleon", env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   text=True, start_new_session=True)
        try:
            printed, _ = process.communicate(script, timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            printed, _ = process.communicate()
            printed += f"(ended after {limit} s)\n"
        return printed.replace(str(folder / "home"), "/home/ann").split(END + "\n"), process.returncode


def check(name, blocks, source, binaries):
    outputs, code = run_blocks(blocks, source, binaries, 600)
    mistakes = []
    for block, printed in zip(blocks, outputs):
        if block.says is not None:
            # On a GPU a plan is another one.
            exactly = re.search(r"^galleon plan \S+\n\Z", block.text, re.MULTILINE) is not None and " on cuda" not in printed
            for line in differences(block.says, printed, exactly):
                mistakes.append(f"{name}:{block.line}: the document says, and the command does not: {line}\nIt printed:\n{printed}")
    if code != 0:
        at = min(len(outputs), len(blocks)) - 1
        mistakes.append(f"{name}:{blocks[at].line}: exit code {code}:\n{outputs[at]}")
    return mistakes


def borrowed(source):
    """Lines of the README's session that the tutorial, whose blocks are run, does not have."""
    tutorial = claims.read(source / "docs/tutorial.md")
    sessions = [inside for language, _, inside in BLOCK.findall(claims.read(source / "README.md")) if language == "" and inside.startswith("$ ")]
    lines = [line.removeprefix("$ ") for inside in sessions for line in inside.splitlines()]
    return [f"README.md: not in the tutorial: {line}" for line in lines if line not in tutorial]


def main():
    binaries = pathlib.Path(sys.argv[1]).resolve()
    source = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else pathlib.Path(__file__).parents[2]).resolve()
    mistakes, given, with_blocks = [], set(), set()
    for path in claims.Tree(source).documents:
        name = str(path.relative_to(source))
        run, wrong, reasons = blocks_of(name, claims.read(path))
        given |= reasons
        mistakes += wrong
        if name in RUN and run:
            began = time.monotonic()
            mistakes += check(name, run, source, binaries)
            print(f"{name}: {len(run)} blocks, {time.monotonic() - began:.0f} s")
        elif run:
            with_blocks.add(name)
        if run and name not in [*RUN, *ELSEWHERE]:
            mistakes.append(f"{name}:{run[0].line}: a block of commands in a document that neither RUN nor ELSEWHERE has")
    mistakes += [f"ELSEWHERE: {name}: no block of commands in it" for name in sorted(set(ELSEWHERE) - with_blocks)]
    mistakes += borrowed(source)
    mistakes += [f"REASONS: {reason}: no block gives it" for reason in sorted(set(REASONS) - given)]
    if mistakes:
        sys.exit("\n".join(mistakes))


if __name__ == "__main__":
    main()
