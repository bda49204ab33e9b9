#!/usr/bin/env python3
"""Golden fixtures of tiny random models: what transformers computes, stored for the C tests.

Without an option it computes everything anew in a temporary directory and compares with what is
stored (tests/golden/fixtures), naming the first tensor that moved; --refresh writes them.

    tools/export_golden.py [--refresh] [--only NAME] [--output DIR]
"""
import argparse
import copy
import json
import shutil
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file

from golden_reference import (Case, build_model, export, make_batch, pack, relative, run, scale_of, versions,
                              write_fixture, write_json)

FIXTURES = Path(__file__).resolve().parent.parent / "tests" / "golden" / "fixtures"
MOVED = 1e-5  # other torch versions round differently; more than this is another computation
LIMIT_CASE, LIMIT_ALL = 190_000, 1_500_000  # bytes: fixtures are committed


def tiny(family, act, **changes):
    """Sizes that are no multiples of a vector register, so that tails are exercised."""
    config = {"vocab_size": 91, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
              "intermediate_size": 40, "max_position_embeddings": 20, "hidden_act": act,
              "type_vocab_size": 2, "num_labels": 5}
    if family == "roberta":
        config |= {"pad_token_id": 1, "type_vocab_size": 1, "max_position_embeddings": 22,
                   "layer_norm_eps": 1e-5}
    if family == "ernie":
        config |= {"use_task_id": True, "task_type_vocab_size": 3, "type_vocab_size": 4}
    return config | changes


def cases():
    deep = {"num_hidden_layers": 3, "num_attention_heads": 3}
    wide = {"num_hidden_layers": 1, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
    flat = {"num_hidden_layers": 1}

    def case(family, head, act, suffix="", config=None, **settings):
        return Case(f"{family}_{head}{suffix}", family, head, tiny(family, act, **(config or {})), **settings)

    made = [
        case("bert", "masked_lm", "gelu", config=deep),
        case("bert", "masked_lm", "gelu_new", "_decay", learning_rate=1e-3, weight_decay=0.01),
        case("bert", "sequence_classification", "gelu_new", weight_decay=0.01, schedule="linear"),
        case("bert", "bare", "relu", config=flat),
        case("roberta", "masked_lm", "gelu", max_grad_norm=1.0),
        case("roberta", "sequence_classification", "relu", learning_rate=1e-3, max_grad_norm=1.0,
             schedule="linear"),
        case("roberta", "bare", "gelu_new", config=wide),
        case("ernie", "masked_lm", "relu", "_untied", {"tie_word_embeddings": False}, schedule="linear"),
        case("ernie", "sequence_classification", "gelu"),
        case("ernie", "bare", "gelu", config=flat),
    ]
    for i, c in enumerate(made):
        c.seed = 100 + 10 * i
    return made


# ---- the spellings of one checkpoint ----

def renamed(state, *pairs):
    out = {}
    for name, value in state.items():
        for old, new in pairs:
            name = name.replace(old, new)
        out[name] = value
    return out


def old_norm_names(state):
    return renamed(state, ("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta"))


def without_base(state, base):
    return {n.removeprefix(base + "."): v for n, v in state.items()}


def with_pretraining_extras(state):
    """What BertForPreTraining files of old hold beside the model: buffers, pooler, next-sentence head."""
    h = state["bert.embeddings.word_embeddings.weight"].shape[1]
    return state | {"bert.embeddings.position_ids": torch.arange(20).unsqueeze(0),
                    "cls.seq_relationship.weight": torch.ones(2, h), "cls.seq_relationship.bias": torch.ones(2),
                    "bert.pooler.dense.weight": torch.ones(h, h), "bert.pooler.dense.bias": torch.ones(h),
                    "cls.predictions.decoder.weight": state["bert.embeddings.word_embeddings.weight"].clone()}


def save_bin(directory, state, legacy=False):
    torch.save(state, directory / "pytorch_model.bin", _use_new_zipfile_serialization=not legacy)


def save_plain(directory, state):
    save_file({k: v.contiguous() for k, v in state.items()}, directory / "model.safetensors", {"format": "pt"})


def save_shards(directory, state):
    """Three files and an index, as save_pretrained makes of a large model."""
    names, total, weight_map = sorted(state), 0, {}
    for i in range(3):
        part = {n: state[n].contiguous() for n in names[i::3]}
        file = f"model-{i + 1:05d}-of-00003.safetensors"
        save_file(part, directory / file, {"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
        total += sum(v.numel() * v.element_size() for v in part.values())
    write_json(directory / "model.safetensors.index.json",
               {"metadata": {"total_size": total}, "weight_map": weight_map})


def dialect_case(family, **changes):
    config = tiny(family, "gelu", vocab_size=37, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
                  intermediate_size=12, **changes)
    return Case("dialect", family, "masked_lm", config, lengths=(5, 3), seed=501)


def write_dialect(root, name, case, save, transform=lambda s: s, dtype=None):
    """One directory: the model in a spelling, and the logits that transformers gives for it."""
    directory = root / name
    directory.mkdir(parents=True, exist_ok=True)
    model = build_model(case)
    if dtype is not None:
        model = model.to(dtype).float()  # the values that the 16-bit file will hold
    batch = make_batch(case, model.config)
    with torch.no_grad():
        logits = run(model, case, batch, None)[1]
    with tempfile.TemporaryDirectory() as saved:
        model.save_pretrained(saved)
        state = load_file(Path(saved) / "model.safetensors")
        shutil.copy(Path(saved) / "config.json", directory)
    if dtype is not None:
        state = {k: v.to(dtype) for k, v in state.items()}
    save(directory, transform(copy.copy(state)))
    mask = batch["attention_mask"]
    tensors = {"offsets": torch.tensor([0, 5, 8], dtype=torch.int32), "logits": logits,
               "labels": pack(batch["labels"], mask).int()}
    for key in ("input_ids", "token_type_ids", "task_type_ids"):
        if key in batch:
            tensors[key] = pack(batch[key], mask).int()
    write_fixture(directory, tensors, {"head": "masked_lm"})


def write_dialects(root):
    bert, roberta, ernie = (dialect_case(f) for f in ("bert", "roberta", "ernie"))
    untied = dialect_case("bert", tie_word_embeddings=False)
    decoder_bias = ("cls.predictions.bias", "cls.predictions.decoder.bias")
    write_dialect(root, "torch_bin", bert, save_bin)
    write_dialect(root, "torch_bin_legacy", bert, lambda d, s: save_bin(d, s, legacy=True))
    write_dialect(root, "sharded", ernie, save_shards)
    write_dialect(root, "no_base_prefix", bert, save_plain, lambda s: without_base(s, "bert"))
    write_dialect(root, "other_base_prefix", ernie, save_plain, lambda s: renamed(s, ("ernie.", "bert.")))
    write_dialect(root, "wrapped", roberta, save_plain, lambda s: {"module." + k: v for k, v in s.items()})
    write_dialect(root, "gamma_beta", bert, save_bin, old_norm_names)
    write_dialect(root, "pretraining_extras", bert, save_bin, with_pretraining_extras)
    write_dialect(root, "untied_decoder", untied, save_plain)
    write_dialect(root, "decoder_bias_only", bert, save_plain, lambda s: renamed(s, decoder_bias))
    write_dialect(root, "roberta_decoder_bias_only", roberta, save_plain,
                  lambda s: renamed(s, ("lm_head.bias", "lm_head.decoder.bias")))
    write_dialect(root, "float16", bert, save_plain, dtype=torch.float16)
    write_dialect(root, "bfloat16", roberta, save_bin, dtype=torch.bfloat16)


# ---- writing and checking ----

def generate(root, only=None):
    for case in cases():
        if only is None or only == case.name:
            export(case, root / "models" / case.name)
            print(f"{case.name}: written", file=sys.stderr)
    if only is None:
        write_dialects(root / "dialects")
        write_json(root / "manifest.json", {
            "made_by": "tools/export_golden.py --refresh", "versions": versions(),
            "attention": "sdpa", "threads": 1,
            "cases": {c.name: {"seed": c.seed, "weight_sd": c.weight_sd} for c in cases()}})


def sizes(root):
    """Complains about fixtures too large to commit."""
    total, ok = 0, True
    for path in sorted(p for kind in ("models", "dialects") for p in (root / kind).glob("*")):
        n = sum(f.stat().st_size for f in path.iterdir())
        total += n
        if n > LIMIT_CASE:
            print(f"{path.name}: {n} bytes is more than {LIMIT_CASE}", file=sys.stderr)
            ok = False
    print(f"{total} bytes in all (at most {LIMIT_ALL})", file=sys.stderr)
    return ok and total <= LIMIT_ALL


def first_difference(fresh, stored):
    stored_values = load_file(stored / "fixture.safetensors")
    for name, value in load_file(fresh / "fixture.safetensors").items():
        have = stored_values.get(name)
        if have is None or have.shape != value.shape:
            return f"{name} is not stored, or in another shape"
        if not name.startswith("bf16.") and relative(value, have, scale_of(name, stored_values)) > MOVED:
            return f"{name} moved by {relative(value, have, scale_of(name, stored_values)):.2e}"
    return None


def compare(fresh, stored):
    bad = 0
    for directory in sorted(fresh.glob("*/*")):
        other = stored / directory.relative_to(fresh)
        stored_too = (other / "fixture.safetensors").exists()
        reason = first_difference(directory, other) if stored_too else "is not stored"
        if reason:
            print(f"{directory.relative_to(fresh)}: {reason}")
            bad += 1
    stored_with = json.loads((stored / "manifest.json").read_text())["versions"]
    count = len(list(fresh.glob("*/*")))
    print(f"{bad} of {count} fixtures differ (stored with {stored_with}, here {versions()})")
    return bad == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--refresh", action="store_true", help="write the fixtures anew")
    parser.add_argument("--only", help="one case of models/")
    parser.add_argument("--output", type=Path, default=FIXTURES,
                        help="where the fixtures are (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if args.refresh:
        if args.only is None:
            shutil.rmtree(args.output, ignore_errors=True)
        generate(args.output, args.only)
        return 0 if sizes(args.output) else 1
    with tempfile.TemporaryDirectory() as fresh:
        generate(Path(fresh), args.only)
        return 0 if compare(Path(fresh), args.output) else 1


if __name__ == "__main__":
    sys.exit(main())
