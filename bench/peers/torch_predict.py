"""PyTorch prediction: eager, torch.compile or zentorch (AMD's plug-in), fp32 or weights in bf16."""
import common
import numpy as np
import torch
from prompt_model import INPUTS, PromptClassifier, tensors

p = common.parser()
p.add_argument("--zentorch", action="store_true")
p.add_argument("--compile", action="store_true")
p.add_argument("--latency", action="store_true")
a = p.parse_args()

torch.set_num_threads(common.THREADS)
model = PromptClassifier(a.model).eval()
if a.bf16:
    model = model.to(torch.bfloat16)
run = model
if a.zentorch:
    import zentorch  # noqa: F401  registers its backend

    run = torch.compile(model, backend="zentorch", dynamic=True)
elif a.compile:
    run = torch.compile(model, dynamic=True)
examples = common.read_ids(a.ids)
data = [tensors(b) for b in common.batches(examples, a.batch)]


def predict(batch):
    with torch.inference_mode():
        return run(*(batch[k] for k in INPUTS))


def run_slice():
    if a.latency:
        return common.median_time(predict, data)
    for batch in data:
        predict(batch)
    return len(examples)


for _ in range(2):  # compiles, and then has seen every shape
    answers = [predict(b).float().numpy() for b in data]
common.write_answers(a.answers, np.concatenate(answers))
common.serve(run_slice)
