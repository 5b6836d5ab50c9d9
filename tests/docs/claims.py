#!/usr/bin/env python3
"""What documents and comments name is there: links, paths, files, identifiers, commands, flags and keys of the job file.

    claims.py [SOURCE]

Documents are all *.md. In them, and in the comments of the code:
  - a link with a relative target leads to a file, and its #anchor to a heading of it;
  - a path that begins with one of the repository's folders exists (`*` stands for some file), a file's bare name is some file's name.
In backticks:
  - snake_case, PascalCase, CAPITALS_WITH_UNDERSCORES and --flags occur in the code, comments apart;
  - section.key is a key of the job file, and `galleon COMMAND` a command, both by docs/reference.
Names of other projects are in foreign_names.txt beside this file. A name there that nobody needs is a mistake too.
"""

import pathlib
import re
import sys

SKIPPED = re.compile(r"^(build.*|\.git|\.cache|\.venv.*|__pycache__)$")
CODE = {".h", ".cc", ".cu", ".proto", ".py", ".sh", ".cmake", ".yaml", ".yml", ".tpl", ".json", ".txt", ".sbatch", ".service", ".conf", ".in", ".md", ".Dockerfile", ""}
SLASHES = {".h", ".cc", ".cu", ".proto"}
FILE_NAME = re.compile(r"(?<![\w./*<>{}$…-])([A-Za-z0-9][\w-]*(?:\.[\w-]+)*\.(?:cc|h|cu|cuh|py|sh|proto|md|cmake))\b(?![/(])")
SNAKE = re.compile(r"\b[a-z][a-z0-9]*(?:_[a-z0-9]+)+\b")
PASCAL = re.compile(r"\b[A-Z][a-z0-9]+(?:[A-Z][a-z0-9]+)*\b")
CAPITALS = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*\b")
SECTIONS = "model|data|optimizer|training|parallel|resources|checkpoint|scheduling|output|tracking|galore|lora|schedule|columns"
KEY = re.compile(rf"(?<![\w./])((?:{SECTIONS})(?:\.[a-z_]+)+)(?![\w/(])(?<!\.safetensors)(?<!\.yaml)")
COMMAND = re.compile(r"^(?:\S*/)?galleon ([a-z][a-z-]+)(?: ([a-z][a-z-]+))?")
# What stands before a command in a shell: variables, sudo, a container's name.
BEFORE = re.compile(r"^(?:\$ |sudo (?:-u \w+ )?|[A-Z_]+=\S+ |timeout (?:--?\S+ )*\S+ )*")
OURS = re.compile(r"^(?:\./|python3 )?(?:\S*/)?(?:galleon(?:-\w+)?|(?:tests|deploy|docs)/\S+)(?: |$)")


def files_below(root):
    for path in sorted(root.iterdir()):
        if SKIPPED.match(path.name):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from files_below(path)
        else:
            yield path


def read(path):
    try:
        return path.read_text()
    except (UnicodeDecodeError, OSError):
        return ""


def anchors(text):
    """Of headings, as GitHub makes them."""
    found = set()
    for heading in re.findall(r"^#+ +(.*)$", without_blocks(text), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number, unique = 0, slug
        while unique in found:
            number += 1
            unique = f"{slug}-{number}"
        found.add(unique)
    return found


def without_blocks(text):
    """Blocks of code become empty lines."""
    return re.sub(r"^```.*?^```[^\n]*$", lambda block: "\n" * block.group().count("\n"), text, flags=re.MULTILINE | re.DOTALL)


def shell_blocks(text):
    return [(text.count("\n", 0, found.start()) + 1, found.group(1))
            for found in re.finditer(r"^```sh[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)]


def split_comments(path, text):
    """(comments as (line, text), the code without them)"""
    comments, code = [], []
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        if path.suffix in SLASHES:
            before, mark, after = line.partition("//")
            # Not within a string, such as an address.
            if mark and before.count('"') % 2 == 0 and not before.endswith(":"):
                comments.append((number, after))
                line = before
        else:
            quotes = line.count('"""') if path.suffix == ".py" else 0
            if inside or quotes:
                comments.append((number, line))
                inside ^= quotes % 2 == 1
                line = ""
            elif line.lstrip().startswith("#"):
                comments.append((number, line))
                line = ""
        code.append(line)
    return comments, "\n".join(code)


class Tree:
    """What there is to name."""

    def __init__(self, root):
        self.root = root
        self.files = list(files_below(root))
        self.relative = {str(path.relative_to(root)) for path in self.files}
        self.folders = {str(folder) for name in self.relative for folder in pathlib.PurePath(name).parents} - {"."}
        self.tops = sorted(folder for folder in self.folders if "/" not in folder)
        self.names = {path.name for path in self.files}
        self.documents = [path for path in self.files if path.suffix == ".md"]
        self.comments = {}
        words = []
        for path in self.files:
            if path in self.documents or path.is_relative_to(root / "tests/docs"):
                continue
            words.append(str(path.relative_to(root)))
            if path.suffix in CODE and path.stat().st_size < 1_000_000 and "examples/janeausten" not in str(path):
                comments, code = split_comments(path, read(path))
                self.comments[path] = comments
                words.append(code)
        self.code = "\n".join(words)
        self.words = set(re.findall(r"\w+", self.code))
        self.flags = set(FLAG.findall(self.code))
        # CLI11's way of writing: "-h,--help".
        self.flags |= set(re.findall(r"--[a-z][a-z0-9-]*", self.code))
        self.keys = set(re.findall(r"^\| `([\w.]+)` \|", read(root / "docs/reference/job-file.md"), re.MULTILINE))
        self.commands = set(re.findall(r"^#+ `galleon ([a-z -]+)`", read(root / "docs/reference/cli.md"), re.MULTILINE))
        self.path = re.compile(r"(?<![\w./~$<>{}*-])((?:" + "|".join(map(re.escape, self.tops)) + r")/[\w./*-]*)") if self.tops else None

    def has_path(self, name):
        name = name.rstrip("/.")
        if "*" in name:
            return any(self.root.glob(name))
        return name in self.relative or name in self.folders or (self.root / name).exists()

    def has_name(self, name):
        """As it stands, or as a value of the job file, which .proto files have in capitals behind its kind."""
        return name in self.words or self.has_key(name) or re.search(rf"\b\w*{name.upper()}\b", self.code) is not None

    def has_key(self, key):
        return any(known == key or known.endswith("." + key) for known in self.keys)


class Check:
    def __init__(self, tree, foreign=()):
        self.tree, self.foreign, self.used, self.problems = tree, set(foreign), set(), []

    def need(self, there, path, line, name, what):
        if there:
            return
        name = name.rstrip("/.")
        if name in self.foreign:
            self.used.add(name)
            return
        self.problems.append(f"{path.relative_to(self.tree.root)}:{line}: {name}: {what}")

    def links(self, path, text):
        for found in re.finditer(r"\]\(([^)\s]+)(?: \"[^\"]*\")?\)", without_blocks(text)):
            target = found.group(1)
            if re.match(r"[a-z]+:", target):
                continue
            line = without_blocks(text).count("\n", 0, found.start()) + 1
            name, _, anchor = target.partition("#")
            to = (path.parent / name).resolve() if name else path
            self.need(to.exists(), path, line, target, "no such file for this link")
            if anchor and to.is_file() and to.suffix == ".md":
                self.need(anchor in anchors(read(to)), path, line, target, "no such heading")

    def paths(self, path, line, text):
        text = re.sub(r"\w+://\S+|\]\([^)]*\)", "", text)
        if self.tree.path:
            for name in self.tree.path.findall(text):
                self.need(self.tree.has_path(name), path, line, name.rstrip("."), "no such path")
        for name in FILE_NAME.findall(text):
            self.need(name in self.tree.names, path, line, name, "no such file")

    def identifiers(self, path, line, span):
        if re.search(r"\w/\w", span) and " " not in span:
            return  # a path
        for key in KEY.findall(span):
            self.need(self.tree.has_key(key), path, line, key, "no such key of the job file")
        for name in FLAG.findall(span):
            self.need(name in self.tree.flags, path, line, name, "no such option")
        for pattern in (SNAKE, PASCAL, CAPITALS):
            for name in pattern.findall(re.sub("-D(?=[A-Z])", "", KEY.sub("", FILE_NAME.sub("", span)))):
                self.need(self.tree.has_name(name), path, line, name, "no such name in the code")
        self.galleon(path, line, span)

    def galleon(self, path, line, text):
        for name, second in COMMAND.findall(text):
            self.need(name in self.tree.commands, path, line, f"galleon {name}", "no such command")
            nested = any(known.startswith(name + " ") for known in self.tree.commands)
            if nested and second:
                self.need(f"{name} {second}" in self.tree.commands, path, line, f"galleon {name} {second}", "no such command")

    def command(self, path, line, text):
        self.galleon(path, line, text)
        for name in FLAG.findall(text) if OURS.match(text) else []:
            self.need(name in self.tree.flags, path, line, name, "no such option")

    def document(self, path):
        text = read(path)
        self.links(path, text)
        generated = path.is_relative_to(self.tree.root / "docs/reference")
        for number, line in enumerate(without_blocks(text).splitlines(), 1):
            self.paths(path, number, line)
            for span in [] if generated else re.findall(r"`([^`]+)`", line):
                self.identifiers(path, number, span)
        for number, block in shell_blocks(text):
            for offset, line in enumerate(block.splitlines(), 1):
                self.paths(path, number + offset, line)
                for command in re.split(r"&&|\|\|?|;", line.partition("#")[0]):
                    self.command(path, number + offset, BEFORE.sub("", command.strip()))

    def comment(self, path, line, text):
        self.paths(path, line, text)
        for span in re.findall(r"`([^`]+)`", text):
            self.identifiers(path, line, span)

    def run(self):
        for path in self.tree.documents:
            self.document(path)
        for path, comments in self.tree.comments.items():
            for line, text in comments:
                self.comment(path, line, text)
        self.problems += [f"foreign_names.txt: {name}: nobody needs it" for name in sorted(self.foreign - self.used)]
        return self.problems


def foreign_names(path):
    lines = (line.partition(" #")[0].strip() for line in read(path).splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def main():
    here = pathlib.Path(__file__).resolve().parent
    root = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else here.parents[1]
    problems = Check(Tree(root), foreign_names(here / "foreign_names.txt")).run()
    if problems:
        sys.exit("\n".join(problems) + f"\n{len(problems)} names that are not there")


if __name__ == "__main__":
    main()
