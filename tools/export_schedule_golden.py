"""Learning rates of transformers' schedulers, for tests/unit/train/test_schedule.c.

    python tools/export_schedule_golden.py [tests/unit/train/fixtures/schedules.json]

Each case: the flags as cloze takes them, the steps in all, and rate / peak for every optimizer step up to
two behind the end (transformers' cosine, which rises again there, is held at its end).
"""
import itertools
import json
import sys
import warnings
from pathlib import Path

import torch
import transformers

PEAK = 3e-5
SETTINGS = {
    "linear": [{}], "constant": [{}], "constant_with_warmup": [{}],
    "cosine": [{}, {"num_cycles": 1.0}, {"num_cycles": 0.25}],
    "cosine_with_restarts": [{}, {"num_cycles": 3}],
    "cosine_with_min_lr": [{"min_lr": 3e-6}, {"min_lr_rate": 0.25}],
    "polynomial": [{}, {"power": 2.0}, {"power": 0.5, "lr_end": 3e-6}],
    "inverse_sqrt": [{}, {"timescale": 4}],
}


def multipliers(kind, warmup, total, settings):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    scheduler = transformers.get_scheduler(kind, optimizer, warmup, total, scheduler_specific_kwargs=settings)
    rates = []
    for step in range(total + 3):
        rates.append(scheduler.get_last_lr()[0] / PEAK)
        if step < total or not kind.startswith("cosine"):
            optimizer.step()
            scheduler.step()
    return rates


def main(path):
    warnings.simplefilter("ignore")
    cases = []
    for kind, settings in SETTINGS.items():
        for extra, (warmup, total) in itertools.product(settings, [(0, 10), (3, 10), (1, 2)]):
            flags = {"lr_scheduler_type": kind, "learning_rate": PEAK, "warmup_steps": warmup, **extra}
            cases.append({"flags": flags, "total": total, "multipliers": multipliers(kind, warmup, total, extra)})
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join("  " + json.dumps(case) for case in cases)
    Path(path).write_text(f'{{"transformers": "{transformers.__version__}", "cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1
         else Path(__file__).parent.parent / "tests/unit/train/fixtures/schedules.json")
