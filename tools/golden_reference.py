"""What the golden tools share: random models, batches, and what transformers computes from them.

A fixture directory is a Hugging Face model directory (config.json, model.safetensors) with two files
more. fixture.json says what was done: head, learning_rate, weight_decay, max_grad_norm (0 = none),
schedule, steps. fixture.safetensors has inputs packed without padding and what came out: every
layer's hidden states, logits, loss, every parameter's gradient, the losses of the AdamW steps, and
how far torch's own bf16 is from its f32. tests/golden/golden_fixture.h reads it; this is its format:

    offsets (B+1), input_ids, token_type_ids, task_type_ids (N)    I32, rows of all sequences in turn
    labels       (N) with -100 where nothing is asked, or (B) classes; none for a bare encoder
    probe        (N,H) bare encoder: its loss is sum(last hidden states * probe)
    hidden_states.<i> (N,H)     0 is the embedding layer's output
    logits       (R,V) rows with a label only, or (B,C)
    loss (1), losses (10), grad.<name> as the parameter
    bf16.logits, bf16.loss (1)  under torch.autocast; of a bare encoder the last hidden states
    bf16.error.<name> (1)       of a gradient under autocast: root mean square of its difference from
                                the f32 one, over the root mean square of that
"""
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file

IGNORE = -100
FAMILIES = {"bert": "Bert", "roberta": "Roberta", "ernie": "Ernie"}
HEADS = {"bare": "Model", "masked_lm": "ForMaskedLM",
         "sequence_classification": "ForSequenceClassification"}
SETTINGS = ("head", "learning_rate", "weight_decay", "max_grad_norm", "schedule", "steps")
NO_DECAY = ("bias", "LayerNorm.weight", "layer_norm.weight")


@dataclass
class Case:
    name: str
    family: str
    head: str
    config: dict
    lengths: tuple = (17, 1, 9, 6)
    seed: int = 7
    weight_sd: float = 0.3      # of matrices and vectors alike; LayerNorm weights are 1 + that
    learning_rate: float = 3e-5
    weight_decay: float = 0.0   # on all but biases and LayerNorm, as the Trainer does
    max_grad_norm: float = 0.0  # 0: no clipping
    schedule: str = "constant"  # or linear: from the first step's rate down to 0 after the last
    steps: int = 10


def build_model(case):
    """A model whose every parameter is random, in evaluation mode (dropout off)."""
    prefix = FAMILIES[case.family]
    config = getattr(transformers, prefix + "Config")(**case.config)
    model = getattr(transformers, prefix + HEADS[case.head])(config)
    generator = torch.Generator().manual_seed(case.seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * case.weight_sd)
            if name.endswith(("LayerNorm.weight", "layer_norm.weight")):
                p.add_(1.0)
    model.tie_weights()
    return model.eval()


def make_batch(case, config):
    """A padded torch batch and the same rows packed."""
    generator = torch.Generator().manual_seed(case.seed + 1)
    n_seqs, longest = len(case.lengths), max(case.lengths)
    pad = config.pad_token_id

    def draw(high, shape):
        return torch.randint(0, high, shape, generator=generator)

    ids = draw(config.vocab_size - 5, (n_seqs, longest)) + 5  # ids 0-4 stand for special tokens
    types = draw(max(config.type_vocab_size, 1), (n_seqs, longest))
    mask = torch.zeros(n_seqs, longest, dtype=torch.long)
    for i, length in enumerate(case.lengths):
        mask[i, :length] = 1
    ids[mask == 0] = pad
    types[mask == 0] = 0
    batch = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    if getattr(config, "use_task_id", False):
        tasks = draw(config.task_type_vocab_size, (n_seqs, 1)).expand(n_seqs, longest).clone()
        tasks[mask == 0] = 0
        batch["task_type_ids"] = tasks
    if case.head == "masked_lm":
        labels = torch.full_like(ids, IGNORE)
        for i, length in enumerate(case.lengths):
            for _ in range(1 + length // 8):
                labels[i, draw(length, (1,)).item()] = draw(config.vocab_size, (1,)).item()
        batch["labels"] = labels
    elif case.head == "sequence_classification":
        batch["labels"] = draw(config.num_labels, (n_seqs,))
    return batch


def pack(values, mask):
    """(B,T,...) -> (N,...) rows that are not padding."""
    return values[mask.bool()].contiguous()


def run(model, case, batch, probe, bf16=False):
    """Hidden states, logits and loss of one forward pass."""
    inputs = {k: v for k, v in batch.items() if k != "labels" or case.head != "bare"}
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        out = model(**inputs, output_hidden_states=True)
    hidden = [pack(h, batch["attention_mask"]) for h in out.hidden_states]
    if case.head == "bare":
        return hidden, None, (hidden[-1].to(probe.dtype) * probe).sum()
    logits = out.logits
    if case.head == "masked_lm":
        logits = logits[batch["labels"] != IGNORE]
    return hidden, logits, out.loss


def stored_names(model, case, directory):
    """Parameter object -> its name in the saved file (of tied ones only one is stored), with the base
    prefix that a bare encoder's file leaves out."""
    keys = set(load_file(directory / "model.safetensors"))
    prefix = case.family + "." if case.head == "bare" else ""
    return {p: prefix + name for name, p in model.named_parameters(remove_duplicate=False) if name in keys}


def gradients(model, names):
    return {names[p]: p.grad.detach().clone() for p in model.parameters() if p.grad is not None}


def make_optimizer(model, case):
    groups = {True: [], False: []}
    for name, p in model.named_parameters():
        groups[name.endswith(NO_DECAY)].append(p)
    optimizer = torch.optim.AdamW(
        [{"params": groups[False], "weight_decay": case.weight_decay},
         {"params": groups[True], "weight_decay": 0.0}],
        lr=case.learning_rate, betas=(0.9, 0.999), eps=1e-8, foreach=False)
    make = (transformers.get_linear_schedule_with_warmup if case.schedule == "linear"
            else lambda o, *_: transformers.get_constant_schedule(o))
    return optimizer, make(optimizer, 0, case.steps)


def train(model, case, batch, probe):
    """The loss before each of the AdamW steps on the same batch. Changes the model."""
    optimizer, schedule = make_optimizer(model, case)
    losses = []
    for _ in range(case.steps):
        optimizer.zero_grad()
        loss = run(model, case, batch, probe)[2]
        loss.backward()
        if case.max_grad_norm > 0:
            torch.nn.utils.clip_grad_norm_(model.parameters(), case.max_grad_norm)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


def scale_of(name, values):
    """Whose largest value a tensor's error is measured against: its own, but for key biases, whose
    gradient is nothing but rounding noise (softmax does not feel them): the query bias's."""
    return values.get(name.replace("attention.self.key.bias", "attention.self.query.bias"))


def relative(value, reference, scale=None):
    """Largest difference over largest value (of the reference, or of scale)."""
    top = (reference if scale is None else scale).double().abs().max().item()
    difference = (value.double() - reference.double()).abs().max().item()
    return difference / top if top > 0 else difference


def rms_error(value, reference, scale=None):
    """The same with root mean squares: what scatters least."""
    top = (reference if scale is None else scale).double().square().mean().sqrt().item()
    difference = (value.double() - reference.double()).square().mean().sqrt().item()
    return difference / top if top > 0 else difference


def backward(model, case, batch, probe, names, bf16):
    model.zero_grad()
    hidden, logits, loss = run(model, case, batch, probe, bf16)
    loss.backward()
    detached = None if logits is None else logits.detach().float().clone()
    return [h.detach().float().clone() for h in hidden], detached, loss.item(), gradients(model, names)


def export(case, directory):
    """Writes the fixture directory of one case; returns the model as trained by its ten steps."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    model = build_model(case)
    model.save_pretrained(directory)
    names = stored_names(model, case, directory)
    batch = make_batch(case, model.config)
    mask = batch["attention_mask"]
    generator = torch.Generator().manual_seed(case.seed + 2)
    probe = torch.randn(int(mask.sum()), model.config.hidden_size, generator=generator)

    tensors = {"offsets": torch.tensor(np.cumsum((0,) + tuple(case.lengths)), dtype=torch.int32)}
    for key in ("input_ids", "token_type_ids", "task_type_ids"):
        if key in batch:
            tensors[key] = pack(batch[key], mask).int()
    if case.head == "bare":
        tensors["probe"] = probe
    else:
        labels = batch["labels"]
        tensors["labels"] = (pack(labels, mask) if case.head == "masked_lm" else labels).int()

    hidden, logits, loss, grads = backward(model, case, batch, probe, names, bf16=False)
    for i, h in enumerate(hidden):
        tensors[f"hidden_states.{i}"] = h
    if logits is not None:
        tensors["logits"] = logits
    tensors["loss"] = torch.tensor([loss])
    tensors.update({"grad." + name: g for name, g in grads.items()})

    hidden16, logits16, loss16, grads16 = backward(model, case, batch, probe, names, bf16=True)
    tensors["bf16.logits"] = hidden16[-1] if logits16 is None else logits16
    tensors["bf16.loss"] = torch.tensor([loss16])
    for name, g in grads16.items():
        error = rms_error(g, grads[name], scale_of("grad." + name, tensors))
        tensors["bf16.error." + name] = torch.tensor([error])

    tensors["losses"] = torch.tensor(train(model, case, batch, probe))
    write_fixture(directory, tensors, {k: v for k, v in asdict(case).items() if k in SETTINGS})
    return model


def write_fixture(directory, tensors, settings):
    save_file({k: v.contiguous() for k, v in tensors.items()}, directory / "fixture.safetensors")
    write_json(directory / "fixture.json", settings)


def versions():
    return {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__,
            "numpy": np.__version__}


def write_json(path, value):
    Path(path).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
