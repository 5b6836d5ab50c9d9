#!/usr/bin/env bash
# docs/job-file.md is what `galleon job-file` prints.
set -euo pipefail
diff -u "$1/docs/job-file.md" <("$2/galleon" job-file) || {
  echo "docs/job-file.md is not what the program says; write it again: galleon job-file > docs/job-file.md"
  exit 1
}
