"""A new process to its first answer with ONNX Runtime and tokenizers alone: no PyTorch."""
import os
import sys

import numpy as np
import onnxruntime as ort
from tokenizers import BertWordPieceTokenizer

flags = dict(zip(sys.argv[1::2], sys.argv[2::2]))
run_dir, work = flags["--model"], flags["--work"]
path = os.path.join(work, os.path.basename(run_dir.rstrip("/")) + ".onnx")
if not os.path.exists(path):
    sys.exit("measure load_base or predict_base_fp32 first: it exports the graph")
tokenizer = BertWordPieceTokenizer(run_dir + "/vocab.txt", lowercase=True)
tokenizer.add_special_tokens(["[MASK]"])
options = ort.SessionOptions()
options.intra_op_num_threads = os.cpu_count() or 1
session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
with open(os.path.join(work, "one.txt"), encoding="utf-8") as f:
    text = f.readline().strip()
ids = np.array([tokenizer.encode(text + "这条新闻标题的主题是[MASK]").ids])
masks = np.where(ids == tokenizer.token_to_id("[MASK]"))[1][None]
logits = session.run(None, dict(input_ids=ids, attention_mask=np.ones_like(ids),
                                token_type_ids=np.zeros_like(ids),
                                position_ids=np.arange(ids.shape[1])[None], masks=masks))[0]
print(int(logits.argmax()))
