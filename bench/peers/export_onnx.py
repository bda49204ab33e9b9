"""The prompt classifier as an ONNX graph with free batch size and length: export_onnx.py RUN_DIR FILE"""
import os
import sys

import torch
from prompt_model import INPUTS, PromptClassifier

run_dir, path = sys.argv[1:3]
model = PromptClassifier(run_dir).eval()
ids = torch.randint(10, 1000, (2, 16))
example = (ids, torch.ones_like(ids), torch.zeros_like(ids), torch.arange(16).repeat(2, 1),
           torch.tensor([[3], [4]]))
two = {0: "batch", 1: "length"}
axes = {k: two for k in INPUTS[:4]} | {"masks": {0: "batch"}, "logits": {0: "batch"}}
with torch.no_grad():
    torch.onnx.export(model, example, path + ".tmp", input_names=list(INPUTS), output_names=["logits"],
                      dynamic_axes=axes, opset_version=17, dynamo=False)
os.replace(path + ".tmp", path)
