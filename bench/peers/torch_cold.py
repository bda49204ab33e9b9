"""A new process to its first answer with PyTorch and transformers."""
import os
import sys

import torch
from prompt_model import PromptClassifier
from transformers import BertTokenizerFast

flags = dict(zip(sys.argv[1::2], sys.argv[2::2]))
run_dir, work = flags["--model"], flags["--work"]
torch.set_num_threads(os.cpu_count() or 1)
tokenizer = BertTokenizerFast.from_pretrained(run_dir)
model = PromptClassifier(run_dir).eval()
with open(os.path.join(work, "one.txt"), encoding="utf-8") as f:
    text = f.readline().strip()
x = tokenizer(text + "这条新闻标题的主题是[MASK]", return_tensors="pt")
masks = (x["input_ids"][0] == tokenizer.mask_token_id).nonzero()[:, 0][None]
with torch.inference_mode():
    logits = model(x["input_ids"], x["attention_mask"], x["token_type_ids"],
                   torch.arange(x["input_ids"].shape[1])[None], masks)
print(int(logits.argmax()))
