#!/usr/bin/env python3
"""Runs a test with the Python of tests/tools.sh where it is there, else with this one: each test says itself what it misses.

    with_tools.py TEST ARGUMENT…
"""

import os
import pathlib
import sys

python = pathlib.Path(os.environ.get("GALLEON_TOOLS", "build/tools")) / "venv/bin/python"
chosen = str(python) if python.exists() else sys.executable
os.execv(chosen, [chosen, "-B", *sys.argv[1:]])
