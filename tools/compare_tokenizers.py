#!/usr/bin/env python3
"""Compares `cloze tokenize` with the `tokenizers` package, id for id and offset for offset.

Reads lines of text (a file, several, .xz too) and/or makes random lines that visit every code point,
tokenizes them both ways and prints the first differences and a count. Exit status 1 when there is any.
Needs: pip install tokenizers.

    tools/compare_tokenizers.py --model DIR --lines 100000 corpus/zh_headlines.txt.xz
    tools/compare_tokenizers.py --model DIR --random 20000
"""
import argparse
import json
import lzma
import os
import random
import subprocess
import sys
import time

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors


def read_json(path):
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def bert(folder, config):
    vocab = {}
    with open(os.path.join(folder, "vocab.txt"), encoding="utf-8") as f:
        for i, line in enumerate(f.readlines()):
            vocab[line.rstrip("\n")] = i
    tok = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100))
    tok.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=config.get("tokenize_chinese_chars", True),
        strip_accents=config.get("strip_accents"), lowercase=config.get("do_lower_case", True))
    tok.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tok.decoder = decoders.WordPiece(prefix="##")
    tok.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])])
    names = [t for t in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]") if t in vocab]
    tok.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in names])
    return tok


def byte_level(folder, config):
    vocab = read_json(os.path.join(folder, "vocab.json"))
    roberta = "<mask>" in vocab
    prefix = config.get("add_prefix_space", False)
    tok = Tokenizer(models.BPE.from_file(os.path.join(folder, "vocab.json"),
                                         os.path.join(folder, "merges.txt")))
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tok.decoder = decoders.ByteLevel()
    if roberta:
        tok.post_processor = processors.RobertaProcessing(
            ("</s>", vocab["</s>"]), ("<s>", vocab["<s>"]), trim_offsets=True, add_prefix_space=prefix)
        names = ["<s>", "</s>", "<unk>", "<pad>"]
        specials = [AddedToken(t, normalized=False, special=True) for t in names]
        specials.append(AddedToken("<mask>", lstrip=True, normalized=False, special=True))
    else:
        tok.post_processor = processors.ByteLevel(trim_offsets=False)
        specials = [AddedToken("<|endoftext|>", normalized=False, special=True)]
    tok.add_special_tokens(specials)
    return tok


def reference(folder):
    path = os.path.join(folder, "tokenizer.json")
    if os.path.exists(path):
        tok = Tokenizer.from_file(path)
        tok.no_truncation()
        tok.no_padding()
        return tok
    config = read_json(os.path.join(folder, "tokenizer_config.json"))
    return bert(folder, config) if os.path.exists(os.path.join(folder, "vocab.txt")) else byte_level(folder, config)


def file_lines(paths, limit):
    for path in paths:
        opener = lzma.open if path.endswith(".xz") else open
        with opener(path, "rt", encoding="utf-8", newline="\n") as f:
            for line in f:
                if limit == 0:
                    return
                limit -= 1
                yield line.rstrip("\r\n")


def random_lines(count, specials):
    """Lines of mixed scripts; together they visit every code point several times."""
    rng = random.Random(42)
    code_points = [c for c in range(1, 0x110000) if not 0xD800 <= c < 0xE000 and c not in (10, 13)]
    common = [c for c in code_points if c < 0x3100] + list(range(0x4E00, 0x4F00)) * 4
    ascii_text = list(range(32, 127)) * 40 + [9, 0xA0, 0x3000, 0x2028, 0x85, 0x200B, 0x301, 0x130, 0x1D165]
    for i in range(count):
        pool = (ascii_text, common, code_points)[i % 3]
        parts = [chr(rng.choice(pool)) for _ in range(rng.randint(1, 60))]
        for _ in range(rng.randint(0, 4)):
            extra = rng.choice(specials + ["'s", "'ll", "  ", " ", "don't", "\u0301", "a" * 101, "ab" * 60, "한국어"])
            parts.insert(rng.randint(0, len(parts)), extra)
        yield "".join(parts)
    for begin in range(0, len(code_points), 16):
        yield "a".join(chr(c) for c in code_points[begin:begin + 16])
        yield " ".join(chr(c) for c in code_points[begin:begin + 16])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="tokenizer directory")
    parser.add_argument("--command", default="build/cloze tokenize --model {model} --json",
                        help="reads lines, writes {\"ids\":..,\"offsets\":..} lines")
    parser.add_argument("--lines", type=int, default=-1, help="at most so many lines of the files")
    parser.add_argument("--random", type=int, default=0, help="so many random lines as well")
    parser.add_argument("--show", type=int, default=5, help="differences to print")
    parser.add_argument("files", nargs="*")
    args = parser.parse_args()

    tok = reference(args.model)
    specials = [t.content for t in tok.get_added_tokens_decoder().values()] or ["x"]
    lines = list(file_lines(args.files, args.lines)) + list(random_lines(args.random, specials) if args.random else [])
    started = time.time()
    encodings = tok.encode_batch(lines)
    theirs = time.time() - started
    command = args.command.format(model=args.model).split()
    started = time.time()
    done = subprocess.run(command, input="".join(line + "\n" for line in lines).encode(), stdout=subprocess.PIPE,
                          check=True)
    ours = time.time() - started
    output = done.stdout.decode().split("\n")[:-1]
    if len(output) != len(lines):
        sys.exit("%d lines in, %d lines out" % (len(lines), len(output)))
    different = 0
    for line, encoding, text in zip(lines, encodings, output):
        got = json.loads(text)
        wanted = {"ids": encoding.ids, "offsets": [list(o) for o in encoding.offsets]}
        if all(got[key] == wanted[key] for key in wanted):
            continue
        different += 1
        if different <= args.show:
            key = "ids" if got["ids"] != wanted["ids"] else "offsets"
            print("text    %r\n  theirs  %s %s\n  ours    %s %s"
                  % (line[:200], key, wanted[key][:80], key, got[key][:80]))
    tokens = sum(len(e.ids) for e in encodings)
    print("%s: %d lines, %d tokens, %d lines differ (tokenizers %.1f s, cloze with start and output %.1f s)"
          % (args.model, len(lines), tokens, different, theirs, ours))
    return different > 0


if __name__ == "__main__":
    sys.exit(main())
