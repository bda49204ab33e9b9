#!/usr/bin/env python3
"""Few-shot accuracy of one model by prompt and by fine-tuning, under one budget: the table of models/README.md.

    tools/few_shot_table.py DATA_DIR MODEL [--shots 5,10,all] [--rates ...] [--steps ...] [--jobs 2]

DATA_DIR holds train.txt, dev.txt, test.txt (text TAB label) and label.txt (label==word). For each number of
examples a label and each method, every learning rate and number of steps of ONE grid is trained with two seeds;
the best mean accuracy on dev.txt (then the smaller loss) is taken, and five other seeds are trained with it and
scored on test.txt, once. With fewer examples than all, each seed draws its own from train.txt. Nothing is ever
chosen on test.txt. Python 3, standard library only.
"""
import argparse
import concurrent.futures
import itertools
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
METHODS = ("prompt", "finetune")


def draw(lines, shots, seed):
    """`shots` lines of each label, chosen by seed; all of them where shots is None."""
    if shots is None:
        return lines
    by_label = {}
    for line in random.Random(seed).sample(lines, len(lines)):
        by_label.setdefault(line.rsplit("\t", 1)[1], []).append(line)
    return [line for label in sorted(by_label) for line in by_label[label][:shots]]


def cloze(command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def train(args, method, shots, rate, steps, seed, split):
    """One run: (accuracy, loss) on dev.txt or test.txt."""
    data = Path(args.data_dir)
    with tempfile.TemporaryDirectory(prefix="few-shot-") as scratch:
        lines = (data / "train.txt").read_text(encoding="utf-8").splitlines()
        examples = Path(scratch) / "train.txt"
        examples.write_text("\n".join(draw(lines, shots, seed)) + "\n", encoding="utf-8")
        shutil.copy(data / "label.txt", scratch)
        flags = ["--method", method]
        if method == "prompt":
            flags += ["--prompt", args.prompt, "--verbalizer", args.verbalizer]
        cloze([args.cloze, "train", "--data_dir", scratch, "--model_name_or_path", args.model, "--output_dir",
               Path(scratch) / "run", "--do_train", "--max_steps", steps, "--learning_rate", rate,
               "--per_device_train_batch_size", args.batch, "--max_seq_length", args.max_seq_length,
               "--warmup_ratio", "0.1", "--save_strategy", "no", "--seed", seed, "--num_threads",
               args.num_threads, "--json", *flags, *args.flags.split()])
        scores = cloze([args.cloze, "eval", "--model", Path(scratch) / "run", "--input", data / f"{split}.txt",
                        "--num_threads", args.num_threads, "--json"])
    return scores["eval_accuracy"], scores["eval_loss"]


def choose(pool, args, method, shots):
    """The rate and steps of the grid that are best on dev.txt, and their mean accuracy there."""
    grid = list(itertools.product(args.rates, args.steps))
    jobs = [[pool.submit(train, args, method, shots, rate, steps, seed, "dev") for seed in args.grid_seeds]
            for rate, steps in grid]
    best = None
    for (rate, steps), runs in zip(grid, jobs):
        accuracy, loss = (statistics.mean(values) for values in zip(*(run.result() for run in runs)))
        print(f"# {shots or 'all'} {method} rate {rate} steps {steps}: dev accuracy {accuracy:.4f}, loss {loss:.4f}",
              file=sys.stderr, flush=True)
        if best is None or (accuracy, -loss) > (best[0], -best[1]):
            best = (accuracy, loss, rate, steps)
    return best


def score(pool, args, method, shots):
    """One row of the table."""
    dev, _, rate, steps = choose(pool, args, method, shots)
    runs = [pool.submit(train, args, method, shots, rate, steps, seed, "test") for seed in args.seeds]
    tests = [run.result()[0] for run in runs]
    spread = statistics.stdev(tests) if len(tests) > 1 else 0.0
    values = " ".join(f"{test:.4f}" for test in tests)
    print(f"| {shots or 'all'} | {method} | {rate} | {steps} | {dev:.3f} | "
          f"{statistics.mean(tests):.3f} +- {spread:.3f} | {values} |", flush=True)


def main():
    numbers = lambda text: [int(word) for word in text.split(",")]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data_dir")
    parser.add_argument("model")
    parser.add_argument("--cloze", default=str(ROOT / "build" / "cloze"))
    parser.add_argument("--prompt", default="{'mask'}{'hard':'新闻：'}{'text':'text_a'}")
    parser.add_argument("--verbalizer", default="manual")
    parser.add_argument("--flags", default="", help="further flags of `cloze train`, for both methods")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--shots", default="5,10,all", help="examples a label")
    parser.add_argument("--rates", default="1e-4,2e-4,4e-4,8e-4")
    parser.add_argument("--steps", default="120,240")
    parser.add_argument("--batch", default="16")
    parser.add_argument("--max_seq_length", default="64")
    parser.add_argument("--grid_seeds", type=numbers, default=[11, 12])
    parser.add_argument("--seeds", type=numbers, default=[1, 2, 3, 4, 5])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--num_threads", default="1")
    args = parser.parse_args()
    args.rates, args.steps = args.rates.split(","), args.steps.split(",")
    print("| examples a label | method | rate | steps | dev | test, mean +- sd | each seed |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for shots in args.shots.split(","):
            for method in args.methods.split(","):
                score(pool, args, method, None if shots == "all" else int(shots))


if __name__ == "__main__":
    main()
