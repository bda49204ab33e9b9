#!/usr/bin/env python3
"""Golden parity at base size, in both directions, of cloze and transformers.

Makes random models of 12 layers, hidden 768, with the vocabularies of ERNIE, BERT and RoBERTa, and
their fixtures in a temporary directory, runs build's test_golden_model over them and prints the
errors; then opens what cloze wrote after ten training steps in transformers and compares the logits.
One model at a time: about 4 GB of memory and 2 GB of disk. Exit status 1 when a limit was passed.

    tools/compare_full_size.py [--test build/test_golden_model] [--only NAME] [--tiny]
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file

from golden_reference import FAMILIES, HEADS, Case, export, make_batch, relative, rms_error, run

ROOT = Path(__file__).resolve().parent.parent
LIMIT_LOGITS = 1e-5
VOCABULARY = {"bert": 30522, "roberta": 50265, "ernie": 40000}
COLUMNS = ("model and head", "hidden", "logits", "worst gradient", "losses", "bf16 logits", "torch's",
           "bf16 gradients", "back in transformers")


def cases():
    made = []
    for family, vocab_size in VOCABULARY.items():
        for head in ("masked_lm", "sequence_classification"):
            config = {"vocab_size": vocab_size, "num_labels": 15}
            if family == "roberta":
                config |= {"pad_token_id": 1, "type_vocab_size": 1, "max_position_embeddings": 514,
                           "layer_norm_eps": 1e-5}
            if family == "ernie":
                config |= {"use_task_id": True, "task_type_vocab_size": 3, "type_vocab_size": 4,
                           "max_position_embeddings": 2048, "layer_norm_eps": 1e-5}
            # 0.02 is what such models start from; from 0.04 all rows of a sequence become one vector in
            # the upper layers, and query and key gradients there are differences of equal numbers
            made.append(Case(f"{family}_{head}", family, head, config, lengths=(24, 11, 17, 6),
                             weight_sd=0.02, seed=900 + len(made)))
    return made


def tiny_cases():
    from export_golden import cases as stored
    return stored()


def run_test(test, fixtures, saved, report):
    """Runs the C test; its lines of measured errors."""
    environment = os.environ | {"CLOZE_GOLDEN_DIR": str(fixtures), "CLOZE_GOLDEN_SAVE": str(saved),
                                "CLOZE_GOLDEN_REPORT": str(report)}
    done = subprocess.run([str(test)], env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        print("\n".join(line for line in (done.stdout + done.stderr).splitlines()
                        if line.startswith("ERROR") or "FAILED" in line))
    return done.returncode == 0, [json.loads(line) for line in report.read_text().splitlines()]


def back_in_transformers(case, directory):
    """Opens what cloze wrote in transformers: the logits' error against cloze's own, and complaints."""
    kind = getattr(transformers, FAMILIES[case.family] + HEADS[case.head])
    extra = {"add_pooling_layer": False} if case.head == "bare" else {}
    model, info = kind.from_pretrained(directory, output_loading_info=True, **extra)
    complaints = [f"{what}: {sorted(info[what])}"
                  for what in ("missing_keys", "unexpected_keys", "mismatched_keys") if info[what]]
    model.eval()
    batch = make_batch(case, model.config)
    ours = load_file(directory / "logits.safetensors")["logits"]
    with torch.no_grad():
        hidden, logits, _ = run(model, case, batch, torch.zeros(1))
    return relative(hidden[-1] if logits is None else logits, ours), complaints


def worst(lines, what, name=None, engine="cpu"):
    chosen = [x for x in lines if x["engine"] == engine and x["what"] == what
              and (name is None or x["tensor"].startswith(name))]
    return max(chosen, key=lambda x: x["error"], default=None)


def torch_bf16_error(directory, head):
    values = load_file(directory / "fixture.safetensors")
    reference = values["logits"] if head != "bare" else values[max(k for k in values if k.startswith("hidden_"))]
    return rms_error(values["bf16.logits"], reference)


def row(case, lines, directory, back):
    def show(line):
        return "-" if line is None else f"{line['error']:.1e}"

    gradient = worst(lines, "backward")
    return (case.name, show(worst(lines, "forward", "hidden")), show(worst(lines, "forward", "logits")),
            f"{show(gradient)} {gradient['tensor'] if gradient else ''}", show(worst(lines, "training")),
            show(worst(lines, "forward", "logits" if case.head != "bare" else "hidden", "cpu bf16")),
            f"{torch_bf16_error(directory, case.head):.1e}", show(worst(lines, "backward", None, "cpu bf16")),
            f"{back:.1e}")


def compare(case, test):
    """One model; its row of the table and whether all was within limits."""
    with tempfile.TemporaryDirectory(prefix="cloze-full-size-") as scratch:
        scratch = Path(scratch)
        fixtures = scratch / "fixtures"
        export(case, fixtures / case.name)
        ok, lines = run_test(test, fixtures, scratch / "saved", scratch / "report")
        saved = scratch / "saved" / case.name
        if not saved.is_dir():
            return None, False
        back, complaints = back_in_transformers(case, saved)
        for complaint in complaints:
            print(f"{case.name}: {complaint}")
        return row(case, lines, fixtures / case.name, back), ok and back <= LIMIT_LOGITS and not complaints


def print_table(rows):
    widths = [max(len(r[i]) for r in rows) for i in range(len(COLUMNS))]
    for i, r in enumerate(rows):
        print("| " + " | ".join(v.ljust(w) for v, w in zip(r, widths)) + " |")
        if i == 0:
            print("|" + "|".join("-" * (w + 2) for w in widths) + "|")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--test", type=Path, default=ROOT / "build" / "test_golden_model")
    parser.add_argument("--only", help="one case, bert_masked_lm say")
    parser.add_argument("--tiny", action="store_true", help="the models of tests/golden instead: seconds")
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    chosen = [c for c in (tiny_cases() if args.tiny else cases()) if args.only in (None, c.name)]
    if not chosen:
        parser.error(f"there is no case {args.only}")
    rows, ok = [COLUMNS], True
    for case in chosen:
        line, good = compare(case, args.test)
        ok = ok and good
        if line:
            rows.append(line)
        print(f"{case.name}: {'within limits' if good else 'NOT within limits'}", file=sys.stderr)
    print_table(rows)
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
