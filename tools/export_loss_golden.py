"""Training losses and their gradients from torch and transformers, for tests/golden/test_golden_losses.c.

    python tools/export_loss_golden.py [tests/golden/fixtures/losses]

Class-weighted cross-entropy and label smoothing are torch's cross_entropy; smoothing without weights is
checked against LabelSmoother of transformers as well. R-Drop is PaddleNLP's _compute_rdrop_loss with
RDropLoss: kl_div(log_softmax(p), softmax(q)) summed, both ways, halved. A fixture holds logits, again
(B,C), labels (B), weights (C), and for each case loss.<case> (1), grad.<case>, grad_again.<case> (B,C).
"""
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers.trainer_pt_utils import LabelSmoother

from golden_reference import versions, write_json

CASES = [{"name": f"{'weighted' if weighted else 'plain'}_{smoothing:g}{'_rdrop' if alpha else ''}",
          "weighted": weighted, "smoothing": smoothing, "alpha": alpha}
         for weighted in (False, True) for smoothing in (0.0, 0.1, 1.0) for alpha in (0.0, 5.0)]


def cross_entropy(logits, labels, weights, case):
    weight = weights if case["weighted"] else None
    return F.cross_entropy(logits, labels, weight=weight, label_smoothing=case["smoothing"])


def r_drop(p, q):
    p_loss = F.kl_div(F.log_softmax(p, -1), F.softmax(q, -1), reduction="none").sum()
    q_loss = F.kl_div(F.log_softmax(q, -1), F.softmax(p, -1), reduction="none").sum()
    return (p_loss + q_loss) / 2


def main(directory):
    generator = torch.Generator().manual_seed(11)
    rows, classes = 13, 5
    p = torch.randn(rows, classes, generator=generator) * 2
    q = p + torch.randn(rows, classes, generator=generator) * 0.5
    labels = torch.randint(0, classes, (rows,), generator=generator)
    weights = torch.tensor([1.0, 0.25, 3.0, 0.0, 1.5])
    tensors = {"logits": p, "again": q, "labels": labels.int(), "weights": weights}
    for case in CASES:
        a, b = p.clone().requires_grad_(), q.clone().requires_grad_()
        loss = cross_entropy(a, labels, weights, case)
        if case["smoothing"] and not case["weighted"]:
            smoother = LabelSmoother(epsilon=case["smoothing"])({"logits": p}, labels)
            assert torch.allclose(smoother, loss.detach(), rtol=1e-6)
        if case["alpha"]:
            loss = (cross_entropy(b, labels, weights, case) + loss) * 0.5 + case["alpha"] * r_drop(a, b)
        loss.backward()
        tensors["loss." + case["name"]] = loss.detach().reshape(1)
        tensors["grad." + case["name"]] = a.grad
        if case["alpha"]:
            tensors["grad_again." + case["name"]] = b.grad
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    save_file(tensors, directory / "fixture.safetensors")
    write_json(directory / "fixture.json", {"versions": versions(), "cases": CASES})


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent / "tests/golden/fixtures/losses")
