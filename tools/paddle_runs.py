"""Run directories as PaddleNLP's few-shot scripts leave them, with what they predict (predictions.json)."""
import importlib.util
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import paddle
from paddlenlp.datasets import MapDataset
from paddlenlp.prompt import (AutoTemplate, PromptDataCollatorWithPadding,
                              PromptModelForSequenceClassification, PromptTrainer, PromptTuningArguments,
                              SoftVerbalizer)
from paddlenlp.transformers import ErnieTokenizer
from paddlenlp.transformers.ernie import modeling

from paddle_reference import build_model, tiny, write_json

MAX_LENGTH = 24
PROMPT = "这句话的类别是"
PROMPT_FIRST = "{'text':'text_a'}{'hard':'这句话的类别是'}{'mask'}{'sep'}{'text':'text_b'}"
PROMPT_TWO_MASKS = "{'text':'text_a'}{'hard':'是'}{'mask'}{'mask'}{'hard':'新闻'}"
WORDS = {"体育": ["国足"], "经济": ["汽车"], "其他": ["新闻"]}
TEXTS = [("新能源汽车销量再创新高，充电桩建设提速，车企加快布局", "车企加快布局"), ("国足晚间抵达多哈", "今晚八点开赛"),
         ("It was a quick brown fox 12km", "短")]


def write_tokenizer(directory):
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    joined = "".join(a + b for a, b in TEXTS) + PROMPT + "".join(w[0] for w in WORDS.values()) + letters
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + list(joined.lower()) + ["##" + c for c in letters]
    tokens = [t for t in dict.fromkeys(tokens) if t.strip()]
    (directory / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    write_json(directory / "tokenizer_config.json", {"do_lower_case": True, "model_max_length": 64})
    return ErnieTokenizer.from_pretrained(str(directory)), len(tokens)


def shake(verbalizer, names):
    """The verbalizer's decoder away from where it starts."""
    for name, p in verbalizer.named_parameters():
        if names in name:
            random = np.random.RandomState(len(name))
            p.set_value(p.numpy() + random.randn(*p.shape).astype("float32") * np.float32(0.3))


def softmax(row):
    e = np.exp(row - row.max())
    return (e / e.sum()).tolist()


def write_predictions(directory, labels, rows):
    write_json(directory / "predictions.json", {
        "max_seq_length": MAX_LENGTH, "labels": labels, "texts": [a for a, _ in TEXTS],
        "texts_b": [b for _, b in TEXTS], "probabilities": [softmax(r.reshape(-1)) for r in rows]})


def write_later(directory):
    """PaddleNLP 2.8.1's PromptTrainer.save_model, and the model's config.json beside it."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        tokenizer, vocab = write_tokenizer(Path(made))
        model = build_model("ernie", "masked_lm", tiny("ernie", vocab_size=vocab, max_position_embeddings=64))
        template = AutoTemplate.create_from(PROMPT, tokenizer, MAX_LENGTH, model=model)
        verbalizer = SoftVerbalizer(WORDS, tokenizer, model)
        shake(verbalizer, "decoder")
        prompt_model = PromptModelForSequenceClassification(model, template, verbalizer)
        prompt_model.eval()
        arguments = PromptTuningArguments(output_dir=made + "/out", device="cpu", disable_tqdm=True, report_to=[])
        trainer = PromptTrainer(model=prompt_model, tokenizer=tokenizer, args=arguments,
                                criterion=paddle.nn.CrossEntropyLoss(), train_dataset=MapDataset([]))
        trainer.save_model(str(directory))
    (directory / "training_args.bin").unlink()
    model.config.save_pretrained(str(directory))
    collate = PromptDataCollatorWithPadding(tokenizer, padding=True, return_tensors="pd")
    rows = []
    with paddle.no_grad():
        for text, _ in TEXTS:
            out = prompt_model(**collate([template({"text_a": text})]))
            rows.append((out[0] if isinstance(out, tuple) else out).numpy())
    write_predictions(directory, verbalizer.labels, rows)


def load_prompt_2_4(folder):
    name = "paddlenlp.prompt_2_4"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, folder / "__init__.py",
                                                      submodule_search_locations=[str(folder)])
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name], importlib.import_module(name + ".prompt_utils")


def old_head_forward(self, hidden, masked_positions=None):
    hidden = self.layer_norm(self.activation(self.transform(hidden)))
    return paddle.matmul(hidden, self.decoder_weight, transpose_y=True) + self.decoder_bias


def write_first(directory, folder, prompt):
    """What PaddleNLP 2.4.0's prompt package saves; its masked-LM head had bare decoder parameters."""
    package, utils = load_prompt_2_4(folder)
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer, vocab = write_tokenizer(directory)
    model = build_model("ernie", "masked_lm", tiny("ernie", vocab_size=vocab, max_position_embeddings=64))
    head, forward = model.cls.predictions, modeling.ErnieLMPredictionHead.forward
    del head.decoder
    head.decoder_weight = model.ernie.embeddings.word_embeddings.weight
    modeling.ErnieLMPredictionHead.forward = old_head_forward
    template = package.AutoTemplate.create_from(prompt, tokenizer, MAX_LENGTH, model=model)
    verbalizer = package.SoftVerbalizer(tokenizer, model, labels=set(WORDS), label_words=dict(WORDS))
    shake(verbalizer, "decoder")
    prompt_model = package.PromptModelForSequenceClassification(model, template, verbalizer)
    prompt_model.eval()
    template.save_to(str(directory))
    verbalizer.save_to(str(directory))
    paddle.save(prompt_model.state_dict(), str(directory / "model_state.pdparams"))
    model.config.save_pretrained(str(directory))
    rows = []
    with paddle.no_grad():
        for a, b in TEXTS:
            feature = template.wrap_one_example(utils.InputExample(text_a=a, text_b=b))
            batch = utils.InputFeatures.collate_fn([feature])
            rows.append(prompt_model(batch["input_ids"], batch["mask_ids"]).numpy())
    modeling.ErnieLMPredictionHead.forward = forward
    write_predictions(directory, verbalizer.labels, rows)
