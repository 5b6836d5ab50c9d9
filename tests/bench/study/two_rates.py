#!/usr/bin/env python3
"""Methods beside each other, each with the same search over two rates: that of matrices, and that of everything else.

    tests/bench/study/two_rates.py run [--data FOLDER] [--results FILE] [--arms NAME …] [--seeds 2]
    tests/bench/study/two_rates.py table [--results FILE] [--into docs/convergence.md]

An arm has five trials with the first seed: a cross around one starting point, in factors of two. First the matrices' rate:
the start, its double and its half; then, at the best of these, the rate of embedding, head and norms: its double and its
half. An arm with one rate for all spends the last two on the side on which the best lies. What lies at an end of what
was tried is marked in the table. The other seeds then run at the best point. Every finished run is a line of the results, and
a run that has a line is not run again: the program may be ended and started anew.

The text is that of study.py, whose options it shares. Standard library only.
"""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import study  # noqa: E402

NAME = "two-rates"
STUDIES = {
    NAME: {"model": "llama-9m", "sequence": 128, "batch": 16, "micro_batch": 16, "steps": 320, "rank": 32, "whole": 128,
           "interval": 50, "seeds": [1, 2], "evaluate_tokens": 65536},
    # Ends on the plateau of pairs of tokens, which embedding and head reach alone.
    "two-rates-brief": {"model": "llama-9m", "sequence": 128, "batch": 16, "micro_batch": 16, "steps": 120, "rank": 32, "whole": 128,
                        "interval": 24, "seeds": [1, 2], "evaluate_tokens": 65536, "matrices": 0.004},
    # For the tests of this program.
    "two-rates-tiny": {"model": "tiny", "sequence": 32, "batch": 8, "micro_batch": 8, "steps": 10, "rank": 8, "whole": 64, "interval": 5,
                       "seeds": [1, 2], "evaluate_tokens": 1024},
}
TORCH_EPSILON = {"epsilon": 1e-8, "epsilon_form": "corrected"}
MATRICES = 0.002  # where the search begins, as the rate that reaches a matrix, unless the study says otherwise
REST = 0.02


def arm(title, rule="adamw", rest=REST, scale=1.0, epsilon=True, **optimizer):
    """scale: the method's own factor on what reaches a matrix. rest: None is one rate for all, before that factor."""
    common = TORCH_EPSILON if epsilon else {}
    return {"title": title, "rest": rest, "scale": scale, "optimizer": {"rule": rule, **common, **optimizer}}


def galore(title, rule="adamw", rest=REST, epsilon=True, **keys):
    return arm(title, rule, rest=rest, scale=0.25, epsilon=epsilon, galore=keys)


def whole(title, rule, scale=1.0, **projection):
    keys = {"projection": projection} if projection else {}
    return arm(title, rule, scale=scale, **keys)


# A method that is added is a line here.
ARMS = {
    "adamw-one-rate": arm("AdamW, one rate for all", rest=None),
    "adamw": arm("AdamW"),
    "galore-one-rate": galore("GaLore, AdamW, one rate for all", rest=None),
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
        start = self.study.get("matrices", MATRICES)
        best = search(start, ARMS[name]["rest"], lambda matrices, rest: self.trial(name, matrices, rest, first))
        if name in self.unavailable:
            return
        for seed in others:
            self.trial(name, *best, seed)

    def trial(self, name, matrices, rest, seed):
        job = job_of(self.study, ARMS[name], matrices, rest, seed)
        return self.run_job(job, {"arm": name, "matrices": matrices, "rest": rest, "seed": seed})


def search(start, rest, loss_at):
    """The best of five trials, as (matrices, rest)."""
    losses = {(rate, rest): loss_at(rate, rest) for rate in (start, 2 * start, start / 2)}
    best = min(losses, key=losses.get)
    if rest is None:
        for _ in range(2):
            rates = sorted(rate for rate, _ in losses)
            further = rates[-1] * 2 if best[0] >= start else rates[0] / 2
            losses[(further, None)] = loss_at(further, None)
            best = min(losses, key=losses.get)
        return best
    for other in (2 * rest, rest / 2):
        losses[(best[0], other)] = loss_at(best[0], other)
    return min(losses, key=losses.get)


def rate_text(value, tried):
    """Marked where no larger or no smaller one was tried."""
    end = value in (min(tried), max(tried))
    return f"{value:g}" + (" ⁺" if end else "")


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
        if len(trials) < 5 or study.loss_of(best) == float("inf"):
            continue
        at_best = [line for line in own if (line["matrices"], line["rest"]) == (best["matrices"], best["rest"])]
        mean, error = study.mean_and_error([study.loss_of(line) for line in at_best])
        on_cross = [line for line in trials if line["rest"] in (best["rest"], one["rest"])]
        matrices = rate_text(best["matrices"], [line["matrices"] for line in on_cross])
        rest = "the same" if one["rest"] is None else rate_text(best["rest"], [line["rest"] for line in trials if line["matrices"] == best["matrices"]])
        chosen[arm_name] = {"title": one["title"], "matrices": matrices, "rest": rest, "mean": mean, "error": error, "seeds": len(at_best),
                            "bytes": best["memory"]["optimizer_states"] + best["memory"]["subspaces"],
                            "gradients": best["memory"]["gradients"],
                            "seconds": sorted(line["train_seconds"] for line in own)[len(own) // 2]}
    return chosen


def table(lines, name):
    chosen = summaries(lines, name)
    if not chosen:
        return f"There is no finished search of {name}.\n"
    base = chosen.get("adamw")
    out = ["| method | matrices' rate | rate of the rest | seeds | validation loss | against AdamW | optimizer's state | memory of gradients |",
           "|---|---|---|---|---|---|---|---|"]
    for s in sorted(chosen.values(), key=lambda s: s["mean"]):
        against = f"{100 * (s['mean'] / base['mean'] - 1):+.1f} %" if base else ""
        loss = f"{s['mean']:.3f}" + ("" if s["seeds"] < 2 else f" ± {s['error']:.3f}")
        out.append(f"| {s['title']} | {s['matrices']} | {s['rest']} | {s['seeds']} | {loss} | {against} | {s['bytes'] / 2**20:.2f} MiB | {s['gradients'] / 2**20:.2f} MiB |")
    own = [line for line in lines if line["study"] == name]
    last = own[-1]
    training = last["job"]["training"]
    out += ["", f"{len(own)} runs of {training['steps']} steps of {training['global_batch']} sequences of "
            f"{last['job']['data']['sequence_length']} tokens, in {training['precision']}, vocabulary {last['vocabulary']:,}; {last['machine']}, "
            f"{own[0]['date']} to {last['date']}. Sorted by loss. ⁺: no rate beyond was tried. Mean ± standard error over seeds, at the "
            "point that was best for the first. Made by `tests/bench/study/two_rates.py table`."]
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
