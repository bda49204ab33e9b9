/*
 * What the two passes of attention share. A task is one (sequence, head): its rows are copied out
 * of the packed, strided tensors into dense f32 blocks, so that the products run on whole vectors
 * from the caches, whatever the dtype, the stride of a fused QKV or the prefix. Tasks
 * are handed out dynamically, because sequences differ in length; no result depends on the order.
 *
 * Queries go in blocks of QUERY_BLOCK, so that a long sequence's scores never leave the cache.
 */
#ifndef CLOZE_BACKEND_CPU_KERNELS_ATTENTION_H
#define CLOZE_BACKEND_CPU_KERNELS_ATTENTION_H

#include <math.h>
#include <omp.h>

#include "backend/cpu/kernels/gemm.h"
#include "backend/cpu/kernels/kernel.h"
#include "backend/cpu/kernels/philox.h"
#include "backend/cpu/kernels/vmath.h"

#define QUERY_BLOCK 48 /* a multiple of TILE_ROWS */

typedef struct head_task {
    const attention_spec *spec;
    int64_t seq, head;
    int64_t col;            /* first column of this head */
    int64_t q_begin, n_q;   /* rows of q */
    int64_t kv_begin, n_kv; /* rows of k and v */
    int64_t prefix_begin;   /* rows of prefix_k and prefix_v */
    int64_t n_keys;         /* P + n_kv */
} head_task;

static inline head_task head_task_get(const attention_spec *spec, int64_t index) {
    head_task t = {.spec = spec, .seq = index / spec->n_heads, .head = index % spec->n_heads};
    t.col = t.head * spec->head_dim;
    t.q_begin = spec->q_offsets[t.seq];
    t.n_q = spec->q_offsets[t.seq + 1] - t.q_begin;
    t.kv_begin = spec->kv_offsets[t.seq];
    t.n_kv = spec->kv_offsets[t.seq + 1] - t.kv_begin;
    t.prefix_begin = spec->prefix_per_seq ? t.seq * spec->n_prefix : 0;
    t.n_keys = spec->n_prefix + t.n_kv;
    return t;
}

/* How many keys query i sees: always the first ones. */
static inline int64_t head_visible(const head_task *t, int64_t i) {
    if (t->spec->mask == ATTENTION_FULL) return t->n_keys;
    int64_t own = i + 1 + t->n_kv - t->n_q;
    return t->spec->n_prefix + (own < 0 ? 0 : own > t->n_kv ? t->n_kv : own);
}

/* dst (dim) = dim elements of t's row from column col */
static inline void head_row_load(const tensor *t, int64_t row, int64_t col, int64_t dim,
                                 float *dst) {
    int64_t d = 0;
    if (t->dtype == DTYPE_F32) {
        const float *src = (const float *)(const void *)element_at(t, row, col);
        for (; d + VEC <= dim; d += VEC) vec_store(dst + d, vec_load(src + d));
        for (; d < dim; d++) dst[d] = src[d];
    } else {
        const uint16_t *src = (const uint16_t *)(const void *)element_at(t, row, col);
        for (; d + VEC <= dim; d += VEC) vec_store(dst + d, vec_load_bf16(src + d));
        for (; d < dim; d++) dst[d] = bf16_to_f32(src[d]);
    }
}

/*
 * dst (n, width) = this head's columns of rows [begin, begin + n); the padding of D to width is 0.
 * A row's part is a few cache lines, pages away from the next row's, which no hardware prefetcher
 * foresees: the next head's part of the row is asked for meanwhile.
 */
static inline void head_pack(const tensor *src, int64_t begin, int64_t n, const head_task *t,
                             float *dst, int64_t width) {
    int64_t dim = t->spec->head_dim;
    int64_t ahead = t->head + 1 < t->spec->n_heads ? dim * (src->dtype == DTYPE_F32 ? 4 : 2) : 0;
    for (int64_t i = 0; i < n; i++) {
        const char *next = element_at(src, begin + i, t->col) + ahead;
        for (int64_t line = 0; line < ahead; line += 64) __builtin_prefetch(next + line, 0, 2);
        head_row_load(src, begin + i, t->col, dim, dst + i * width);
        for (int64_t d = dim; d < width; d++) dst[i * width + d] = 0.0f;
    }
}

/* dst (P + n_kv, width): the prefix's rows, then the sequence's own. */
static inline void head_pack_keys(const tensor *prefix, const tensor *own, const head_task *t,
                                  float *dst, int64_t width) {
    int64_t n_prefix = t->spec->n_prefix;
    if (n_prefix > 0) head_pack(prefix, t->prefix_begin, n_prefix, t, dst, width);
    head_pack(own, t->kv_begin, t->n_kv, t, dst + n_prefix * width, width);
}

/* This head's columns of dst's rows [begin, begin + n) = src (n, width). */
static inline void head_unpack(const tensor *dst, int64_t begin, int64_t n, const head_task *t,
                               const float *src, int64_t width) {
    for (int64_t i = 0; i < n; i++)
        row_store(dst, begin + i, t->col, t->spec->head_dim, src + i * width);
}

/* dst (width rows, keys_pad) = transpose of src (n, width); columns n..keys_pad are 0. */
static inline void head_transpose(const float *src, int64_t n, int64_t width, float *dst,
                                  int64_t keys_pad) {
    for (int64_t j = 0; j < keys_pad; j += VEC) {
        for (int64_t d = 0; d < width; d += VEC) {
            transpose_block(src + j * width + d, width, n - j, dst + d * keys_pad + j, keys_pad);
        }
    }
}

/* Dropout multipliers (n) of query i's first n keys. */
static inline void head_dropout(const dropout_plan *plan, const head_task *t, int64_t i, int64_t n,
                                float *kept) {
    dropout_row(plan, t->q_begin + i, t->head * ATTENTION_DROPOUT_STRIDE, n, kept);
}

/* How many tasks a thread takes at once: neighbouring heads share pages, but all threads need work.
 */
static inline int attention_tasks_at_once(int64_t n_tasks, int threads) {
    int64_t share = n_tasks / ((int64_t)threads * 8);
    return share < 1 ? 1 : share > 4 ? 4 : (int)share;
}

static inline int64_t attention_work(const attention_spec *spec, const tensor *q) {
    return q->rows * q->cols * (spec->n_prefix + spec->max_kv) / 4;
}

#endif
