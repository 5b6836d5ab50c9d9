#!/usr/bin/env python3
"""Sources of the store compile where libpq is missing, as on a machine that only the quickstart has prepared: without_postgres.py BUILD_FOLDER

Each source that asks for GALLEON_POSTGRES is compiled as it was here, without that word and without output.
"""

import json
import pathlib
import shlex
import subprocess
import sys


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    commands = {entry["file"]: entry for entry in json.loads((build / "compile_commands.json").read_text())}
    asking = [file for file in commands if "/server/" in file and "/tests/" not in file and "GALLEON_POSTGRES" in pathlib.Path(file).read_text()]
    assert len(asking) >= 2, asking
    failed = []
    for file in sorted(asking):
        words = shlex.split(commands[file]["command"])
        words = words[next(i for i, word in enumerate(words) if word.endswith("++")):]
        words = [word for word in words if word != "-DGALLEON_POSTGRES"]
        out = words.index("-o")
        done = subprocess.run([*words[:out], *words[out + 2:], "-fsyntax-only"], cwd=commands[file]["directory"], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            failed.append(f"{file}: {done.stderr}")
    if failed:
        sys.exit("\n".join(failed))
    print(f"{len(asking)} sources compile without PostgreSQL")


if __name__ == "__main__":
    main()
