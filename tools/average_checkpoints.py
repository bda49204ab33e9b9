#!/usr/bin/env python3
"""The mean of the weights of several models of one shape, for runs that went on from one model with other seeds.

    tools/average_checkpoints.py MODEL [MODEL ...] OUT

MODEL: a directory with model.safetensors in float32, as checkpoints of `cloze pretrain` have it. OUT gets the
configuration, vocabulary and word list of the first. Means are taken in double precision. Python 3, standard library only.
"""
import array
import json
import shutil
import struct
import sys
from pathlib import Path

COPIED = ("config.json", "vocab.txt", "words.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def read(folder):
    """(header, its bytes, values) of one float32 file."""
    data = (folder / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = {k: v for k, v in json.loads(data[8:8 + length]).items() if k != "__metadata__"}
    for name, tensor in header.items():
        if tensor["dtype"] != "F32":
            sys.exit(f"{folder}: {name} is {tensor['dtype']}, not F32")
    values = array.array("f")
    values.frombytes(data[8 + length:])
    if sys.byteorder != "little":
        values.byteswap()
    return header, data[:8 + length], values


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    *models, out = map(Path, sys.argv[1:])
    header, head, total = None, None, None
    for folder in models:
        this, raw, values = read(folder)
        if header is None:
            header, head, total = this, raw, array.array("d", values)
        elif this != header:
            sys.exit(f"{folder} has other tensors than {models[0]}")
        else:
            total = array.array("d", (a + b for a, b in zip(total, values)))
    mean = array.array("f", (value / len(models) for value in total))
    if sys.byteorder != "little":
        mean.byteswap()
    out.mkdir(parents=True)
    for name in COPIED:
        if (models[0] / name).exists():
            shutil.copy(models[0] / name, out)
    (out / "model.safetensors").write_bytes(head + mean.tobytes())


if __name__ == "__main__":
    main()
