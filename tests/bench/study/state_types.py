#!/usr/bin/env python3
"""How the moments' type changes what is learned: fp32, dynamic 8-bit codes and companded ones, everything else alike.

    tests/bench/study/state_types.py run [--data FOLDER] [--results FILE] [--arms NAME …] [--seeds 2]
    tests/bench/study/state_types.py table [--results FILE] [--into docs/convergence.md]

Each method runs at the rates that the search of two_rates.py found for it with moments in fp32. The table sets each type
beside fp32 seed by seed, and takes what two_rates.py has run already. Standard library only.
"""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import study  # noqa: E402
import two_rates  # noqa: E402

NAME = "state-types"
SEARCHED = "two-rates"
STUDIES = {NAME: two_rates.STUDIES[SEARCHED]}
METHODS = ("adamw", "galore", "muon", "galore-muon")
TYPES = {"fp32": {}, "8-bit": None, "flash": {"state_type": "flash"}}
# The rule whose large moments are in blocks of dynamic codes, without the decay that is its default.
CODED = {"adamw": {"rule": "adam8bit", "weight_decay": 0}, "muon": {"rule": "muon8bit", "weight_decay": 0}}


def arm_of(method, kind):
    own = two_rates.ARMS[method]
    changed = TYPES[kind] if TYPES[kind] is not None else CODED[own["optimizer"]["rule"]]
    return {**own, "optimizer": {**own["optimizer"], **changed}}


def best_point(lines, method):
    """Where the recorded search ended, or None."""
    searched = two_rates.STUDIES[SEARCHED]
    losses = {(line["matrices"], line["rest"]): study.loss_of(line) for line in lines
              if line["study"] == SEARCHED and line["arm"] == method and line["seed"] == searched["seeds"][0]}
    return two_rates.finished_search(searched, two_rates.ARMS[method], losses)


class Types(study.Study):
    def __init__(self, options):
        study.STUDIES.update(STUDIES)
        super().__init__(options)

    def arms(self):
        names = self.options.arms or list(METHODS)
        for name in names:
            if name not in METHODS:
                sys.exit(f"there is no arm {name}; one of {', '.join(METHODS)}")
        return names

    def tune_and_repeat(self, name):
        point = best_point(study.read_lines(self.results), name)
        if point is None:
            sys.exit(f"the search of {name} has not been run to its end: tests/bench/study/two_rates.py run --arms {name}")
        for seed in self.study["seeds"]:
            for kind in TYPES:
                job = two_rates.job_of(self.study, arm_of(name, kind), *point, seed)
                self.run_job(job, {"arm": name, "state": kind, "matrices": point[0], "rest": point[1], "seed": seed})


def by_seed(lines, method, kind, point):
    """The newest line of each seed at that point."""
    of_search = [line for line in lines if kind == "fp32" and line["study"] == SEARCHED]
    own = of_search + [line for line in lines if line["study"] == NAME and line.get("state") == kind]
    return {line["seed"]: line for line in own if line["arm"] == method and (line["matrices"], line["rest"]) == point
            and line["outcome"] == "finished"}


def table(lines, name):
    out = ["| method | moments | seeds | validation loss | against fp32, by seed | moments and bases |", "|---|---|---|---|---|---|"]
    used = []
    for method in METHODS:
        point = best_point(lines, method)
        exact = by_seed(lines, method, "fp32", point) if point else {}
        for kind in TYPES:
            runs = {seed: line for seed, line in by_seed(lines, method, kind, point).items() if seed in exact} if point else {}
            if not runs:
                continue
            used += runs.values()
            mean, error = study.mean_and_error([study.loss_of(line) for line in runs.values()])
            ratios = [100 * (study.loss_of(line) / study.loss_of(exact[seed]) - 1) for seed, line in sorted(runs.items())]
            against = "" if kind == "fp32" else ", ".join(f"{ratio:+.2f} %" for ratio in ratios)
            memory = next(iter(runs.values()))["memory"]
            loss = f"{mean:.4f}" + ("" if len(runs) < 2 else f" ± {error:.4f}")
            out.append(f"| {two_rates.ARMS[method]['title']} | {kind} | {len(runs)} | {loss} | {against} | "
                       f"{(memory['optimizer_states'] + memory['subspaces']) / 2**20:.2f} MiB |")
    if not used:
        return f"There is no run of {name}.\n"
    training = used[-1]["job"]["training"]
    dates = sorted(line["date"] for line in used)
    out += ["", f"Runs of {training['steps']} steps of {training['global_batch']} sequences of {used[-1]['job']['data']['sequence_length']} tokens, in "
            f"{training['precision']}, each method at the rates that were best for it in fp32; {used[-1]['machine']}, {dates[0]} to {dates[-1]}. Mean ± standard "
            "error over seeds. Made by `tests/bench/study/state_types.py table`."]
    return "\n".join(out) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    study.add_commands(parser, list(STUDIES), NAME, "two_rates.jsonl")
    options = parser.parse_args()
    if options.command == "run":
        return study.run_until_end(Types(options))
    return study.show_table(options, table)


if __name__ == "__main__":
    sys.exit(main())
