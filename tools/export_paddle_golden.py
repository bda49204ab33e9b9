#!/usr/bin/env python3
"""Fixtures of tiny random PaddleNLP models: what Paddle computes, stored for tests/golden/test_golden_paddle.c.

Without an option it computes everything anew in a temporary directory and compares with what is
stored (tests/golden/paddle); --refresh writes it. The two run directories of PaddleNLP 2.3.5 to 2.4.0
need that version's prompt package (on 2.8.1's models): the folder paddlenlp/prompt of its wheel.

    tools/export_paddle_golden.py [--refresh] [--prompt_2_4 DIR]
"""
import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import paddle
from safetensors.numpy import load_file

import paddle_runs
from paddle_reference import (build_model, fixture_tensors, make_batch, tiny, versions, write_fixture,
                              write_json)

FIXTURES = Path(__file__).resolve().parent.parent / "tests" / "golden" / "paddle"
MOVED = 1e-5
LENGTHS = (9, 1, 6)
LIMIT = 300_000  # bytes of all: fixtures are committed


def save(model, directory):
    model.save_pretrained(str(directory))


def save_sharded(model, directory):
    model.save_pretrained(str(directory), max_shard_size="3KB")


def save_safetensors(model, directory):
    model.save_pretrained(str(directory), safe_serialization=True)


def save_dtype(dtype):
    def write(model, directory):
        model.to(dtype=dtype)
        model.config.dtype = dtype
        save(model, directory)
        model.to(dtype="float32")  # the values that the file holds
    return write


def save_old(model, directory):
    """As PaddleNLP 2.4 did: the constructors' arguments, and the decoder as bare parameters."""
    directory.mkdir(parents=True, exist_ok=True)
    c = model.config
    encoder = {k: getattr(c, k) for k in
               ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
                "hidden_act", "hidden_dropout_prob", "attention_probs_dropout_prob", "max_position_embeddings",
                "type_vocab_size", "initializer_range", "pad_token_id")}
    family = c.model_type.capitalize()
    if family == "Ernie":
        encoder |= {"task_type_vocab_size": 3, "task_id": 0, "use_task_id": True, "enable_recompute": False}
    if family == "Roberta":
        encoder |= {"layer_norm_eps": c.layer_norm_eps, "cls_token_id": 0}
    write_json(directory / "model_config.json",
               {"init_args": [encoder | {"init_class": family + "Model"}], "init_class": type(model).__name__})
    state = {}
    for name, value in model.state_dict().items():
        if name in ("cls.predictions.decoder.bias", "lm_head.bias"):
            continue
        old = name.replace("predictions.decoder.weight", "predictions.decoder_weight")
        state[old] = paddle.to_tensor(value.numpy().T if name == "lm_head.decoder.weight" else value.numpy())
    paddle.save(state, str(directory / "model_state.pdparams"))


def cases():
    """name, family, head, changes of the configuration, how it is saved."""
    small = {"num_hidden_layers": 1}
    untied = {"tie_word_embeddings": False}
    return [
        ("ernie_masked_lm", "ernie", "masked_lm", {"layer_norm_eps": 1e-5, "hidden_act": "relu"}, save),
        ("ernie_masked_lm_old", "ernie", "masked_lm", small, save_old),
        ("ernie_sequence_classification", "ernie", "sequence_classification", small, save),
        ("ernie_bare", "ernie", "bare", small, save),
        ("ernie_sharded", "ernie", "masked_lm", small, save_sharded),
        ("ernie_safetensors", "ernie", "masked_lm", small, save_safetensors),
        ("ernie_float16", "ernie", "masked_lm", small, save_dtype("float16")),
        ("ernie_bfloat16", "ernie", "masked_lm", small, save_dtype("bfloat16")),
        ("bert_masked_lm", "bert", "masked_lm", {"layer_norm_eps": 1e-5}, save),
        ("bert_sequence_classification", "bert", "sequence_classification", small, save),
        ("bert_untied", "bert", "masked_lm", small | untied, save),
        ("roberta_masked_lm", "roberta", "masked_lm", {}, save),
        ("roberta_masked_lm_old", "roberta", "masked_lm", small | untied, save_old),
        ("roberta_sequence_classification", "roberta", "sequence_classification", small, save),
    ]


def generate(root, prompt_2_4):
    for i, (name, family, head, changes, write) in enumerate(cases()):
        model = build_model(family, head, tiny(family, **changes), seed=100 + i)
        directory = root / name
        write(model, directory)
        batch = make_batch(model, head, LENGTHS, seed=200 + i)
        write_fixture(directory, fixture_tensors(model, head, batch), head)
    paddle_runs.write_later(root / "run")
    if prompt_2_4:
        paddle_runs.write_first(root / "run_first", prompt_2_4, paddle_runs.PROMPT_FIRST)
        paddle_runs.write_first(root / "run_first_two_masks", prompt_2_4, paddle_runs.PROMPT_TWO_MASKS)
    write_json(root / "manifest.json", {"made_by": "tools/export_paddle_golden.py --refresh", "versions": versions()})


def compare(fresh, stored):
    bad = 0
    for path in sorted(fresh.glob("*/fixture.safetensors")):
        other = stored / path.relative_to(fresh)
        have = load_file(other) if other.exists() else {}
        for name, value in load_file(path).items():
            same = name in have and have[name].shape == value.shape
            if not same or np.abs(have[name] - value).max() > MOVED * max(1.0, np.abs(value).max()):
                print(f"{path.parent.name}: {name} moved")
                bad += 1
                break
    for path in sorted(fresh.glob("run*/predictions.json")):
        was = json.loads((stored / path.relative_to(fresh)).read_text())
        now = json.loads(path.read_text())
        if np.abs(np.array(was["probabilities"]) - np.array(now["probabilities"])).max() > MOVED:
            print(f"{path.parent.name}: predictions moved")
            bad += 1
    print(f"{bad} fixtures differ (here {versions()})")
    return bad == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--refresh", action="store_true", help="write the fixtures anew")
    parser.add_argument("--prompt_2_4", type=Path, help="paddlenlp/prompt of PaddleNLP 2.4.0's wheel")
    args = parser.parse_args()
    if args.refresh:
        for stale in FIXTURES.glob("*"):
            if stale.is_dir() and (args.prompt_2_4 or not stale.name.startswith("run_first")):
                shutil.rmtree(stale)
        generate(FIXTURES, args.prompt_2_4)
        total = sum(f.stat().st_size for f in FIXTURES.rglob("*") if f.is_file())
        print(f"{total} bytes (at most {LIMIT})")
        return 0 if total <= LIMIT else 1
    with tempfile.TemporaryDirectory() as fresh:
        generate(Path(fresh), args.prompt_2_4)
        return 0 if compare(Path(fresh), FIXTURES) else 1


if __name__ == "__main__":
    sys.exit(main())
