#!/usr/bin/env python3
"""Methods beside each other, each with the same search over two rates: that of matrices, and that of everything else.

    tests/bench/study/two_rates.py run [--data FOLDER] [--results FILE] [--arms NAME …] [--seeds 2]
    tests/bench/study/two_rates.py table [--results FILE] [--into docs/convergence.md]

The first seed searches around one starting point, in factors of two. First the matrices' rate: the start, its double and
its half, and on from there while the best lies at an end, at most `further` times. Then, at the best of these, the rate of
embedding, head and norms in the same way. A study without `further` has a cross of five trials. An arm with one rate for
all spends the second search's trials on the side on which the best lies. What lies at an end of what was tried is marked
in the table. The other seeds then run at the best point, and so do two ranks, for one interval between refreshes, whose
bytes on the wire are counted. Every finished run is a line of the results, and a run that has a line is not run again:
the program may be ended and started anew.

The text is that of study.py, whose options it shares. Standard library only.
"""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import study  # noqa: E402

NAME = "two-rates"
WIRE = "-wire"  # of the runs whose bytes are counted
STUDIES = {
    # Begins where the runs of the brief one had ended.
    NAME: {"model": "llama-9m", "sequence": 128, "batch": 16, "micro_batch": 16, "steps": 320, "rank": 32, "whole": 128,
           "interval": 50, "seeds": [1, 2, 3], "evaluate_tokens": 65536, "matrices": 0.004, "rest": 0.04, "further": 4, "log_every": 10,
           "target": 4.35},
    # Ends on the plateau of pairs of tokens, which embedding and head reach alone.
    "two-rates-brief": {"model": "llama-9m", "sequence": 128, "batch": 16, "micro_batch": 16, "steps": 120, "rank": 32, "whole": 128,
                        "interval": 24, "seeds": [1, 2], "evaluate_tokens": 65536, "matrices": 0.004},
    # For the tests of this program.
    "two-rates-tiny": {"model": "tiny", "sequence": 32, "batch": 8, "micro_batch": 8, "steps": 10, "rank": 8, "whole": 64, "interval": 5,
                       "seeds": [1, 2], "evaluate_tokens": 1024, "further": 1, "log_every": 2,
                       "target": 4.5},
}
TORCH_EPSILON = {"epsilon": 1e-8, "epsilon_form": "corrected"}
# Where the search begins unless the study says otherwise; the first as the rate that reaches a matrix.
MATRICES = 0.002
REST = 0.02


def arm(title, rule="adamw", one_rate=False, scale=1.0, epsilon=True, **optimizer):
    """scale: the method's own factor on what reaches a matrix. one_rate: for all, before that factor."""
    common = TORCH_EPSILON if epsilon else {}
    return {"title": title, "one_rate": one_rate, "scale": scale, "optimizer": {"rule": rule, **common, **optimizer}}


def galore(title, rule="adamw", one_rate=False, epsilon=True, **keys):
    return arm(title, rule, one_rate=one_rate, scale=0.25, epsilon=epsilon, galore=keys)


def whole(title, rule, scale=1.0, **projection):
    keys = {"projection": projection} if projection else {}
    return arm(title, rule, scale=scale, **keys)


# A method that is added is a line here.
ARMS = {
    "adamw-one-rate": arm("AdamW, one rate for all", one_rate=True),
    "adamw": arm("AdamW"),
    "galore-one-rate": galore("GaLore, AdamW, one rate for all", one_rate=True),
    "galore": galore("GaLore, AdamW"),
    "muon": arm("Muon", "muon"),
    "galore-muon": galore("GaLore, Muon", "muon"),
    "adam8bit": arm("8-bit Adam", "adam8bit", weight_decay=0),
    "galore-adam8bit": galore("GaLore, 8-bit Adam", "adam8bit"),
    "adafactor": arm("Adafactor", "adafactor", epsilon=False),
    "galore-adafactor": galore("GaLore, Adafactor", "adafactor", epsilon=False),
    "galore-whole": galore("GaLore, AdamW, at a rank that leaves nothing out", rank="whole"),
    "scale": whole("SCALE", "scale"),
    "apollo": whole("APOLLO", "apollo", rank="study"),
    "apollo-mini": whole("APOLLO-Mini", "apollo_mini", rank=1),
    "fira": whole("Fira", "fira", scale=0.25, rank="study"),
    "lora": arm("LoRA, AdamW", lora={}),
}


def job_of(own, arm, matrices, rest, seed):
    """The job file of one run, without paths."""
    rate = matrices / arm["scale"]
    given = {"optimizer": dict(arm["optimizer"]), "galore": None, "lora": None, "precision": "bf16"}
    given["galore"] = given["optimizer"].pop("galore", None)
    given["lora"] = given["optimizer"].pop("lora", None)
    if given["galore"] is not None:
        given["optimizer"].setdefault("weight_decay", 0)
    if rest is not None:
        ratio = float(f"{rest / rate:.9g}")
        given["optimizer"]["rates"] = {"embedding": ratio, "head": ratio, "vectors": ratio}
    job = study.job_of(own, given, float(f"{rate:.9g}"), seed, own["steps"])
    job["training"]["log_every"] = own.get("log_every", job["training"]["log_every"])
    if "projection" in job["optimizer"]:
        projection = {"refresh_interval": own["interval"], **job["optimizer"]["projection"]}
        if projection["rank"] == "study":
            projection["rank"] = own["rank"]
        job["optimizer"]["projection"] = projection
    return job


class Search(study.Study):
    def __init__(self, options):
        study.STUDIES.update(STUDIES)
        super().__init__(options)

    def arms(self):
        names = self.options.arms or list(ARMS)
        for name in names:
            if name not in ARMS:
                sys.exit(f"there is no arm {name}; one of {', '.join(ARMS)}")
        return names

    def tune_and_repeat(self, name):
        first, *others = self.study["seeds"]
        best = search(self.study, ARMS[name], lambda matrices, rest: self.trial(name, matrices, rest, first))
        if name in self.unavailable:
            return
        for seed in others:
            self.trial(name, *best, seed)
        if "further" in self.study:
            self.run_job(wire_job_of(self.study, ARMS[name], *best), {"arm": name, "matrices": best[0], "rest": best[1], "seed": first},
                         self.options.study + WIRE)

    def trial(self, name, matrices, rest, seed):
        job = job_of(self.study, ARMS[name], matrices, rest, seed)
        return self.run_job(job, {"arm": name, "matrices": matrices, "rest": rest, "seed": seed})


def wire_job_of(own, arm, matrices, rest):
    """Two ranks, one step and an interval after it, of which every step is logged."""
    job = job_of({**own, "micro_batch": own["micro_batch"] // 2, "steps": own["interval"] + 1, "log_every": 1}, arm, matrices, rest, own["seeds"][0])
    return {**job, "parallel": {"ranks": 2}}


def along(start, further, loss_at):
    """The best of start, its double and its half, and of what lies on beyond it while it is at an end."""
    losses = {rate: loss_at(rate) for rate in (start, 2 * start, start / 2)}
    for _ in range(further):
        best = min(losses, key=losses.get)
        if best not in (min(losses), max(losses)) or losses[best] == float("inf"):
            break
        rate = best * 2 if best == max(losses) else best / 2
        losses[rate] = loss_at(rate)
    return losses


def search(own, arm, loss_at):
    """The best point, as (matrices, rest). loss_at: of both; it may be asked twice for one point."""
    start, rest, further = own.get("matrices", MATRICES), own.get("rest", REST), own.get("further", 0)
    if not arm["one_rate"]:
        losses = along(start, further, lambda rate: loss_at(rate, rest))
        matrices = min(losses, key=losses.get)
        losses = along(rest, further, lambda other: loss_at(matrices, other))
        return matrices, min(losses, key=losses.get)
    losses = along(start, further, lambda rate: loss_at(rate, None))
    for _ in range(2):
        best = min(losses, key=losses.get)
        rate = max(losses) * 2 if best >= start else min(losses) / 2
        losses[rate] = loss_at(rate, None)
    return min(losses, key=losses.get), None


def rate_text(value, tried):
    """Marked where no larger or no smaller one was tried."""
    end = value in (min(tried), max(tried))
    return f"{value:g}" + (" ⁺" if end else "")


class NotRun(Exception):
    pass


def finished_search(own, arm, losses):
    """The best point where the recorded trials are those of a whole search, else None. losses: by (matrices, rest)."""
    def recorded(*point):
        if point not in losses:
            raise NotRun
        return losses[point]
    try:
        return search(own, arm, recorded)
    except NotRun:
        return None


def steps_to(line, target):
    """The first step at which the mean of five logged training losses is at most `target`."""
    logged = line.get("steps_and_losses", [])
    for last in range(4, len(logged)):
        if sum(loss for _, loss in logged[last - 4:last + 1]) / 5 <= target:
            return logged[last][0]
    return None


def middle(values):
    return sorted(values)[len(values) // 2]


def time_to_loss(at_best, own):
    """Steps and processor seconds to the study's loss, the middle one of the seeds; none where a seed did not reach it."""
    reached = [steps_to(line, own["target"]) for line in at_best] if "target" in own else [None]
    if None in reached or any("processor_seconds" not in line for line in at_best):
        return {}
    steps = at_best[0]["job"]["training"]["steps"]
    return {"steps_to": middle(reached), "seconds_to": middle([line["processor_seconds"] * at / steps for line, at in zip(at_best, reached)])}


def summaries(lines, name):
    chosen = {}
    for arm_name, one in ARMS.items():
        own = [line for line in lines if line["study"] == name and line["arm"] == arm_name]
        if not own:
            continue
        own = [line for line in own if line["job"]["training"] == own[-1]["job"]["training"] and line["corpus"] == own[-1]["corpus"]]
        first = min(line["seed"] for line in own)
        trials = [line for line in own if line["seed"] == first]
        best = min(trials, key=study.loss_of)
        point = (best["matrices"], best["rest"])
        if finished_search(STUDIES[name], one, {(line["matrices"], line["rest"]): study.loss_of(line) for line in trials}) != point \
                or study.loss_of(best) == float("inf"):
            continue
        at_best = [line for line in own if (line["matrices"], line["rest"]) == point]
        mean, error = study.mean_and_error([study.loss_of(line) for line in at_best])
        on_cross = [line for line in trials if line["rest"] in (best["rest"], STUDIES[name].get("rest", REST))]
        matrices = rate_text(best["matrices"], [line["matrices"] for line in on_cross])
        rest = "the same" if one["one_rate"] else rate_text(best["rest"], [line["rest"] for line in trials if line["matrices"] == best["matrices"]])
        wire = [line["sent"][1:] for line in lines if line["study"] == name + WIRE and line["arm"] == arm_name
                and (line["matrices"], line["rest"]) == point]
        chosen[arm_name] = {"title": one["title"], "matrices": matrices, "rest": rest, "mean": mean, "error": error, "seeds": len(at_best),
                            "bytes": best["memory"]["optimizer_states"] + best["memory"]["subspaces"],
                            "gradients": best["memory"]["gradients"], **time_to_loss(at_best, STUDIES[name])}
        if wire:
            chosen[arm_name]["wire"] = sum(wire[-1]) / len(wire[-1])
    return chosen


def table(lines, name):
    chosen = summaries(lines, name)
    if not chosen:
        return f"There is no finished search of {name}.\n"
    base = chosen.get("adamw")
    costs = any("wire" in s for s in chosen.values())
    target = STUDIES[name].get("target")
    out = ["| method | matrices' rate | rate of the rest | seeds | validation loss | against AdamW | optimizer's state | memory of gradients |",
           "|---|---|---|---|---|---|---|---|"]
    if costs:
        out[0] += f" sent a step | steps to {target:g} | processor seconds |"
        out[1] += "---|---|---|"
    for s in sorted(chosen.values(), key=lambda s: s["mean"]):
        against = f"{100 * (s['mean'] / base['mean'] - 1):+.1f} %" if base else ""
        loss = f"{s['mean']:.3f}" + ("" if s["seeds"] < 2 else f" ± {s['error']:.3f}")
        row = f"| {s['title']} | {s['matrices']} | {s['rest']} | {s['seeds']} | {loss} | {against} | {s['bytes'] / 2**20:.2f} MiB | {s['gradients'] / 2**20:.2f} MiB |"
        if costs:
            row += f" {s['wire'] / 2**20:.2f} MiB |" if "wire" in s else " |"
            row += f" {s['steps_to']} | {s['seconds_to']:.0f} |" if "steps_to" in s else " not reached by all | |"
        out.append(row)
    own = [line for line in lines if line["study"] == name and line["arm"] in chosen]
    last = own[-1]
    training = last["job"]["training"]
    told = ("" if not costs else f" Sent: by the first of two ranks, in the mean of {STUDIES[name]['interval']} steps with a refresh. Steps to {target:g}: until "
            "the mean of five training losses, each of every tenth step, is there, a loss that was chosen after the runs, as one that all reach at different steps; processor seconds are the run's by the share of these steps, "
            "on a machine with other load. Both are those of the middle seed.")
    out += ["", f"{len(own)} runs of {training['steps']} steps of {training['global_batch']} sequences of "
            f"{last['job']['data']['sequence_length']} tokens, in {training['precision']}, vocabulary {last['vocabulary']:,}; {last['machine']}, "
            f"{own[0]['date']} to {last['date']}. Sorted by loss. ⁺: no rate beyond was tried. Mean ± standard error over seeds, at the "
            f"point that was best for the first.{told} Made by `tests/bench/study/two_rates.py table`."]
    return "\n".join(out) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    study.add_commands(parser, list(STUDIES), NAME, "two_rates.jsonl")
    options = parser.parse_args()
    if options.command == "run":
        return study.run_until_end(Search(options))
    return study.show_table(options, table)


if __name__ == "__main__":
    sys.exit(main())
