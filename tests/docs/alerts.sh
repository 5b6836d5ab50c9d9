#!/usr/bin/env bash
# Every alert is explained in docs/operate.md, and nothing there is without its alert: alerts.sh SOURCE
set -euo pipefail
cd "$1"
diff <(grep -oP 'alert: \K\w+' helm/galleon/rules/alerts.yaml | sort) <(grep -oP '^\| `\KGalleon\w+' docs/operate.md | sort)
