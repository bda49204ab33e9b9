"""What the peers' scripts share: arguments, token ids as cloze encodes them, and the protocol of
bench.h: "ready", then "<seconds> <units>" for each line "go"."""
import argparse
import json
import os
import sys
import time

import numpy as np

THREADS = os.cpu_count() or 1


def parser():
    p = argparse.ArgumentParser()
    p.add_argument("--model", help="a run directory of cloze (Hugging Face's files)")
    p.add_argument("--ids", help="JSON lines: input_ids, token_type_ids, position_ids, masked_positions, label")
    p.add_argument("--batch", type=int)
    p.add_argument("--slice", type=int, help="steps or texts of one slice")
    p.add_argument("--answers", help="file for the probabilities (float32)")
    p.add_argument("--work", help="folder for what is made once")
    p.add_argument("--bf16", action="store_true")
    return p


def read_ids(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def batches(examples, size, pad_to=None):
    """Padded arrays of `size` examples each: to the longest of the batch, or to pad_to."""
    out = []
    for first in range(0, len(examples), size):
        part = examples[first:first + size]
        width = pad_to or max(len(e["input_ids"]) for e in part)
        batch = {k: np.zeros((len(part), width), np.int64)
                 for k in ("input_ids", "token_type_ids", "position_ids", "attention_mask")}
        for row, e in enumerate(part):
            n = len(e["input_ids"])
            for key in ("input_ids", "token_type_ids", "position_ids"):
                batch[key][row, :n] = e[key]
            batch["attention_mask"][row, :n] = 1
        batch["masks"] = np.array([e["masked_positions"] for e in part], np.int64)
        batch["labels"] = np.array([e["label"] for e in part], np.int64)
        out.append(batch)
    return out


def write_answers(path, logits):
    """Class probabilities of all texts, for comparison with cloze's."""
    logits = np.asarray(logits, np.float64)
    p = np.exp(logits - logits.max(1, keepdims=True))
    (p / p.sum(1, keepdims=True)).astype("<f4").tofile(path)


def serve(run_slice):
    """run_slice() does one slice and returns its units, or (seconds, units) of its own measure."""
    print("ready", flush=True)
    for _ in sys.stdin:
        begin = time.perf_counter()
        units = run_slice()
        seconds = time.perf_counter() - begin
        if isinstance(units, tuple):
            seconds, units = units
        print(f"{seconds:.9f} {units}", flush=True)


def median_time(run_one, items):
    """The median time of single calls, as a slice's result."""
    times = []
    for item in items:
        begin = time.perf_counter()
        run_one(item)
        times.append(time.perf_counter() - begin)
    return sorted(times)[len(times) // 2], 1
