#!/usr/bin/env python3
"""Schemathesis against a real scheduler: what its OpenAPI description promises. Skipped by name where it is not installed.

    run_schemathesis.py FOLDER_OF_PROGRAMS
"""

import os
import pathlib
import subprocess
import sys

from service import Service

tool = pathlib.Path(os.environ.get("GALLEON_TOOLS", "build/tools")) / "venv/bin/schemathesis"
if not tool.exists():
    print("skipped: schemathesis is not here; tests/tools.sh fetches it")
    sys.exit(77)
service = Service(sys.argv[1]).start()
# Something to be found, and something that has ended.
service.submit("first")
service.cli("cancel", service.submit("second"))
# Streams last until somebody ends them; tests/page/interface_test.py reads those.
done = subprocess.run([tool, "run", f"{service.page}openapi.json", "--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
                       "--exclude-path-regex", "/(watch|follow|events)$", "--max-examples", sys.argv[2] if len(sys.argv) > 2 else "30", "--seed", "7", "--request-timeout", "30", "--no-color"],
                      cwd=service.folder, env={**os.environ, "NO_COLOR": "1"}, check=False)
alive = service.scheduler.poll() is None
service.stop()
if not alive:
    sys.exit("the scheduler ended")
sys.exit(done.returncode)
