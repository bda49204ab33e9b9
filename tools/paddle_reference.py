"""What the Paddle tools share: random PaddleNLP models, what they compute, and fixtures of it.

A fixture directory is a model directory as PaddleNLP writes it, with fixture.json and
fixture.safetensors as tools/golden_reference.py describes them: offsets, input_ids, token_type_ids,
labels, logits, loss, and losses, the ten losses before steps of Paddle's AdamW. Needs paddlepaddle 2.6.2 and
paddlenlp 2.8.1 with the pins of tools/requirements-paddle.txt.
"""
import zlib  # noqa: F401  paddle 2.6 needs it loaded first
import json
from pathlib import Path

import numpy as np
import paddle
import paddlenlp
from paddlenlp import transformers
from paddlenlp.utils.log import logger
from safetensors.numpy import save_file

IGNORE = -100
FAMILIES = {"bert": "Bert", "ernie": "Ernie", "roberta": "Roberta"}
HEADS = {"bare": "Model", "masked_lm": "ForMaskedLM", "sequence_classification": "ForSequenceClassification"}
STEPS, LEARNING_RATE = 10, 1e-3

logger.set_level("ERROR")
paddle.set_device("cpu")


def tiny(family, **changes):
    config = {"vocab_size": 37, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
              "intermediate_size": 12, "max_position_embeddings": 24, "type_vocab_size": 4, "num_labels": 5}
    if family == "ernie":
        config |= {"use_task_id": True, "task_type_vocab_size": 3}
    if family == "roberta":
        config |= {"pad_token_id": 1, "cls_token_id": 0, "layer_norm_eps": 1e-5}
    return config | changes


def randomize(model, seed, sd=0.3):
    """Every parameter random, norms' weights around 1; dropout off."""
    random = np.random.RandomState(seed)
    for name, p in model.named_parameters():
        values = random.randn(*p.shape).astype("float32") * np.float32(sd)
        p.set_value(values + np.float32(1) if "norm" in name and name.endswith("weight") else values)
    model.eval()
    return model


def build_model(family, head, config, seed=1, sd=0.3):
    made = getattr(transformers, FAMILIES[family] + "Config")(**config)
    return randomize(getattr(transformers, FAMILIES[family] + HEADS[head])(made), seed, sd)


def make_batch(model, head, lengths, seed=2):
    """Sequences of ids and token types, and labels: (N) with IGNORE, or (B) classes."""
    random = np.random.RandomState(seed)
    c = model.config
    ids = [random.randint(5, c.vocab_size, n) for n in lengths]
    types = [random.randint(0, c.type_vocab_size, n) for n in lengths]
    if head == "sequence_classification":
        return ids, types, random.randint(0, c.num_labels, len(lengths))
    labels = [np.full(n, IGNORE) for n in lengths]
    for row in labels:
        row[random.randint(0, len(row), 1 + len(row) // 8)] = random.randint(0, c.vocab_size)
    return ids, types, np.concatenate(labels)


def logits_of(model, head, batch):
    """(R,V), (B,C) or, of a bare encoder, all last hidden states (N,H): one sequence at a time."""
    ids, types, labels = batch
    rows = []
    for i, t in zip(ids, types):
        out = model(input_ids=paddle.to_tensor(i[None]), token_type_ids=paddle.to_tensor(t[None]))
        out = out[0] if isinstance(out, tuple) else out
        rows.append(out if head == "sequence_classification" else out[0])
    joined = paddle.concat(rows)
    if head == "masked_lm":
        joined = joined[paddle.to_tensor(np.flatnonzero(labels != IGNORE))]
    return joined


def loss_of(logits, labels):
    return paddle.nn.functional.cross_entropy(logits, paddle.to_tensor(labels[labels != IGNORE]))


def train(model, head, batch):
    optimizer = paddle.optimizer.AdamW(LEARNING_RATE, epsilon=1e-8, weight_decay=0.0,
                                       parameters=model.parameters())
    losses = []
    for _ in range(STEPS):
        loss = loss_of(logits_of(model, head, batch), batch[2])
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        losses.append(float(loss))
    return losses


def fixture_tensors(model, head, batch, with_training=True):
    ids, types, labels = batch
    tensors = {"offsets": np.cumsum([0] + [len(i) for i in ids]).astype("int32"),
               "input_ids": np.concatenate(ids).astype("int32"),
               "token_type_ids": np.concatenate(types).astype("int32")}
    logits = logits_of(model, head, batch)
    tensors["logits"] = logits.numpy()
    if head != "bare":
        tensors["labels"] = labels.astype("int32")
        tensors["loss"] = np.array([float(loss_of(logits, labels))], dtype="float32")
        if with_training:
            tensors["losses"] = np.array(train(model, head, batch), dtype="float32")
    return tensors


def write_fixture(directory, tensors, head):
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, str(Path(directory) / "fixture.safetensors"))
    write_json(Path(directory) / "fixture.json",
               {"head": head, "learning_rate": LEARNING_RATE, "weight_decay": 0.0, "max_grad_norm": 0.0,
                "schedule": "constant", "steps": STEPS})


def write_json(path, value):
    Path(path).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def versions():
    return {"paddlepaddle": paddle.__version__, "paddlenlp": paddlenlp.__version__, "numpy": np.__version__}
