#!/usr/bin/env python3
"""cloze against PaddleNLP 2.8.1 at base size, and on real text.

    tools/compare_paddle.py TOKENIZER_DIR TEXTS_FILE [--small] [--work DIR]

TOKENIZER_DIR: the vocab.txt (and tokenizer_config.json) of ERNIE 3.0; TEXTS_FILE: one text a line (what stands
behind a tab is left out). Needs build/cloze and build/test_golden_paddle (./run test). Prints one line a figure;
fails where logits differ by more than 1e-5 of the largest or an encoding differs.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from paddlenlp import transformers
from paddlenlp.prompt import AutoTemplate
from paddlenlp.transformers import ErnieTokenizer

from paddle_reference import build_model, fixture_tensors, logits_of, make_batch, tiny, write_fixture

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 1e-5
LENGTHS = (48, 17, 31, 8)
TEMPLATES = [
    "这条新闻标题的主题是",
    "{'text':'text_a'}{'hard':'这是'}{'mask'}{'mask'}{'hard':'新闻'}",
    "{'hard':'请看：'}{'text':'text_a'}{'sep'}{'mask':None,'length':3}",
    "{'text':'text_a','token_type':0}{'hard':'和','token_type':1}{'text':'text_b'}{'mask'}",
    "{'mask'}{'text':'text_b'}{'sep':None,'token_type':1}{'text':'text_a'}{'hard':'。','token_type':0}",
    "{'text':'text_a','position':40}{'hard':'类别','position':7}{'mask'}",
    "{'text':'text_a'}{'hard':'这句话说的是关于','truncate':True}{'text':'text_b'}{'mask'}",
]


def cloze(*arguments):
    return subprocess.run([str(ROOT / "build" / "cloze"), *map(str, arguments)], check=True,
                          capture_output=True, text=True).stdout


def golden(directory):
    """The largest deviations that the C test found in one fixture directory."""
    report = directory.parent / (directory.name + ".jsonl")
    environment = os.environ | {"CLOZE_GOLDEN_REPORT": str(report)}
    subprocess.run([str(ROOT / "build" / "test_golden_paddle"), str(directory)], check=True, env=environment,
                   capture_output=True)
    return {r["what"]: r["error"] for r in map(json.loads, report.read_text().splitlines())}


def relative(value, reference):
    return float(np.abs(value - reference).max() / np.abs(reference).max())


def compare_model(work, family, head, config):
    name = f"{family}_{head}"
    model = build_model(family, head, config, sd=0.02)
    source = work / name
    model.save_pretrained(str(source))
    batch = make_batch(model, head, LENGTHS)
    tensors = fixture_tensors(model, head, batch, with_training=False)
    write_fixture(source, tensors, head)
    figures = {"logits from .pdparams": golden(source)["logits"]}
    for kind in ("safetensors", "torch", "paddle"):
        out = work / f"{name}.{kind}"
        cloze("convert", "--model", source, "--output_dir", out, "--format", kind)
        for file in ("fixture.json", "fixture.safetensors"):
            shutil.copy(source / file, out)
        figures[f"logits of convert --format {kind}"] = golden(out)["logits"]
    again = getattr(transformers, type(model).__name__).from_pretrained(str(work / f"{name}.paddle"))
    again.eval()
    figures["PaddleNLP on the converted one"] = relative(logits_of(again, head, batch).numpy(), tensors["logits"])
    for what, error in figures.items():
        print(f"{name}: {what}: {error:.1e}")
    for path in work.glob(name + "*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return all(error <= LIMIT for error in figures.values())


def compare_templates(work, tokenizer_dir, texts):
    shutil.copytree(tokenizer_dir, work / "tokenizer", copy_function=shutil.copyfile)
    os.chmod(work / "tokenizer", 0o755)
    tokenizer = ErnieTokenizer.from_pretrained(str(work / "tokenizer"))
    bad = total = 0
    for prompt in TEMPLATES:
        for length in (24, 128):
            template = AutoTemplate.create_from(prompt, tokenizer, length)
            for text, other in zip(texts, texts[1:] + texts[:1]):
                want = template({"text_a": text, "text_b": other})
                got = json.loads(cloze("inspect", "--model", work / "tokenizer", "--prompt", prompt, "--text", text,
                                       "--text_b", other, "--max_seq_length", length, "--json"))
                total += 1
                for key in ("input_ids", "token_type_ids", "position_ids", "soft_token_ids", "masked_positions"):
                    if np.asarray(want[key]).tolist() != got[key]:
                        print(f"{prompt} {length} {text}: {key} differs")
                        bad += 1
                        break
    print(f"template encodings: {total - bad} of {total} equal")
    return bad == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizer_dir", type=Path)
    parser.add_argument("texts_file", type=Path)
    parser.add_argument("--small", action="store_true", help="tiny models: a trial of this script")
    args = parser.parse_args()
    base = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
    ernie = base | {"vocab_size": 40000, "type_vocab_size": 4, "max_position_embeddings": 2048, "use_task_id": True,
                    "task_type_vocab_size": 3, "num_labels": 15}
    bert = base | {"vocab_size": 21128, "type_vocab_size": 2, "max_position_embeddings": 512, "num_labels": 15}
    roberta = bert | {"pad_token_id": 1, "cls_token_id": 0, "max_position_embeddings": 514}
    texts = args.texts_file.read_text(encoding="utf-8").splitlines()[:40]
    texts = [line.split("\t")[0] for line in texts]
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        ok = compare_templates(work, args.tokenizer_dir, texts)
        for family, head, config in (("ernie", "masked_lm", ernie), ("ernie", "sequence_classification", ernie),
                                     ("bert", "masked_lm", bert), ("roberta", "masked_lm", roberta)):
            ok = compare_model(work, family, head, tiny(family, max_position_embeddings=64) if args.small else config) and ok
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
