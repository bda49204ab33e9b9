"""PyTorch training, as people run it (--pad 128), or tuned: bf16 autocast, fused AdamW, batches
padded to their longest text, an allocator that keeps its memory (environment, see bench.c)."""
from contextlib import nullcontext

import common
import torch
from prompt_model import INPUTS, PromptClassifier, tensors

p = common.parser()
p.add_argument("--pad", type=int, help="pad to so many tokens; default: the longest of the batch")
p.add_argument("--tuned", action="store_true", help="fused AdamW")
p.add_argument("--compile", action="store_true", help="torch.compile")
p.add_argument("--frozen", action="store_true", help="train the verbalizer only")
a = p.parse_args()

torch.set_num_threads(common.THREADS)
torch.manual_seed(0)
model = PromptClassifier(a.model).train()
if a.frozen:
    model.mlm.requires_grad_(False)
trained = [w for w in model.parameters() if w.requires_grad]
optimizer = torch.optim.AdamW(trained, lr=3e-5, weight_decay=0.0, fused=a.tuned or None)
schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: max(0.0, 1 - step / 1e6))
data = [tensors(b) for b in common.batches(common.read_ids(a.ids), a.batch, a.pad)]
forward = torch.compile(model, dynamic=True) if a.compile else model


def step(batch):
    with torch.autocast("cpu", torch.bfloat16) if a.bf16 else nullcontext():
        logits = forward(*(batch[k] for k in INPUTS))
    loss = torch.nn.functional.cross_entropy(logits.float(), batch["labels"])
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    schedule.step()
    optimizer.zero_grad()
    return loss.item()


def run_slice():
    for i in range(a.slice):
        step(data[i % len(data)])
    return a.slice


run_slice()  # warms up, as cloze does
common.serve(run_slice)
