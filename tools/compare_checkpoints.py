#!/usr/bin/env python3
"""Compares cloze's checkpoint readers and writers with the libraries that own the formats.

    python tools/compare_checkpoints.py --build build [--fixtures tests/unit/ckpt/data] [--model DIR...]

Needs torch, safetensors and numpy (transformers too, for --model). Builds tools/ckpt_copy.c against
the static libraries of the build, which must be there (room_ckpt). Every check writes a checkpoint
with the reference library, copies it through cloze to safetensors and to torch's .bin, and loads
both copies with the reference library: dtype, shape and every bit must be equal. With --fixtures the
small files that the unit tests read are written anew instead.
"""
import argparse
import glob
import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections import OrderedDict

import numpy as np
import torch
from safetensors.torch import load_file, save_file

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def build_copier(build, directory):
    program = os.path.join(directory, "ckpt_copy")
    libraries = [os.path.join(build, f"libroom_{room}.a") for room in ("ckpt", "tensor", "base")]
    flags = subprocess.run(["pkg-config", "--libs", "libcjson", "libutf8proc"], check=True,
                           capture_output=True, text=True).stdout.split()
    subprocess.run(["cc", "-std=gnu11", "-O1", "-I", f"{ROOT}/src", "-I", f"{ROOT}/include",
                    f"{ROOT}/tools/ckpt_copy.c", "-o", program, *libraries, *flags, "-lz", "-lm",
                    "-fopenmp"], check=True)
    return program


def sample_state(seed=0):
    """Names and tensors of every kind: dtypes, views, shared storages, empty and scalar ones."""
    torch.manual_seed(seed)
    base = torch.randn(6, 8)
    state = OrderedDict()
    state["bert.embeddings.word_embeddings.weight"] = base
    state["tied.weight"] = base
    state["transposed.weight"] = base.t()
    state["rows.weight"] = base[2:5]
    state["columns.weight"] = base[:, 1:7:2]
    state["permuted.weight"] = torch.randn(2, 3, 4).permute(2, 0, 1)
    state["expanded.position_ids"] = torch.arange(5).expand((3, 5))
    state["bf16.weight"] = torch.randn(5, 3).to(torch.bfloat16)
    state["f16.weight"] = torch.randn(7).to(torch.float16)
    state["f64.weight"] = torch.randn(3, dtype=torch.float64)
    state["i64.position_ids"] = torch.arange(4)[None]
    state["i32.ids"] = torch.tensor([-1, 2**31 - 1], dtype=torch.int32)
    state["i16.ids"] = torch.tensor([-300, 300], dtype=torch.int16)
    state["i8.ids"] = torch.tensor([-128, 127], dtype=torch.int8)
    state["u8.ids"] = torch.tensor([0, 255], dtype=torch.uint8)
    state["bool.mask"] = torch.tensor([True, False, True])
    state["scalar"] = torch.tensor(3.5)
    state["empty.weight"] = torch.zeros(0, 4)
    state["parameter.weight"] = torch.nn.Parameter(torch.randn(3, 2))
    state["名字.weight"] = torch.tensor([float("nan"), float("inf"), -0.0])
    return state


def same(a, b):
    """None when every tensor is the same bit for bit, else what differs first."""
    if set(a) != set(b):
        return f"names differ: {sorted(set(a) ^ set(b))[:4]}"
    for name in a:
        x, y = a[name].detach().contiguous(), b[name].detach().contiguous()
        if x.dtype != y.dtype or x.shape != y.shape:
            return f"{name}: {x.dtype} {tuple(x.shape)} is not {y.dtype} {tuple(y.shape)}"
        if x.numel() and not torch.equal(x.reshape(-1).view(torch.uint8), y.reshape(-1).view(torch.uint8)):
            return f"{name}: values differ"
    return None


class Comparison:
    def __init__(self, program, directory):
        self.program, self.directory, self.failures = program, directory, 0

    def report(self, what, difference):
        print(f"{'ok  ' if difference is None else 'FAIL'} {what}" + (f": {difference}" if difference else ""))
        self.failures += difference is not None

    def copy(self, source, target, *extra):
        return subprocess.run([self.program, source, target, *map(str, extra)], capture_output=True,
                              text=True)

    def check(self, what, source, expected):
        for extension, load in ((".safetensors", load_file),
                                (".bin", lambda p: torch.load(p, weights_only=True))):
            target = os.path.join(self.directory, "copy" + extension)
            done = self.copy(source, target)
            difference = done.stderr.strip() if done.returncode else same(expected, load(target))
            self.report(f"{what} -> {extension}", difference)

    def check_refused(self, what, source):
        done = self.copy(source, os.path.join(self.directory, "refused.safetensors"))
        refused = done.returncode == 4 and done.stderr.strip()
        self.report(f"{what} is refused: {done.stderr.strip()}", None if refused else "it was read")


def contiguous(state):
    return {name: t.detach().clone().contiguous() for name, t in state.items()}


def compare_torch(c):
    state = sample_state()
    path = os.path.join(c.directory, "model.bin")
    for what, options in (("torch.save, zip", {}),
                          ("torch.save, legacy", {"_use_new_zipfile_serialization": False}),
                          ("torch.save, protocol 4", {"pickle_protocol": 4})):
        torch.save(state, path, **options)
        c.check(what, path, state)
        torch.save({"epoch": 3, "model": {"state_dict": dict(state)}, "lr": 1e-3}, path, **options)
        c.check(what + ", nested", path, state)
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    torch.save(module.state_dict(), path)  # with _metadata
    c.check("torch.save of module.state_dict()", path, module.state_dict())
    torch.save(module, path)
    c.check_refused("a pickled module", path)
    torch.jit.save(torch.jit.script(module), path)
    c.check_refused("TorchScript", path)


def compare_safetensors(c):
    state = contiguous(sample_state())
    path = os.path.join(c.directory, "model.safetensors")
    save_file(state, path, metadata={"format": "pt"})
    c.check("safetensors", path, state)
    target = os.path.join(c.directory, "copy.safetensors")
    c.copy(path, target)
    with open(path, "rb") as a, open(target, "rb") as b:
        c.report("safetensors, the same bytes", None if a.read() == b.read() else "bytes differ")
    shards = os.path.join(c.directory, "shards")
    os.makedirs(shards, exist_ok=True)
    done = c.copy(path, shards, 150)
    with open(os.path.join(shards, "model.safetensors.index.json"), encoding="utf-8") as f:
        index = json.load(f)
    merged = {}
    for shard in sorted(set(index["weight_map"].values())):
        tensors = load_file(os.path.join(shards, shard))
        merged.update(tensors)
        if any(index["weight_map"][name] != shard for name in tensors):
            c.report("sharded safetensors, index", "a tensor is in another shard")
    c.report(f"sharded safetensors, {len(set(index['weight_map'].values()))} shards",
             done.stderr.strip() or same(state, merged))
    c.check("sharded safetensors, read back", shards, state)


class PaddleTensor:
    """Pickles as Paddle's own tensors do: tuple((name, array))."""

    def __init__(self, name, array):
        self.name, self.array = name, array

    def __reduce__(self):
        return tuple, ((self.name, self.array),)


def paddle_state():
    rng = np.random.default_rng(0)
    state = {"embeddings.weight": rng.standard_normal((5, 4)).astype(np.float32),
             "linear.weight": np.asfortranarray(rng.standard_normal((3, 4)).astype(np.float32)),
             "f16.weight": rng.standard_normal(3).astype(np.float16),
             "f64.weight": rng.standard_normal(2),
             "ids": np.arange(4, dtype=np.int64),
             "big.weight": np.arange(6, dtype=">f4").reshape(2, 3),
             "mask": np.array([True, False])}
    expected = {n: torch.from_numpy(np.ascontiguousarray(a.astype(a.dtype.newbyteorder("="))))
                for n, a in state.items()}
    expected["bf16.weight"] = torch.randn(3).to(torch.bfloat16)  # Paddle's bf16 is numpy's uint16
    state["bf16.weight"] = expected["bf16.weight"].view(torch.int16).numpy().view(np.uint16)
    return state, expected


def compare_paddle(c):
    state, expected = paddle_state()
    path = os.path.join(c.directory, "model_state.pdparams")
    for protocol in (2, 3, 4, 5):
        saved = dict(state, **{"StructuredToParameterName@@": {n: "p_" + n for n in state}})
        with open(path, "wb") as f:
            pickle.dump(saved, f, protocol=protocol)
        c.check(f"Paddle arrays, protocol {protocol}", path, expected)
        with open(path, "wb") as f:
            pickle.dump({n: PaddleTensor(n, a) for n, a in state.items()}, f, protocol=protocol)
        c.check(f"Paddle tuples, protocol {protocol}", path, expected)


def compare_model(c, directory):
    """A real model directory: what transformers loads must be what cloze read."""
    from transformers import AutoModelForMaskedLM

    copy = os.path.join(c.directory, "model")
    os.makedirs(copy, exist_ok=True)
    for name in glob.glob(os.path.join(directory, "*.json")):
        if not name.endswith(".index.json"):
            with open(name, "rb") as a, open(os.path.join(copy, os.path.basename(name)), "wb") as b:
                b.write(a.read())
    done = c.copy(directory, copy)
    difference = done.stderr.strip() or same(AutoModelForMaskedLM.from_pretrained(directory).state_dict(),
                                             AutoModelForMaskedLM.from_pretrained(copy).state_dict())
    c.report(f"{directory} through transformers", difference or None)


def write_fixtures(directory):
    state = sample_state()
    torch.save(state, os.path.join(directory, "torch_zip.bin"))
    torch.save(state, os.path.join(directory, "torch_legacy.bin"), _use_new_zipfile_serialization=False)
    save_file(contiguous(state), os.path.join(directory, "sample.safetensors"), metadata={"format": "pt"})
    arrays, expected = paddle_state()
    for protocol in (2, 4):
        with open(os.path.join(directory, f"paddle_{protocol}.pdparams"), "wb") as f:
            pickle.dump(arrays, f, protocol=protocol)
    with open(os.path.join(directory, "paddle_tuples.pdparams"), "wb") as f:
        pickle.dump({name: PaddleTensor(name, a) for name, a in arrays.items()}, f, protocol=5)
    save_file(expected, os.path.join(directory, "paddle.safetensors"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--fixtures")
    parser.add_argument("--model", nargs="*", default=[])
    args = parser.parse_args()
    if args.fixtures:
        write_fixtures(args.fixtures)
        return 0
    with tempfile.TemporaryDirectory() as directory:
        c = Comparison(build_copier(args.build, directory), directory)
        compare_torch(c)
        compare_safetensors(c)
        compare_paddle(c)
        for model in args.model:
            compare_model(c, model)
    print(f"{c.failures} failures")
    return c.failures > 0


if __name__ == "__main__":
    sys.exit(main())
