/*
 * What every kernel file shares: names with the instruction set's suffix, and rows of f32, bf16 or
 * f16 tensors read and written as f32.
 *
 * Arithmetic is always f32. A bf16 row is converted into a buffer that stays in the first-level
 * cache, which costs little beside the memory traffic and keeps one version of every loop.
 * Elementwise kernels work on chunks of CHUNK columns; kernels that need whole rows take row
 * buffers from the device's scratch. Loops say `omp simd` instead of restrict, because x and y may
 * be the same tensor: every iteration then reads and writes its own element only.
 */
#ifndef CLOZE_BACKEND_CPU_KERNELS_KERNEL_H
#define CLOZE_BACKEND_CPU_KERNELS_KERNEL_H

#include <string.h>
#if defined(__F16C__)
#include <immintrin.h>
#endif

#include "backend/cpu/device.h"

#define KERNEL_JOIN_(name, isa) name##_##isa
#define KERNEL_JOIN(name, isa) KERNEL_JOIN_(name, isa)
#define KFN(name) KERNEL_JOIN(name, KERNEL_ISA)

/* KFN(name) of every slot; a file defines some of them. */
#define KERNEL(name, parameters, ...)                                                              \
    cloze_status KFN(name)(backend_device * dev, OPS_PLAIN parameters, cloze_error * err);
#define PRODUCT(...)
#include "backend/ops.def"
#undef KERNEL

/* Not of the device interface: see kernels.h. */
void KFN(make_blocks)(int threads, const tensor *w, bool transpose, cloze_dtype dtype, void *out);
void KFN(transpose)(int threads, const tensor *x, tensor *out);

#define CHUNK 1024 /* columns that an elementwise kernel handles at a time */
#define ROW_BLOCK                                                                                  \
    32 /* rows whose column sums are formed together: fixed, so that the result does               \
          not depend on the number of threads */

static inline bool has_data(const tensor *t) { return t && t->data; }

static inline int64_t min_i64(int64_t a, int64_t b) { return a < b ? a : b; }

static inline int64_t round_up(int64_t n, int64_t multiple) {
    return (n + multiple - 1) / multiple * multiple;
}

static inline void convert_from_bf16(float *dst, const uint16_t *src, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)src[i] << 16;
        memcpy(&dst[i], &bits, sizeof bits);
    }
}

static inline void convert_to_bf16(uint16_t *dst, const float *src, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &src[i], sizeof bits);
        uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
        uint32_t quiet = (bits >> 16) | 0x40u;
        dst[i] = (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
    }
}

static inline void convert_from_f16(float *dst, const uint16_t *src, int64_t n) {
    int64_t i = 0;
#if defined(__F16C__)
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(src + i))));
#endif
    for (; i < n; i++) dst[i] = f16_to_f32(src[i]);
}

static inline char *element_at(const tensor *t, int64_t row, int64_t col) {
    size_t size = t->dtype == DTYPE_F32 ? 4 : 2;
    return (char *)t->data + (size_t)(row * t->ld + col) * size;
}

/* Kept out of line: inlined, gcc duplicates the caller's loop for the f32 and the converted row,
 * and one of the copies is then not vectorised (measured: 8 times slower). */
#define ROW_FUNCTION static __attribute__((noinline, unused))

/* n elements of a row as floats: in place when they are f32, else converted into buffer. */
ROW_FUNCTION const float *row_load(const tensor *t, int64_t row, int64_t col, int64_t n,
                                   float *buffer) {
    const void *src = element_at(t, row, col);
    if (t->dtype == DTYPE_F32) return src;
    if (t->dtype == DTYPE_BF16)
        convert_from_bf16(buffer, src, n);
    else
        convert_from_f16(buffer, src, n);
    return buffer;
}

/* The same, always into buffer. */
static inline void row_copy(const tensor *t, int64_t row, int64_t col, int64_t n, float *buffer) {
    const float *src = row_load(t, row, col, n, buffer);
    if (src != buffer) memcpy(buffer, src, (size_t)n * sizeof *buffer);
}

/* Where n floats for a row are best written: the row itself when f32, else buffer. row_store then
 * brings them to their place. */
static inline float *row_target(const tensor *t, int64_t row, int64_t col, float *buffer) {
    return t->dtype == DTYPE_F32 ? (float *)(void *)element_at(t, row, col) : buffer;
}

ROW_FUNCTION void row_store(const tensor *t, int64_t row, int64_t col, int64_t n,
                            const float *values) {
    void *dst = element_at(t, row, col);
    if (t->dtype == DTYPE_BF16)
        convert_to_bf16(dst, values, n);
    else if (dst != (const void *)values)
        memcpy(dst, values, (size_t)n * sizeof *values);
}

/* The chunks of a tensor in row order: chunk i is columns [col, col + n) of `row`. */
typedef struct chunk {
    int64_t row, col, n;
} chunk;

static inline int64_t chunk_count(const tensor *t) {
    return t->rows * ((t->cols + CHUNK - 1) / CHUNK);
}

static inline chunk chunk_get(const tensor *t, int64_t i) {
    int64_t per_row = (t->cols + CHUNK - 1) / CHUNK;
    chunk c = {i / per_row, i % per_row * CHUNK, 0};
    c.n = min_i64(CHUNK, t->cols - c.col);
    return c;
}

#endif
