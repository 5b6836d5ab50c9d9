#!/usr/bin/env python3
"""Writes README.md beside it: every value with its default, what values.yaml says of it and what values.schema.json accepts.

    make_readme.py [--check]      --check: exits 1 where README.md is not what this would write
"""

import json
import pathlib
import re
import sys

import yaml

CHART = pathlib.Path(__file__).resolve().parent
INTRODUCTION = """# Galleon's chart

A scheduler, groups of workers, their certificates, policies, dashboards and alerts. Made by `make_readme.py` from `values.yaml` and `values.schema.json`.

```sh
helm install galleon helm/galleon --namespace galleon --create-namespace --values values.yaml
```

Values files to begin with: one-node-cpu.yaml, one-gpu-node.yaml, gpu-nodes-rdma.yaml, host-network-dra.yaml, openshift.yaml, spot-nodes.yaml, several-schedulers.yaml and existing-secrets.yaml in `helm/values`. How to go on is in `docs/install.md` and `docs/operate.md`.
Keys that are not in this list are refused, and so is what cannot work together, each by its name.

`scheduler`, `workerDefaults`, each group of `workers`, `tasks` and `cli` also take every key of `pods`, and a group of `workers` every key of `workerDefaults`.
"""


def comments(text):
    """What stands above a key, by the key's path."""
    said, path, above = {}, [], []
    for line in text.splitlines():
        bare = line.strip()
        depth = (len(line) - len(line.lstrip())) // 2
        if not bare:
            above = []
        elif bare.startswith("#"):
            above.append(bare[1:].strip())
        elif key := re.match(r"([A-Za-z_]\w*):", bare):
            path = path[:depth] + [key.group(1)]
            said[tuple(path)] = " ".join(above)
            above = []
    return said


def accepted(described, definitions):
    """A few words on what the schema accepts."""
    if "$ref" in described:
        described = definitions[described["$ref"].rsplit("/", 1)[1]]
    if "enum" in described:
        return ", ".join(f"`{each}`" if each != "" else "empty" for each in described["enum"])
    if "description" in described:
        return described["description"]
    kinds = described.get("type", [])
    if "integer" in kinds and ("minimum" in described or "maximum" in described):
        return f"{described.get('minimum', 0)} and more" if "maximum" not in described else f"{described['minimum']} to {described['maximum']}"
    return ""


def leads_to(described, key, definitions):
    if "$ref" in described:
        described = definitions[described["$ref"].rsplit("/", 1)[1]]
    return described.get("properties", {}).get(key, {})


def rows(values, said, described, definitions, path=()):
    for key, value in values.items():
        here = path + (key,)
        below = leads_to(described, key, definitions)
        words = " ".join(part for part in (said.get(here, ""), (lambda a: f"({a})" if a else "")(accepted(below, definitions))) if part)
        nested = isinstance(value, dict) and value and leads_to(below, next(iter(value)), definitions)
        default = "" if nested else f"`{yaml.safe_dump(value, default_flow_style=True, width=10**6).strip().removesuffix('...').strip()}`"
        if not nested or words:
            yield f"| `{'.'.join(here)}` | {default} | {words} |".replace("  ", " ")
        if nested:
            yield from rows(value, said, below, definitions, here)


def readme():
    text = (CHART / "values.yaml").read_text()
    schema = json.loads((CHART / "values.schema.json").read_text())
    values, said = yaml.safe_load(text), comments(text)
    out = [INTRODUCTION, "## Values", "", "| value | default | |", "|---|---|---|"]
    out += rows(values, said, schema, schema["definitions"])
    return "\n".join(out) + "\n"


def main():
    path = CHART / "README.md"
    if sys.argv[1:] == ["--check"]:
        if not path.exists() or path.read_text() != readme():
            print("helm/galleon/README.md is out of date: run helm/galleon/make_readme.py", file=sys.stderr)
            sys.exit(1)
        return
    path.write_text(readme())


if __name__ == "__main__":
    main()
