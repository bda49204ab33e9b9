/*
 * The device interface: memory and kernels of one kind of device. It knows nothing of gradients'
 * meaning, models or methods. A backend fills every slot; backend_check() names what one lacks.
 *
 *   ref/   plain C, double accumulation, one thread: what the others are tested against
 *   cpu/   oneDNN for matrix products, own kernels per instruction set for the rest, OpenMP
 *
 * All tensor pointers and index arrays that kernels take are device memory. Kernels of one device
 * are called from one thread at a time (a session owns its device handle); weights may be shared
 * between devices handles of the same backend for prediction (their packs are made under a lock).
 * Results do not depend on the schedule: reductions partition outputs, never use atomics.
 */
#ifndef CLOZE_BACKEND_BACKEND_H
#define CLOZE_BACKEND_BACKEND_H

#include <stdbool.h>

#include "base/error.h"
#include "tensor/tensor.h"

typedef struct backend_device backend_device; /* threads, scratch, primitive cache; per backend */

typedef enum activation {
    ACT_NONE,
    ACT_GELU_ERF,  /* Hugging Face "gelu": x/2 (1 + erf(x/sqrt 2)) */
    ACT_GELU_TANH, /* "gelu_new", "gelu_pytorch_tanh" */
    ACT_RELU,
    ACT_SILU, /* "silu", "swish" */
    ACT_TANH
} activation;

/*
 * Counter-based dropout. Element (row r, channel c) is kept when the c%8-th 16-bit lane of
 * rng_philox(key, row_keys[r], c/8) is >= round(p * 65536) (lane i = bits 16*(i%2).. of word i/2),
 * and is then scaled by 1/(1-p). Independent of packing, threads and recompute. For attention
 * probabilities r is the query's row and c = head * ATTENTION_DROPOUT_STRIDE + key index within the
 * sequence (prefix included). p == 0 means off; a NULL spec too.
 */
#define ATTENTION_DROPOUT_STRIDE 65536
typedef struct dropout_spec {
    float p;
    uint64_t key;             /* seed, step, micro-batch, pass and module path, mixed */
    const uint64_t *row_keys; /* (N) example id and position, mixed */
} dropout_spec;

/* A linear weight W (M,K), as torch stores it: y = x W^T. Packed and cast copies belong to the
 * backend and are remade when version has moved on. */
typedef struct weight_pack weight_pack;
typedef struct weight {
    tensor t;          /* (M,K) f32, bf16 or f16 */
    uint64_t version;  /* raised by whoever writes t */
    bool trained;      /* its values move from step to step: a copy serves a use or two */
    weight_pack *packs;
    void (*free_packs)(struct weight *w); /* set by the backend that made them; NULL = there are none */
} weight;
size_t weight_packs_bytes(const weight *w); /* memory of its packs; while nobody makes any */

typedef enum attention_mask { ATTENTION_FULL, ATTENTION_CAUSAL } attention_mask;

/* How packed rows form sequences, and one attention call over them. */
typedef struct attention_spec {
    int32_t n_seqs;             /* B */
    const int32_t *q_offsets;   /* (B+1) rows of q, ctx */
    const int32_t *kv_offsets;  /* (B+1) rows of k, v; the same array for self-attention */
    int32_t max_q, max_kv;      /* longest of each, prefix not counted */
    int32_t n_heads, head_dim;  /* A, D */
    float scale;                /* usually 1/sqrt(D) */
    attention_mask mask;
    int32_t n_prefix;           /* P keys in front of every sequence, 0 = none */
    bool prefix_per_seq;        /* prefix rows: (P) shared by the batch, or (B*P) */
    const dropout_spec *dropout;
} attention_spec;
typedef struct attention_inputs {
    const tensor *q, *k, *v;                /* (N, A*D) views, f32 or bf16 (all the same) */
    const tensor *prefix_k, *prefix_v;      /* (P or B*P, A*D), NULL without prefix */
} attention_inputs;
typedef struct attention_grads {            /* overwritten, dtype of their inputs; each may be NULL */
    tensor *dq, *dk, *dv, *dprefix_k, *dprefix_v;
} attention_grads;

#define LABEL_IGNORE (-100)
typedef struct cross_entropy_spec {
    const int32_t *labels;       /* (R) class or LABEL_IGNORE; NULL with soft_labels */
    const tensor *soft_labels;   /* (R,C) f32 probabilities, or NULL */
    const float *class_weights;  /* (C) or NULL */
    float label_smoothing;       /* as torch: (1-e) onehot + e/C */
    float scale;                 /* the loss is scale * sum over rows; 1/global count for a mean */
} cross_entropy_spec;

typedef struct adamw_spec {
    float lr, beta1, beta2, eps, weight_decay;
    float grad_scale;   /* multiplies the gradient first (clipping) */
    int64_t step;       /* from 1: bias correction */
} adamw_spec;

/* Where in a step the calls that follow belong, for who listens. */
typedef enum backend_phase {
    PHASE_OUTSIDE, /* of steps: reading, encoding, writing */
    PHASE_PREDICT, /* forward without gradients */
    PHASE_FORWARD, /* of a training step */
    PHASE_BACKWARD,
    PHASE_UPDATE, /* clipping and the optimizer */
    PHASE_COUNT
} backend_phase;

typedef struct backend {
    const char *name;
    cloze_status (*device_open)(int device_id, int n_threads, backend_device **out, cloze_error *err);
    void (*device_close)(backend_device *dev);
    /* Zeroed memory, 64-byte aligned. */
    cloze_status (*mem_alloc)(backend_device *dev, size_t bytes, void **out, cloze_error *err);
    void (*mem_free)(backend_device *dev, void *p, size_t bytes);
    cloze_status (*upload)(backend_device *dev, void *dst, const void *src, size_t bytes, cloze_error *err);
    cloze_status (*download)(backend_device *dev, void *dst, const void *src, size_t bytes, cloze_error *err);
    cloze_status (*zero)(backend_device *dev, void *dst, size_t bytes, cloze_error *err);
    cloze_status (*sync)(backend_device *dev, cloze_error *err);
    void (*weight_drop_packs)(backend_device *dev, weight *w);
    void (*mark)(backend_device *dev, backend_phase phase); /* NULL: nobody listens */
#define KERNEL(name, parameters, ...)                                                              \
    cloze_status (*name)(backend_device * dev, OPS_PLAIN parameters, cloze_error * err);
#include "backend/ops.def"
#undef KERNEL
} backend;

extern const backend backend_ref;
extern const backend backend_cpu;

static inline void backend_mark(const backend *b, backend_device *dev, backend_phase phase) {
    if (b->mark) b->mark(dev, phase);
}

/* The backend of a device name ("cpu", "ref"); ERR_USAGE for another, naming what there is. */
cloze_status backend_find(const char *device, const backend **out, cloze_error *err);
/* ERR_INTERNAL with the list of empty slots. */
cloze_status backend_check(const backend *b, cloze_error *err);

#endif
