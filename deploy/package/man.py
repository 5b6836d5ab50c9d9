#!/usr/bin/env python3
"""Writes a program's manual page from its own help: man.py PROGRAM NAME VERSION > NAME.1

Sections: the first paragraph is the name, what follows is shown as the program prints it. `galleon` gets its subcommands'
help too.
"""

import os
import re
import subprocess
import sys


def help_of(command):
    text = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True).stdout
    # The program's own path, and that of others beside it, is where they were built.
    return text.replace(command[0], os.path.basename(command[0])).replace(os.path.dirname(os.path.abspath(command[0])), "/usr/bin")


def quoted(text):
    lines = (line.replace("\\", "\\e").replace("-", "\\-") for line in text.rstrip().splitlines())
    return "\n".join("\\&" + line if line[:1] in (".", "'") else line for line in lines)


def main():
    program, name, version = sys.argv[1:]
    text = help_of([program])
    first, rest = text.split("\n", 1)
    out = [f'.TH {name.upper()} 1 "" "Galleon {version}" "Galleon"', ".SH NAME", f"{name} \\- {quoted(first.rstrip('.'))}",
           ".SH DESCRIPTION", ".nf", quoted(rest), ".fi"]
    for command in re.findall(r"^  ([a-z][a-z-]+) {2,}", text.split("Subcommands:", 1)[1] if "Subcommands:" in text else "", re.MULTILINE):
        out += [f".SH {name.upper()} {command.upper()}", ".nf", quoted(help_of([program, command])), ".fi"]
    print("\n".join(out))


if __name__ == "__main__":
    main()
