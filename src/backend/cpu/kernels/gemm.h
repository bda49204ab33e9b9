/*
 * Small matrix products C (m,n) = A (m,k) B (k,n) (+ C) for attention, in f32, in registers.
 *
 * B and C have rows of whole vectors (n and their row strides are multiples of VEC); A is read one
 * element at a time with any strides, so that a transposed A needs no copy. GCC's vector type keeps
 * the tile of sums in registers where a plain array of floats would spill; it compiles to whatever
 * vectors the instruction set has.
 */
#ifndef CLOZE_BACKEND_CPU_KERNELS_GEMM_H
#define CLOZE_BACKEND_CPU_KERNELS_GEMM_H

#include "backend/cpu/kernels/kernel.h"

#if defined(__AVX512F__)
#define VEC 16 /* floats in a vector */
#define TILE_ROWS 6
#define TILE_VECS 4
#elif defined(__AVX__)
#define VEC 8
#define TILE_ROWS 6
#define TILE_VECS 2
#else
#define VEC 4
#define TILE_ROWS 4
#define TILE_VECS 2
#endif

typedef float vec __attribute__((vector_size(VEC * 4)));
typedef float vec_unaligned __attribute__((vector_size(VEC * 4), aligned(4), may_alias));

static inline vec vec_load(const float *p) {
    return (vec) * (const vec_unaligned *)(const void *)p;
}
static inline void vec_store(float *p, vec v) { *(vec_unaligned *)(void *)p = (vec_unaligned)v; }

/* The sum of a vector's elements: a tree, where the compiler's own reduction adds one by one. */
static inline float vec_sum(vec v) {
    float lanes[VEC];
    vec_store(lanes, v);
    for (int half = VEC / 2; half > 0; half /= 2) {
        for (int i = 0; i < half; i++) lanes[i] += lanes[i + half];
    }
    return lanes[0];
}

/* VEC bf16 numbers, widened. */
static inline vec vec_load_bf16(const uint16_t *p) {
    typedef uint16_t half __attribute__((vector_size(VEC * 2)));
    typedef uint32_t word __attribute__((vector_size(VEC * 4)));
    half h;
    memcpy(&h, p, sizeof h);
    return (vec)(__builtin_convertvector(h, word) << 16);
}

/* The operands of one product. */
typedef struct gemm_args {
    const float *a;
    int64_t a_row, a_col; /* strides of A in floats */
    const float *b;
    int64_t b_row;
    float *c;
    int64_t c_row;
    int64_t m, n, k;
    bool accumulate;
} gemm_args;

/* rows x vecs vectors of C at (i, j); rows and vecs are constants where this is called. */
static inline __attribute__((always_inline)) void
gemm_tile(const gemm_args *g, int64_t i, int64_t j, const int rows, const int vecs) {
    vec sum[TILE_ROWS][TILE_VECS];
    const float *a = g->a + i * g->a_row, *b = g->b + j;
    int64_t a_row = g->a_row, a_col = g->a_col, b_row = g->b_row, k = g->k;
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++) sum[r][v] = (vec){0};
    }
    for (int64_t p = 0; p < k; p++) {
        vec row[TILE_VECS];
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++) row[v] = vec_load(b + v * VEC);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            float factor = a[r * a_row];
#pragma GCC unroll 4
            for (int v = 0; v < vecs; v++) sum[r][v] += factor * row[v];
        }
        a += a_col;
        b += b_row;
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        float *c = g->c + (i + r) * g->c_row + j;
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++) {
            vec value = sum[r][v];
            if (g->accumulate) value += vec_load(c + v * VEC);
            vec_store(c + v * VEC, value);
        }
    }
}

/* A band of `vecs` vectors of columns, over all rows. */
static inline __attribute__((always_inline)) void gemm_band(const gemm_args *g, int64_t j,
                                                            const int vecs) {
    int64_t i = 0;
    for (; i + TILE_ROWS <= g->m; i += TILE_ROWS) gemm_tile(g, i, j, TILE_ROWS, vecs);
    switch (g->m - i) {
#if TILE_ROWS > 4
    case 5: gemm_tile(g, i, j, 5, vecs); break;
    case 4: gemm_tile(g, i, j, 4, vecs); break;
#endif
    case 3: gemm_tile(g, i, j, 3, vecs); break;
    case 2: gemm_tile(g, i, j, 2, vecs); break;
    case 1: gemm_tile(g, i, j, 1, vecs); break;
    default: break;
    }
}

static __attribute__((unused)) void gemm(const gemm_args *g) {
    int64_t j = 0;
    for (; j + TILE_VECS * VEC <= g->n; j += TILE_VECS * VEC) gemm_band(g, j, TILE_VECS);
    switch ((g->n - j) / VEC) {
#if TILE_VECS > 2
    case 3: gemm_band(g, j, 3); break;
    case 2: gemm_band(g, j, 2); break;
#endif
    case 1: gemm_band(g, j, 1); break;
    default: break;
    }
}

typedef int32_t vec_index __attribute__((vector_size(VEC * 4)));

/* Lanes of a and, from VEC on, of b. */
static inline vec vec_shuffle(vec a, vec b, vec_index from) {
#ifdef __clang__
    vec out;
    for (int i = 0; i < VEC; i++) out[i] = from[i] < VEC ? a[from[i]] : b[from[i] - VEC];
    return out;
#else
    return __builtin_shuffle(a, b, from);
#endif
}

/*
 * dst (cols rounded up to VEC, dst_row) = transpose of src (rows, cols), in blocks of VEC x VEC:
 * log2(VEC) rounds, each of which interleaves vector i with vector i + VEC/2. src has whole vectors
 * (rows of src past the last are read as zero).
 */
static inline void transpose_block(const float *src, int64_t src_row, int64_t rows, float *dst,
                                   int64_t dst_row) {
    vec x[VEC], y[VEC];
    vec_index low, high;
    for (int i = 0; i < VEC; i++) {
        low[i] = i / 2 + (i % 2) * VEC;
        high[i] = VEC / 2 + i / 2 + (i % 2) * VEC;
    }
    for (int i = 0; i < VEC; i++) x[i] = i < rows ? vec_load(src + i * src_row) : (vec){0};
    for (int width = VEC; width > 1; width /= 2) {
#pragma GCC unroll 8
        for (int i = 0; i < VEC / 2; i++) {
            y[2 * i] = vec_shuffle(x[i], x[i + VEC / 2], low);
            y[2 * i + 1] = vec_shuffle(x[i], x[i + VEC / 2], high);
        }
        memcpy(x, y, sizeof x);
    }
    for (int i = 0; i < VEC; i++) vec_store(dst + i * dst_row, x[i]);
}

#endif
