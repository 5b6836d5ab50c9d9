#!/usr/bin/env python3
"""Runs a test with the Python of tests/tools.sh, which has pyarrow and moto; skips where it is not, or the plug-in was not built.

    with_tools.py TEST BIN_FOLDER
"""

import os
import pathlib
import subprocess
import sys

test, binaries = sys.argv[1:]
python = pathlib.Path(os.environ["GALLEON_TOOLS"]) / "venv/bin/python"
if not (pathlib.Path(binaries) / "libgalleon_arrow.so").exists():
    print("skipped: the plug-in around Apache Arrow was not built; tests/tools.sh fetches Arrow before the build is configured")
    sys.exit(77)
if not python.exists() or subprocess.run([python, "-c", "import pyarrow.parquet, moto, boto3"], check=False).returncode != 0:
    print("skipped: pyarrow and moto are not here; tests/tools.sh fetches them")
    sys.exit(77)
os.execv(python, [str(python), "-B", test, binaries])
