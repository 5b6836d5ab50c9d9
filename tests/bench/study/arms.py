"""What the convergence study compares: studies (a model and a budget), arms (an optimizer each) and claims about them."""

# Keys of the job file by study. `whole`: a rank that leaves nothing out. `arms`: None is all of them.
# `tuning_steps`: a rate is chosen by the first seed's runs of so many steps, where runs of all steps would take days. `checkpoint_every`: an ended run goes on from there.
STUDIES = {
    "llama-9m": {
        "model": "llama-9m",
        "sequence": 128,
        "batch": 16,
        "micro_batch": 16,
        "steps": 320,
        "rank": 32,
        "whole": 128,
        "interval": 50,
        "seeds": [1, 2, 3],
        "evaluate_tokens": 65536,
        "arms": None,
    },
    "llama-60m": {
        "model": "llama-60m",
        "sequence": 256,
        "batch": 16,
        "micro_batch": 16,
        "steps": 733,
        "tuning_steps": 80,
        "checkpoint_every": 40,
        "rank": 128,
        "whole": 512,
        "interval": 200,
        "seeds": [1],
        "evaluate_tokens": 131072,
        "arms": ["full-bf16", "galore-bf16"],
    },
    # Rules and rates beside each other, briefly: the same model and text, fewer steps and one seed.
    "methods": {
        "model": "llama-9m",
        "sequence": 128,
        "batch": 16,
        "micro_batch": 16,
        "steps": 120,
        "rank": 32,
        "whole": 128,
        "interval": 40,
        "seeds": [1],
        "evaluate_tokens": 32768,
        "arms": ["full-adamw", "full-rates", "galore-subspace", "full-muon", "galore-muon"],
    },
    # For the tests of this program.
    "tiny": {
        "model": "tiny",
        "sequence": 32,
        "batch": 8,
        "micro_batch": 8,
        "steps": 20,
        "rank": 8,
        "whole": 64,
        "interval": 5,
        "seeds": [1, 2],
        "evaluate_tokens": 1024,
        "arms": None,
    },
    "tiny-tuned-briefly": {
        "model": "tiny",
        "sequence": 32,
        "batch": 8,
        "micro_batch": 8,
        "steps": 20,
        "tuning_steps": 4,
        "checkpoint_every": 2,
        "rank": 8,
        "whole": 64,
        "interval": 5,
        "seeds": [1],
        "evaluate_tokens": 1024,
        "arms": None,
    },
}

# Rates that an arm begins with; at an end of them the grid goes on by another factor of two.
FULL_RATES = [0.001, 0.002]
GALORE_RATES = [0.01, 0.02]
# What is not projected, beside matrices, about as under GaLore.
TEN_TIMES = {"embedding": 10, "head": 10}


def arm(title, rates, rule="adamw", galore=None, lora=None, precision="fp32", group_rates=None, **optimizer):
    if group_rates is not None:
        optimizer["rates"] = group_rates
    return {
        "title": title,
        "rates": rates,
        "optimizer": {"rule": rule, **optimizer},
        "galore": galore,
        "lora": lora,
        "precision": precision,
    }


def galore(title, rates=None, rule="adamw", precision="fp32", **keys):
    return arm(title, rates or GALORE_RATES, rule, galore=keys, precision=precision)


# Beside what is given, `galore` has the study's rank and interval, and `lora` its rank.
ARMS = {
    "full-adamw": arm("Full rank, AdamW", FULL_RATES),
    "galore-subspace": galore("GaLore, subspace iteration"),
    "galore-exact": galore("GaLore, exact SVD", refresh="exact"),
    "galore-random": galore("GaLore, random bases", refresh="random"),
    "full-bf16": arm("Full rank, AdamW, bf16", FULL_RATES, precision="bf16"),
    "galore-bf16": galore("GaLore, subspace iteration, bf16", precision="bf16"),
    "full-rates": arm("Full rank, AdamW, embedding and head at ten times the rate", FULL_RATES, group_rates=TEN_TIMES),
    "full-muon": arm("Full rank, Muon, embedding and head at ten times the rate", FULL_RATES, "muon", group_rates=TEN_TIMES),
    "galore-muon": galore("GaLore, Muon", rule="muon"),
    "galore-int4": galore("GaLore, int4 bases", basis_type="int4"),
    "galore-adam8bit": galore("GaLore, 8-bit Adam", rule="adam8bit"),
    "full-adam8bit": arm("Full rank, 8-bit Adam", FULL_RATES, "adam8bit"),
    "galore-first-exact": galore("GaLore, first basis by SVD, then subspace iteration", first_basis="exact"),
    "galore-rotate": galore("GaLore, moments rotated at a refresh", moments_at_refresh="rotate"),
    "galore-lazy": galore("GaLore, lazy refresh above an overlap of 0.5", lazy_threshold=0.5),
    "galore-reset": galore("GaLore, moments reset at a refresh", moments_at_refresh="reset"),
    "galore-int8": galore("GaLore, int8 bases", basis_type="int8"),
    "full-adafactor": arm("Full rank, Adafactor", FULL_RATES, "adafactor"),
    "galore-adafactor": galore("GaLore, Adafactor", rule="adafactor"),
    "lora": arm("LoRA, AdamW", GALORE_RATES, lora={}),
    # What of GaLore is the low rank's doing, and what the other coordinates'?
    "galore-whole": galore("GaLore at a rank that leaves nothing out", rank="whole"),
}

# (arm, reference, by how many per cent its validation loss may be higher).
CLAIMS = [
    ("galore-subspace", "full-adamw", 2.0),
    ("galore-subspace", "galore-exact", 0.5),
    ("full-adam8bit", "full-adamw", 1.0),
    ("galore-adam8bit", "galore-subspace", 1.0),
    ("galore-int4", "galore-subspace", 1.0),
    ("full-bf16", "full-adamw", 0.5),
    ("galore-bf16", "galore-subspace", 0.5),
    ("galore-bf16", "full-bf16", 2.0),
]
