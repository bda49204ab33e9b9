/*
 * Speed of the CPU backend's kernels at the shapes of a base encoder: 1280 packed tokens (32 short
 * texts of 40, or 10 of 128), 768 hidden, 3072 inner, 12 heads. One line a kernel: the best of many
 * repetitions, in Gop/s where arithmetic limits it and GB/s (tensors read and written once) where
 * memory does. Not built by default: ninja bench_kernels. Arguments: the number of threads (0: all
 * cores) and a part of a kernel's name; CLOZE_ISA applies. With one thread the processor's time is
 * taken instead of the clock's, so that a busy machine disturbs less.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backend/backend.h"
#include "base/rng.h"

#define N 1280
#define H 768
#define F 3072
#define HEADS 12
#define V 40000
#define R 64            /* mask rows */
#define FLAT 20000000   /* parameters of an optimizer sweep */
#define MIN_SECONDS 0.3 /* how long a kernel is repeated */

static const backend *const cpu = &backend_cpu;
static backend_device *device;
static const char *wanted;
static int n_threads;
static cloze_error error;

/* Everything that the kernels below work on. */
static struct {
    cloze_dtype dtype;                            /* of activations */
    tensor x, y, z, wide, wide_too;               /* (N,H) x 3, (N,F) x 2 */
    tensor qkv, dqkv;                             /* (N,3H) */
    tensor low, wide_low;                         /* bf16 (N,H), (N,F) */
    tensor gamma, beta, dgamma, dbeta, rstd, lse; /* (1,F) x 4, (N,1), (N,HEADS) */
    tensor table, dtable;                         /* (V,H) */
    tensor logits, dlogits, row_lse, loss;
    weight w[4]; /* (M,K) */
    tensor dw[4];
    int32_t *ids, *labels; /* (N), (R) */
    uint64_t *row_keys;    /* (N) */
    float *flat[4];        /* (FLAT) */
} data;

static void fail(void) {
    fprintf(stderr, "bench_kernels: %s\n", error.message);
    exit(1);
}

static void *memory(size_t bytes) {
    void *p;
    if (cpu->mem_alloc(device, bytes, &p, &error) != CLOZE_OK) fail();
    return p;
}

static tensor random_tensor(cloze_dtype dtype, int64_t rows, int64_t cols) {
    tensor t = tensor_of(memory((size_t)(rows * cols) * dtype_size(dtype)), dtype, rows, cols);
    rng r;
    rng_init(&r, (uint64_t)(rows * cols));
    for (int64_t i = 0; i < rows * cols; i++) {
        float value = (float)(rng_uniform(&r) - 0.5);
        dtype_from_f32((char *)t.data + (size_t)i * dtype_size(dtype), &value, dtype, 1);
    }
    return t;
}

static const struct { int64_t m, k; } layers[4] = {{3 * H, H}, {H, H}, {F, H}, {H, F}};

static void data_init(cloze_dtype dtype) {
    memset(&data, 0, sizeof data);
    data.dtype = dtype;
    tensor *rows_h[] = {&data.x, &data.y, &data.z};
    for (int i = 0; i < 3; i++) *rows_h[i] = random_tensor(dtype, N, H);
    data.wide = random_tensor(dtype, N, F);
    data.wide_too = random_tensor(dtype, N, F);
    data.qkv = random_tensor(dtype, N, 3 * H);
    data.dqkv = random_tensor(dtype, N, 3 * H);
    data.low = random_tensor(DTYPE_BF16, N, H);
    tensor *params[] = {&data.gamma, &data.beta, &data.dgamma, &data.dbeta};
    for (int i = 0; i < 4; i++) *params[i] = random_tensor(DTYPE_F32, 1, F);
    for (int i = 0; i < 4; i++) params[i]->cols = params[i]->ld = H;
    data.rstd = random_tensor(DTYPE_F32, N, 1);
    data.lse = random_tensor(DTYPE_F32, N, HEADS);
    data.table = random_tensor(DTYPE_F32, V, H);
    data.dtable = random_tensor(DTYPE_F32, V, H);
    data.logits = random_tensor(dtype, R, V);
    data.dlogits = random_tensor(dtype, R, V);
    data.row_lse = random_tensor(DTYPE_F32, R, 1);
    data.loss = random_tensor(DTYPE_F32, 1, 1);
    for (int i = 0; i < 4; i++) {
        data.w[i] = (weight){.t = random_tensor(DTYPE_F32, layers[i].m, layers[i].k), .version = 1};
        data.dw[i] = random_tensor(DTYPE_F32, layers[i].m, layers[i].k);
        data.flat[i] = memory(FLAT * sizeof(float));
    }
    data.ids = memory(N * sizeof(int32_t));
    data.row_keys = memory(N * sizeof(uint64_t));
    for (int i = 0; i < N; i++) {
        data.ids[i] = (int32_t)((uint32_t)i * 2654435761u % V);
        data.row_keys[i] = rng_mix(1, (uint64_t)i);
    }
    data.labels = memory(R * sizeof(int32_t));
}

static double now(void) {
    struct timespec t;
    clock_gettime(n_threads == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef cloze_status (*body)(int variant);

/* Repeats body and prints operations (1e9) or bytes (1e9) a second. */
static void measure(const char *name, body run, int variant, double amount, const char *unit) {
    if (wanted && !strstr(name, wanted)) return;
    double best = 1e30, started = now();
    for (int i = 0; i < 3 || now() - started < MIN_SECONDS; i++) {
        double t = now();
        if (run(variant) != CLOZE_OK) fail();
        t = now() - t;
        if (t < best) best = t;
    }
    printf("%-4s %-34s %9.3f ms %8.1f %s\n", data.dtype == DTYPE_F32 ? "f32" : "bf16", name,
           best * 1e3, amount / best * 1e-9, unit);
    fflush(stdout);
}

static tensor activation_of(int64_t cols, bool second) {
    if (cols == H) return second ? data.y : data.x;
    return cols == F ? (second ? data.wide_too : data.wide) : (second ? data.dqkv : data.qkv);
}

static cloze_status forward(int i) {
    tensor x = activation_of(layers[i].k, false), y = activation_of(layers[i].m, true),
           bias = data.gamma;
    bias.cols = bias.ld = layers[i].m;
    return cpu->linear_forward(device, &x, &data.w[i], &bias, ACT_NONE, NULL, &y, &error);
}

static cloze_status forward_gelu(int i) {
    tensor bias = data.gamma;
    bias.cols = bias.ld = F;
    return cpu->linear_forward(device, &data.x, &data.w[2], &bias, ACT_GELU_ERF,
                               i ? &data.wide : NULL, &data.wide_too, &error);
}

static cloze_status backward_input(int i) {
    tensor dy = activation_of(layers[i].m, false), dx = activation_of(layers[i].k, true);
    return cpu->linear_backward_input(device, &dy, &data.w[i], false, &dx, &error);
}

static cloze_status backward_weight(int i) {
    tensor dy = activation_of(layers[i].m, false), x = activation_of(layers[i].k, true);
    return cpu->linear_backward_weight(device, &dy, &x, false, &data.dw[i], NULL, &error);
}

static cloze_status few_rows(int rows) {
    tensor x = tensor_rows(&data.x, 0, rows), y = tensor_rows(&data.wide, 0, rows);
    return cpu->linear_forward(device, &x, &data.w[2], NULL, ACT_NONE, NULL, &y, &error);
}

static cloze_status head(int variant) {
    static weight w;
    tensor x = tensor_rows(&data.x, 0, R);
    if (w.t.data != data.table.data) w = (weight){.t = data.table, .version = 1};
    return cpu->linear_forward(device, &x, &w, NULL, ACT_NONE, NULL, &data.logits, &error);
}

static cloze_status pack(int variant) {
    data.w[3].version++;
    tensor x = activation_of(F, false), y = data.y;
    x = tensor_rows(&x, 0, 1);
    y = tensor_rows(&y, 0, 1);
    return cpu->linear_forward(device, &x, &data.w[3], NULL, ACT_NONE, NULL, &y, &error);
}

static dropout_spec drop(bool on) {
    dropout_spec spec = {on ? 0.1f : 0.0f, 42, data.row_keys};
    return spec;
}

static cloze_status norm_forward(int dropped) {
    dropout_spec spec = drop(dropped);
    tensor y = data.y;
    bool low = data.dtype == DTYPE_BF16;
    return cpu->layer_norm_forward(device, &data.x, &data.z, &spec, &data.gamma, &data.beta, 1e-12f,
                                   &y, low ? &data.low : NULL, &data.z, &data.rstd, &error);
}

static cloze_status norm_backward(int dropped) {
    dropout_spec spec = drop(dropped);
    tensor dresidual = tensor_columns(&data.wide, 0, H);
    return cpu->layer_norm_backward(device, &data.x, &data.z, &data.rstd, &data.gamma, &spec, false,
                                    &data.y, true, &dresidual, &data.dgamma, &data.dbeta, &error);
}

/* variant: sequence length, negative with dropout */
static attention_spec attention_of(int variant, dropout_spec *spec) {
    static int32_t offsets[N + 1];
    int len = variant < 0 ? -variant : variant, n = N / len;
    for (int i = 0; i <= n; i++) offsets[i] = i * len;
    *spec = drop(variant < 0);
    attention_spec a = {.n_seqs = n,
                        .q_offsets = offsets,
                        .kv_offsets = offsets,
                        .max_q = len,
                        .max_kv = len,
                        .n_heads = HEADS,
                        .head_dim = H / HEADS,
                        .scale = 0.125f,
                        .dropout = spec};
    return a;
}

static cloze_status attend(int variant, bool backward) {
    dropout_spec spec;
    attention_spec a = attention_of(variant, &spec);
    tensor part[3], grad[3];
    for (int i = 0; i < 3; i++) {
        part[i] = tensor_columns(&data.qkv, i * H, H);
        grad[i] = tensor_columns(&data.dqkv, i * H, H);
    }
    attention_inputs in = {&part[0], &part[1], &part[2], NULL, NULL};
    attention_grads grads = {&grad[0], &grad[1], &grad[2], NULL, NULL};
    if (!backward) return cpu->attention_forward(device, &a, &in, &data.y, &data.lse, &error);
    return cpu->attention_backward(device, &a, &in, &data.y, &data.lse, &data.x, &grads, &error);
}

static cloze_status attend_forward(int variant) { return attend(variant, false); }
static cloze_status attend_backward(int variant) { return attend(variant, true); }

static cloze_status act_forward(int act) {
    return cpu->activation_forward(device, (activation)act, &data.wide, &data.wide_too, &error);
}

static cloze_status act_backward(int act) {
    return cpu->activation_backward(device, (activation)act, &data.wide, &data.wide_too, false,
                                    &data.wide_too, &error);
}

static cloze_status drop_rows(int variant) {
    dropout_spec spec = drop(true);
    return cpu->dropout(device, &data.x, &spec, false, &data.y, NULL, &error);
}

static cloze_status add_rows(int variant) {
    return cpu->axpy(device, 1.0f, &data.x, true, &data.y, &error);
}

static cloze_status cast_rows(int variant) {
    return cpu->axpy(device, 1.0f, &data.x, false, &data.low, &error);
}

static cloze_status column_sums(int variant) {
    tensor dst = data.dgamma;
    dst.cols = dst.ld = F;
    return cpu->sum_rows(device, &data.wide, &dst, &error);
}

static cloze_status embed(int variant) {
    const tensor *tables[3] = {&data.table, &data.table, &data.table};
    const int32_t *ids[3] = {data.ids, data.ids, data.ids};
    return cpu->embedding_forward(device, 3, tables, ids, &data.y, &error);
}

static cloze_status embed_backward(int variant) {
    return cpu->embedding_backward(device, &data.x, data.ids, &data.dtable, &error);
}

static cloze_status loss_forward(int variant) {
    cross_entropy_spec spec = {.labels = data.labels, .scale = 1.0f / R};
    return cpu->cross_entropy_forward(device, &data.logits, &spec, &data.row_lse, &data.loss,
                                      &error);
}

static cloze_status loss_backward(int variant) {
    cross_entropy_spec spec = {.labels = data.labels, .scale = 1.0f / R};
    return cpu->cross_entropy_backward(device, &data.logits, &spec, &data.row_lse, &data.loss,
                                       false, &data.dlogits, &error);
}

static cloze_status log_probabilities(int variant) {
    return cpu->log_softmax_forward(device, &data.logits, &data.dlogits, &error);
}

static cloze_status squares(int variant) {
    double sum;
    return cpu->sum_squares(device, data.flat[0], FLAT, &sum, &error);
}

static cloze_status optimizer(int variant) {
    adamw_spec spec = {1e-5f, 0.9f, 0.999f, 1e-8f, 0.01f, 1.0f, 10};
    return cpu->adamw(device, &spec, FLAT, data.flat[0], data.flat[1], data.flat[2], data.flat[3],
                      &error);
}

static cloze_status clear(int variant) {
    return cpu->zero(device, data.flat[0], FLAT * sizeof(float), &error);
}

static void run_products(double size) {
    char name[64];
    for (int i = 0; i < 4; i++) {
        double flops = 2.0 * N * (double)(layers[i].m * layers[i].k);
        snprintf(name, sizeof name, "linear forward %dx%d", (int)layers[i].m, (int)layers[i].k);
        measure(name, forward, i, flops, "GF/s");
        snprintf(name, sizeof name, "linear backward input %dx%d", (int)layers[i].m,
                 (int)layers[i].k);
        measure(name, backward_input, i, flops, "GF/s");
        snprintf(name, sizeof name, "linear backward weight %dx%d", (int)layers[i].m,
                 (int)layers[i].k);
        measure(name, backward_weight, i, flops, "GF/s");
    }
    double flops = 2.0 * N * (double)F * H;
    measure("linear forward gelu fused", forward_gelu, 0, flops, "GF/s");
    measure("linear forward gelu, pre kept", forward_gelu, 1, flops, "GF/s");
    for (int rows = 1; rows <= 40; rows = rows == 8 ? 40 : rows * 8) {
        snprintf(name, sizeof name, "linear forward 3072x768, %d rows", rows);
        measure(name, few_rows, rows, 2.0 * rows * (double)F * H, "GF/s");
    }
    measure("vocabulary head, 64 rows", head, 0, 2.0 * R * (double)V * H, "GF/s");
    if (data.dtype == DTYPE_BF16) measure("weight pack 768x3072", pack, 0, 6.0 * H * F, "GB/s");
}

static void run_rows(double size) {
    measure("layer_norm forward", norm_forward, 0, (size * 4 + (size == 2 ? 2 : 0)) * N * H,
            "GB/s");
    measure("layer_norm forward, dropout", norm_forward, 1,
            (size * 4 + (size == 2 ? 2 : 0)) * N * H, "GB/s");
    measure("layer_norm backward", norm_backward, 0, size * 5 * N * H, "GB/s");
    measure("layer_norm backward, dropout", norm_backward, 1, size * 5 * N * H, "GB/s");
    for (int len = 40; len <= 640; len = len == 40 ? 128 : len * 5) {
        char name[64];
        double flops = 4.0 * N * (double)len * H;
        for (int sign = 1; sign >= -1; sign -= 2) {
            snprintf(name, sizeof name, "attention forward T=%d%s", len,
                     sign < 0 ? ", dropout" : "");
            measure(name, attend_forward, sign * len, flops, "GF/s");
            snprintf(name, sizeof name, "attention backward T=%d%s", len,
                     sign < 0 ? ", dropout" : "");
            measure(name, attend_backward, sign * len, 2.5 * flops, "GF/s");
        }
    }
    measure("gelu_erf forward", act_forward, ACT_GELU_ERF, 2 * size * N * F, "GB/s");
    measure("gelu_erf backward", act_backward, ACT_GELU_ERF, 3 * size * N * F, "GB/s");
    measure("tanh forward", act_forward, ACT_TANH, 2 * size * N * F, "GB/s");
    measure("dropout", drop_rows, 0, 2 * size * N * H, "GB/s");
    measure("add", add_rows, 0, 3 * size * N * H, "GB/s");
    measure("cast to bf16", cast_rows, 0, (size + 2) * N * H, "GB/s");
    measure("sum_rows", column_sums, 0, size * N * F, "GB/s");
    measure("embedding forward, 3 tables", embed, 0, (12 + size) * N * H, "GB/s");
    measure("embedding backward", embed_backward, 0, (8 + size) * N * H, "GB/s");
    measure("cross_entropy forward", loss_forward, 0, size * R * V, "GB/s");
    measure("cross_entropy backward", loss_backward, 0, 2 * size * R * V, "GB/s");
    measure("log_softmax forward", log_probabilities, 0, 2 * size * R * V, "GB/s");
}

int main(int argc, char **argv) {
    n_threads = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 0;
    wanted = argc > 2 ? argv[2] : NULL;
    if (cpu->device_open(0, n_threads, &device, &error) != CLOZE_OK) fail();
    static const cloze_dtype dtypes[] = {DTYPE_F32, DTYPE_BF16};
    for (int i = 0; i < 2; i++) {
        data_init(dtypes[i]);
        run_products((double)dtype_size(dtypes[i]));
        run_rows((double)dtype_size(dtypes[i]));
        if (i > 0) continue;
        measure("sum_squares", squares, 0, 4.0 * FLAT, "GB/s");
        measure("adamw", optimizer, 0, 28.0 * FLAT, "GB/s");
        measure("zero", clear, 0, 4.0 * FLAT, "GB/s");
    }
    cpu->device_close(device);
    return 0;
}
