"""ONNX Runtime prediction in float32, graph optimisation on, one thread for each core."""
import os
import subprocess
import sys
import time

import common
import numpy as np
import onnxruntime as ort

p = common.parser()
p.add_argument("--latency", action="store_true")
p.add_argument("--load", action="store_true", help="from a session that is not there to the first answer")
a = p.parse_args()

INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids", "masks")


def graph(model, work):
    """The exported graph; made by the PyTorch environment beside this one."""
    path = os.path.join(work, os.path.basename(model.rstrip("/")) + ".onnx")
    if not os.path.exists(path):
        here = os.path.dirname(os.path.abspath(__file__))
        python = os.path.join(os.path.dirname(sys.prefix.rstrip("/")), "torch", "bin", "python")
        if not os.path.exists(python):
            python = os.path.join(os.environ.get("CLOZE_PEERS", ""), "torch", "bin", "python")
        subprocess.run([python, os.path.join(here, "export_onnx.py"), model, path], check=True,
                       stdout=sys.stderr)
    return path


def open_session():
    options = ort.SessionOptions()
    options.intra_op_num_threads = common.THREADS
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


path = graph(a.model, a.work)
examples = common.read_ids(a.ids)
data = common.batches(examples, a.batch)
feeds = [{k: b[k] for k in INPUTS} for b in data]
session = open_session()


def predict(feed):
    return session.run(None, feed)[0]


def run_slice():
    global session
    if a.load:
        session = None
        begin = time.perf_counter()
        session = open_session()
        predict(feeds[0])
        return time.perf_counter() - begin, 1
    if a.latency:
        return common.median_time(predict, feeds)
    for feed in feeds:
        predict(feed)
    return len(examples)


common.write_answers(a.answers, np.concatenate([predict(f) for f in feeds]))
common.serve(run_slice)
