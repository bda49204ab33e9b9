#!/usr/bin/env python3
"""Encodes templates x texts with PaddleNLP 2.8.1: the golden data of tests/unit/prompt/test_input_encoder.c.

usage: export_template_golden.py OUT_DIR      writes OUT_DIR/vocab.txt and OUT_DIR/template_golden.jsonl
A line is {template, max_seq_length, text, text_b, input_ids, token_type_ids,
position_ids, soft_token_ids, masked_positions}, or has "refused": true where PaddleNLP raises.
"""
import json
import os
import sys
import tempfile
import zlib  # noqa: F401  paddle 2.6 needs it loaded first

import numpy as np
import paddle
from paddlenlp.prompt import AutoTemplate
from paddlenlp.transformers import ErnieTokenizer

TEXTS = [
    ("新能源汽车销量再创新高，充电桩建设提速", "车企加快布局"),
    ("国足晚间抵达多哈", "今晚八点开赛，全国球迷翘首以盼，替补名单出炉"),
    ("The QUICK brown fox, isn't it? 12km", "a second sentence"),
    ("", "空"),
    ("短", ""),
    ("一家只做夜宵的小店靠着一锅卤味二十年不换配方也不涨价成了整条街最热闹的地方", "老板说够吃就好"),
    ("未知字：龘 and tokens 龘龘", "b"),
]
TEMPLATES = [
    "这句话的类别是",
    "{'text':'text_a'}{'hard':'这是'}{'mask'}{'mask'}{'hard':'新闻'}",
    "{'hard':'请看：'}{'text':'text_a'}{'sep'}{'mask':None,'length':3}",
    "{'text':'text_a','token_type':0}{'hard':'和','token_type':1}{'text':'text_b'}{'mask'}",
    "It was {'mask'}. {'text':'text_a'}",
    "{'mask'}{'text':'text_b'}{'sep':None,'token_type':1}{'text':'text_a'}{'hard':'。','token_type':0}",
    "{'text':'text_a','position':40}{'hard':'类别','position':7}{'mask'}",
    "{'text':'text_a','truncate':False}{'hard':'是'}{'mask'}",
    "{'text':'text_a','truncate':False}{'text':'text_b'}{'mask'}",
    "{'text':'text_a'}{'hard':'这句话说的是关于','truncate':True}{'text':'text_b'}{'mask'}",
]
LENGTHS = [14, 24, 128]


def write_vocab(path):
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    seen = set(tokens)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    joined = "".join(a + b for a, b in TEXTS) + "".join(TEMPLATES) + letters
    for c in joined.lower():
        if c.strip() and c != "龘" and c not in seen:
            seen.add(c)
            tokens.append(c)
    tokens += ["##" + c for c in letters]
    tokens += ["the", "quick", "fox", "it", "was", "sent", "##ence", "token"]
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join(dict.fromkeys(tokens)) + "\n")


def encode(template, example):
    try:
        encoded = template(dict(example))
    except (AssertionError, ZeroDivisionError):
        return {"refused": True}
    keys = ("input_ids", "token_type_ids", "position_ids", "soft_token_ids", "masked_positions")
    return {k: np.asarray(encoded[k]).tolist() for k in keys}


def main():
    out = sys.argv[1]
    paddle.set_device("cpu")
    vocab = os.path.join(out, "vocab.txt")
    write_vocab(vocab)
    with tempfile.TemporaryDirectory() as model, open(
        os.path.join(out, "template_golden.jsonl"), "w", encoding="utf-8"
    ) as f:
        with open(vocab, encoding="utf-8") as src, open(os.path.join(model, "vocab.txt"), "w", encoding="utf-8") as dst:
            dst.write(src.read())
        with open(os.path.join(model, "tokenizer_config.json"), "w") as config:
            json.dump({"do_lower_case": True, "model_max_length": 2048}, config)
        tokenizer = ErnieTokenizer.from_pretrained(model)  # cuts at the right; its left side raises
        for prompt in TEMPLATES:
            for n in LENGTHS:
                template = AutoTemplate.create_from(prompt, tokenizer, n)
                for a, b in TEXTS:
                    row = dict(template=prompt, max_seq_length=n, text=a, text_b=b)
                    row.update(encode(template, dict(text_a=a, text_b=b)))
                    f.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")


main()
