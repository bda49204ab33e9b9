/* What is measured. The goals are ratios: peer's time over cloze's, or cloze's rate over the peer's. */
#include <string.h>

#include "bench.h"

#define TORCH "torch"
#define ORT "ort"
#define ZEN "zentorch"

const bench_case bench_cases[] = {
    /* training; "usual" is the tutorial's setting: float32, padded to 128 */
    {"train_base_bf16", CASE_TRAIN, "base", true, 32, 4, .peer = "PyTorch bf16, tuned",
     .peer_venv = TORCH, .peer_args = "torch_train.py --bf16 --tuned", .goal = 1.5,
     .memory_goal = 0.65},
    {"train_base_fp32", CASE_TRAIN, "base", false, 32, 4, .peer = "PyTorch fp32, tuned",
     .peer_venv = TORCH, .peer_args = "torch_train.py --tuned"},
    {"train_base_bf16_usual", CASE_TRAIN, "base", true, 32, 2, .peer = "PyTorch fp32, padded to 128",
     .peer_venv = TORCH, .peer_args = "torch_train.py --pad 128", .goal = 8},
    {"train_base_fp32_usual", CASE_TRAIN, "base", false, 32, 2,
     .peer = "PyTorch fp32, padded to 128", .peer_venv = TORCH,
     .peer_args = "torch_train.py --pad 128", .goal = 5},
    {"train_small_bf16", CASE_TRAIN, "small", true, 32, 16, .peer = "PyTorch bf16, tuned",
     .peer_venv = TORCH, .peer_args = "torch_train.py --bf16 --tuned", .goal = 2},
    {"train_small_fp32", CASE_TRAIN, "small", false, 32, 16, .peer = "PyTorch fp32, tuned",
     .peer_venv = TORCH, .peer_args = "torch_train.py --tuned"},
    {"train_frozen_bf16", CASE_TRAIN, "base", true, 32, 4, .frozen = true,
     .peer = "PyTorch bf16, tuned", .peer_venv = TORCH,
     .peer_args = "torch_train.py --bf16 --tuned --frozen", .goal = 2},
    {"train_long_bf16", CASE_TRAIN, "base", true, 8, 2, .long_texts = true,
     .peer = "PyTorch bf16, tuned", .peer_venv = TORCH,
     .peer_args = "torch_train.py --bf16 --tuned"},
    /* prediction */
    {"predict_base_fp32", CASE_PREDICT, "base", false, 32, 128, .peer = "ONNX Runtime fp32",
     .peer_venv = ORT, .peer_args = "ort_predict.py", .goal = 1.3},
    {"predict_base_bf16", CASE_PREDICT, "base", true, 32, 256, .peer = "zentorch bf16",
     .peer_venv = ZEN, .peer_args = "torch_predict.py --bf16 --zentorch", .goal = 1.3},
    {"predict_small_fp32", CASE_PREDICT, "small", false, 32, 512, .peer = "ONNX Runtime fp32",
     .peer_venv = ORT, .peer_args = "ort_predict.py", .goal = 1.5},
    {"predict_small_bf16", CASE_PREDICT, "small", true, 32, 512, .peer = "zentorch bf16",
     .peer_venv = ZEN, .peer_args = "torch_predict.py --bf16 --zentorch", .goal = 1.5},
    {"predict_long_bf16", CASE_PREDICT, "base", true, 8, 16, .long_texts = true,
     .peer = "zentorch bf16", .peer_venv = ZEN, .peer_args = "torch_predict.py --bf16 --zentorch"},
    {"latency_base_fp32", CASE_LATENCY, "base", false, 1, 32, .peer = "ONNX Runtime fp32",
     .peer_venv = ORT, .peer_args = "ort_predict.py --latency", .goal = 1.3},
    {"latency_base_bf16", CASE_LATENCY, "base", true, 1, 64, .peer = "zentorch bf16",
     .peer_venv = ZEN, .peer_args = "torch_predict.py --bf16 --zentorch --latency", .goal = 1.4},
    {"latency_small_fp32", CASE_LATENCY, "small", false, 1, 128, .peer = "ONNX Runtime fp32",
     .peer_venv = ORT, .peer_args = "ort_predict.py --latency", .goal = 1.5},
    /* around the model */
    {"tokenize", CASE_TOKENIZE, "base", false, 0, 200000, .peer = "tokenizers, batch",
     .peer_venv = ORT, .peer_args = "fast_tokenize.py", .goal = 20},
    {"cold_base", CASE_COLD, "base", false, 1, 1, .peer = "ONNX Runtime fp32", .peer_venv = ORT,
     .peer_args = "ort_cold.py", .goal = 10},
    {"cold_base_torch", CASE_COLD, "base", false, 1, 1, .peer = "PyTorch fp32", .peer_venv = TORCH,
     .peer_args = "torch_cold.py", .goal = 50},
    {"load_base", CASE_LOAD, "base", false, 1, 1, .peer = "ONNX Runtime fp32", .peer_venv = ORT,
     .peer_args = "ort_predict.py --load"},
    {"stream_mini", CASE_STREAM, "mini", true, 32, 100000, .peer = NULL},
    {"size", CASE_SIZE, "base", false, 0, 0, .peer = "onnxruntime + tokenizers + numpy",
     .peer_venv = ORT, .goal = 3},
};
const int n_bench_cases = (int)(sizeof bench_cases / sizeof *bench_cases);

const char *case_unit(const bench_case *c) {
    switch (c->kind) {
    case CASE_TRAIN: return "steps/s";
    case CASE_PREDICT:
    case CASE_TOKENIZE: return "texts/s";
    case CASE_STREAM: return "lines/s";
    case CASE_LATENCY: return "ms";
    case CASE_COLD:
    case CASE_LOAD: return "ms";
    case CASE_SIZE: return "MB";
    }
    return "";
}

/*
 * A layer's matrices have 4 H^2 + 2 H F weights, two operations a weight and token; attention is
 * 4 H operations for each pair of tokens of a text, taken as texts of equal length. Backward costs
 * twice the forward pass in products, and five products for two in attention. What few rows need
 * (head, verbalizer) is left out. A frozen encoder has no backward pass.
 */
double case_flops(const bench_case *c, double n_tokens, double n_texts) {
    const shape_info *s = shape_find(c->shape);
    if (!s || (c->kind != CASE_TRAIN && c->kind != CASE_PREDICT && c->kind != CASE_LATENCY))
        return 0;
    double h = s->hidden, f = s->intermediate, l = s->layers;
    double products = 2 * (4 * h * h + 2 * h * f) * n_tokens * l;
    double attention = 4 * h * n_tokens * (n_tokens / n_texts) * l;
    bool backward = c->kind == CASE_TRAIN && !c->frozen;
    return products * (backward ? 3 : 1) + attention * (backward ? 3.5 : 1);
}
