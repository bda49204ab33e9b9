#!/usr/bin/env python3
"""A model of a given shape with random weights, as a Hugging Face directory, for benchmarks and for trying commands.

    tools/make_random_model.py OUT --shape ernie-3.0-base [--tokenizer DIR] [--hub OWNER/NAME] [--set KEY=VALUE ...]

Needs numpy. Weights are N(0, 0.02), norms 1 and 0, biases 0, a function of --seed. OUT gets config.json,
model.safetensors and a vocabulary: the files of --tokenizer, else (BERT and ERNIE) a made one of single characters.
--hub puts all of it where Hugging Face's cache would: OUT/models--OWNER--NAME/snapshots/..., OUT being the hub folder
(~/.cache/huggingface/hub). --set changes a key of config.json: --set num_hidden_layers=2 hidden_size=64
"""
import argparse
import hashlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np

BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
SMALL = {"hidden_size": 384, "num_hidden_layers": 4, "num_attention_heads": 12, "intermediate_size": 1536}
ERNIE = {"model_type": "ernie", "vocab_size": 40000, "max_position_embeddings": 2048, "type_vocab_size": 4,
         "task_type_vocab_size": 3, "use_task_id": True, "layer_norm_eps": 1e-5}
BERT = {"model_type": "bert", "vocab_size": 21128, "max_position_embeddings": 512, "type_vocab_size": 2,
        "layer_norm_eps": 1e-12}
ROBERTA = {"model_type": "roberta", "vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1,
           "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "layer_norm_eps": 1e-5}
SHAPES = {"ernie-3.0-base": ERNIE | BASE, "ernie-3.0-mini": ERNIE | SMALL | {"num_hidden_layers": 6},
          "bert-base": BERT | BASE, "bert-small": BERT | SMALL, "roberta-base": ROBERTA | BASE}
COMMON = {"attention_probs_dropout_prob": 0.1, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
          "initializer_range": 0.02, "pad_token_id": 0, "tie_word_embeddings": True}
CLASSES = {"bert": "Bert", "ernie": "Ernie", "roberta": "Roberta"}
TOKENIZER_FILES = ("vocab.txt", "vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json",
                   "special_tokens_map.json")


def dense(name, rows, cols):
    return {f"{name}.weight": (rows, cols), f"{name}.bias": (rows,)}


def norm(name, size):
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}


def encoder_shapes(config):
    base, h, f = config["model_type"], config["hidden_size"], config["intermediate_size"]
    tables = {"word": "vocab_size", "position": "max_position_embeddings", "token_type": "type_vocab_size"}
    if config.get("use_task_id"):
        tables["task_type"] = "task_type_vocab_size"
    shapes = {f"{base}.embeddings.{name}_embeddings.weight": (config[key], h) for name, key in tables.items()}
    shapes |= norm(f"{base}.embeddings.LayerNorm", h)
    for i in range(config["num_hidden_layers"]):
        layer = f"{base}.encoder.layer.{i}"
        for part in ("query", "key", "value"):
            shapes |= dense(f"{layer}.attention.self.{part}", h, h)
        shapes |= dense(f"{layer}.attention.output.dense", h, h) | norm(f"{layer}.attention.output.LayerNorm", h)
        shapes |= dense(f"{layer}.intermediate.dense", f, h)
        shapes |= dense(f"{layer}.output.dense", h, f) | norm(f"{layer}.output.LayerNorm", h)
    return shapes


def head_shapes(config):
    h, vocab = config["hidden_size"], config["vocab_size"]
    if config["model_type"] == "roberta":
        return dense("lm_head.dense", h, h) | norm("lm_head.layer_norm", h) | {"lm_head.bias": (vocab,)}
    transform = "cls.predictions.transform"
    return dense(f"{transform}.dense", h, h) | norm(f"{transform}.LayerNorm", h) | {"cls.predictions.bias": (vocab,)}


def values(name, shape, random):
    if len(shape) == 2:
        return random.standard_normal(shape, dtype=np.float32) * np.float32(0.02)
    is_gain = name.endswith("weight")  # of a norm: the only vectors that are weights
    return np.full(shape, 1.0 if is_gain else 0.0, dtype=np.float32)


def write_safetensors(path, shapes, seed):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name in sorted(shapes):
        size = 4 * int(np.prod(shapes[name]))
        header[name] = {"dtype": "F32", "shape": list(shapes[name]), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # data begins at a multiple of eight
    random = np.random.default_rng(seed)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in sorted(shapes):
            file.write(values(name, shapes[name], random).astype("<f4").tobytes())


def made_vocabulary(size):
    """Special tokens, ASCII, punctuation and CJK characters in code-point order, then unused ones."""
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens += [chr(c) for c in range(0x21, 0x7F) if not chr(c).isupper()]
    tokens += [f"##{chr(c)}" for c in range(0x61, 0x7B)] + list("，。！？、：；“”‘’（）《》…—")
    tokens += [chr(c) for c in range(0x4E00, 0xA000)]
    tokens += [f"[unused{i}]" for i in range(max(0, size - len(tokens)))]
    return tokens[:size]


def write_tokenizer(out, source, config):
    if source:
        copied = [shutil.copy(source / name, out / name) for name in TOKENIZER_FILES if (source / name).exists()]
        if not copied:
            sys.exit(f"{source}: none of {', '.join(TOKENIZER_FILES)} in it")
        return
    if config["model_type"] == "roberta":
        sys.exit("a RoBERTa needs a byte-level vocabulary: name its directory with --tokenizer")
    (out / "vocab.txt").write_text("\n".join(made_vocabulary(config["vocab_size"])) + "\n", encoding="utf-8")
    (out / "tokenizer_config.json").write_text('{"do_lower_case": true, "tokenizer_class": "BertTokenizer"}\n')


def make_config(shape, changes):
    config = COMMON | SHAPES[shape]
    for change in changes:
        key, _, value = change.partition("=")
        if key not in config:
            sys.exit(f"--set {change}: config.json of this shape has no {key}; it has {', '.join(sorted(config))}")
        config[key] = json.loads(value) if value[:1] in "0123456789tf-" else value
    config["architectures"] = [CLASSES[config["model_type"]] + "ForMaskedLM"]
    return config


def target(out, hub, identity):
    """OUT itself, or a snapshot in a hub folder; its name is a hash, as Hugging Face's are."""
    if not hub:
        return out
    repository = out / f"models--{hub.replace('/', '--')}"
    snapshot = hashlib.sha1(identity.encode()).hexdigest()
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "refs" / "main").write_text(snapshot)
    return repository / "snapshots" / snapshot


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--shape", choices=sorted(SHAPES), default="ernie-3.0-base")
    parser.add_argument("--tokenizer", type=Path, help="a directory whose vocabulary files are copied")
    parser.add_argument("--hub", metavar="OWNER/NAME", help="OUT is a Hugging Face cache; the model's name in it")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="changes of config.json")
    parser.add_argument("--seed", type=int, default=42)
    arguments = parser.parse_args()
    config = make_config(arguments.shape, arguments.set)
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    out = target(arguments.out, arguments.hub, f"{text} {arguments.seed}")
    out.mkdir(parents=True, exist_ok=True)
    write_tokenizer(out, arguments.tokenizer, config)
    shapes = encoder_shapes(config) | head_shapes(config)
    write_safetensors(out / "model.safetensors", shapes, arguments.seed)
    (out / "config.json").write_text(text)
    count = sum(int(np.prod(shape)) for shape in shapes.values())
    print(f"{out}: {count / 1e6:.1f} M parameters")


if __name__ == "__main__":
    main()
