/*
 * Matrices rearranged for oneDNN's products (see onednn.h): the second factor in blocks, and the
 * transpose of a first factor. Both work on words of 32 bits: one f32, or two bf16 that follow each
 * other along k, which is what a processor's bf16 instructions multiply at once. On the way the
 * numbers become the product's type.
 */
#include "backend/cpu/kernels/gemm.h"
#include "backend/cpu/kernels/kernel.h"
#include "backend/cpu/onednn.h"

#define PIECE                                                                                      \
    64 /* words of a row that are transposed at a time: a piece of 64 rows stays in L1             \
        */

typedef uint32_t words __attribute__((vector_size(VEC * 4)));
typedef uint32_t words_unaligned __attribute__((vector_size(VEC * 4), aligned(4), may_alias));
typedef uint16_t halves __attribute__((vector_size(VEC * 2)));

static inline words words_load(const void *p) { return (words) * (const words_unaligned *)p; }

/* VEC bf16 numbers, each in the low half of a word. */
static inline words halves_load(const uint16_t *p) {
    halves h;
    memcpy(&h, p, sizeof h);
    return __builtin_convertvector(h, words);
}

/* f32 numbers rounded to bf16, as convert_to_bf16 does it, each in the high half of a word. */
static inline words bf16_high(words bits) {
    words rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u;
    words nan = (words)((bits & 0x7fffffffu) > 0x7f800000u);
    return (rounded & ~nan) | ((bits | 0x400000u) & 0xffff0000u & nan);
}

/* dst (PIECE) words: elements [col, col + n) of t's row as dtype, then zeros. */
static void row_words(const tensor *t, int64_t row, int64_t col, int64_t n, cloze_dtype dtype,
                      uint32_t *dst) {
    int64_t per_word = dtype == DTYPE_BF16 ? 2 : 1;
    if (n < PIECE * per_word) memset(dst, 0, PIECE * sizeof *dst);
    if (n <= 0) return;
    if (t->dtype == dtype) {
        memcpy(dst, element_at(t, row, col), (size_t)n * 4 / (size_t)per_word);
    } else if (dtype == DTYPE_BF16) {
        float wide[2 * PIECE];
        convert_to_bf16((uint16_t *)(void *)dst, row_load(t, row, col, n, wide), n);
    } else {
        row_copy(t, row, col, n, (float *)(void *)dst);
    }
}

/* dst (PIECE): words of PIECE columns of two rows. */
static inline void join_bf16(const uint16_t *low, const uint16_t *high, uint32_t *dst) {
    for (int64_t i = 0; i < PIECE; i += VEC)
        *(words_unaligned *)(void *)(dst + i) =
            (words_unaligned)(halves_load(low + i) | halves_load(high + i) << 16);
}
static inline void join_f32(const float *low, const float *high, uint32_t *dst) {
    for (int64_t i = 0; i < PIECE; i += VEC)
        *(words_unaligned *)(void *)(dst + i) =
            (words_unaligned)(bf16_high(words_load(low + i)) >> 16 |
                              bf16_high(words_load(high + i)));
}

static const float zeros[PIECE];

/* PIECE elements of t's row from col on, where they lie; the last n < PIECE of a row, or a row from
 * `end` on, in buffer, filled up with zeros. */
static inline const void *whole_piece(const tensor *t, int64_t row, int64_t end, int64_t col,
                                      int64_t n, float *buffer) {
    if (row >= end) return zeros;
    if (n == PIECE) return element_at(t, row, col);
    size_t size = dtype_size(t->dtype);
    memset(buffer, 0, PIECE * sizeof *buffer);
    memcpy(buffer, element_at(t, row, col), (size_t)n * size);
    return buffer;
}

/* dst (PIECE): words of columns [col, col + n) of rows first and first + 1 (one row in f32); rows
 * from `end` on and columns from n on are zero. */
static inline void column_words(const tensor *t, int64_t first, int64_t end, int64_t col, int64_t n,
                                cloze_dtype dtype, uint32_t *dst) {
    float buffer[PIECE], other[PIECE];
    if (dtype == DTYPE_F32) {
        if (n < PIECE || first >= end) memset(dst, 0, PIECE * sizeof *dst);
        if (first < end) row_copy(t, first, col, n, (float *)(void *)dst);
    } else if (t->dtype == DTYPE_BF16) {
        join_bf16(whole_piece(t, first, end, col, n, buffer),
                  whole_piece(t, first + 1, end, col, n, other), dst);
    } else if (t->dtype == DTYPE_F32) {
        join_f32(whole_piece(t, first, end, col, n, buffer),
                 whole_piece(t, first + 1, end, col, n, other), dst);
    } else {
        memset(buffer, 0, sizeof buffer);
        memset(other, 0, sizeof other);
        if (first < end) row_copy(t, first, col, n, buffer);
        if (first + 1 < end) row_copy(t, first + 1, col, n, other);
        join_f32(buffer, other, dst);
    }
}

/* dst (PIECE, dst_row) = transpose of src (64, PIECE). */
static void transpose_piece(const uint32_t *src, uint32_t *dst, int64_t dst_row) {
    for (int64_t r = 0; r < 64; r += VEC)
        for (int64_t c = 0; c < PIECE; c += VEC)
            transpose_block((const float *)(const void *)(src + r * PIECE + c), PIECE, VEC,
                            (float *)(void *)(dst + c * dst_row + r), dst_row);
}

/* w^T in blocks: a row of w is a column of the factor. */
static void blocks_of_rows(int threads, const tensor *w, cloze_dtype dtype, uint32_t *out) {
    int64_t per_word = dtype == DTYPE_BF16 ? 2 : 1;
    int64_t n_words = blocks_words(dtype, w->cols);
    int64_t n_blocks = (w->rows + BLOCK_COLS - 1) / BLOCK_COLS;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t block = 0; block < n_blocks; block++) {
        uint32_t piece[BLOCK_COLS * PIECE], turned[PIECE * BLOCK_COLS];
        uint32_t *dst = out + block * n_words * BLOCK_COLS;
        for (int64_t word = 0; word < n_words; word += PIECE) {
            int64_t col = word * per_word, n = min_i64(PIECE * per_word, w->cols - col);
            for (int64_t r = 0; r < BLOCK_COLS; r++) {
                int64_t row = block * BLOCK_COLS + r;
                row_words(w, row, col, row < w->rows ? n : 0, dtype, piece + r * PIECE);
            }
            int64_t kept = min_i64(PIECE, n_words - word);
            uint32_t *to = kept == PIECE ? dst + word * BLOCK_COLS : turned;
            transpose_piece(piece, to, BLOCK_COLS);
            if (to == turned)
                memcpy(dst + word * BLOCK_COLS, turned, (size_t)(kept * BLOCK_COLS) * sizeof *dst);
        }
    }
}

/* w in blocks, reading its rows in order. */
static void blocks_of_columns(int threads, const tensor *w, cloze_dtype dtype, uint32_t *out) {
    int64_t per_word = dtype == DTYPE_BF16 ? 2 : 1;
    int64_t n_words = blocks_words(dtype, w->rows);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t word = 0; word < n_words; word++) {
        int64_t first = word * per_word;
        for (int64_t col = 0; col < w->cols; col += BLOCK_COLS)
            column_words(w, first, w->rows, col, min_i64(BLOCK_COLS, w->cols - col), dtype,
                         out + (col / BLOCK_COLS * n_words + word) * BLOCK_COLS);
    }
}

void KFN(make_blocks)(int threads, const tensor *w, bool transpose, cloze_dtype dtype, void *out) {
    if (transpose)
        blocks_of_rows(threads, w, dtype, out);
    else
        blocks_of_columns(threads, w, dtype, out);
}

/* Columns [col, col + 64) of x become rows of out, 64 words of each at a time. */
static void transpose_strip(const tensor *x, int64_t col, cloze_dtype dtype, const tensor *out) {
    int64_t per_word = dtype == DTYPE_BF16 ? 2 : 1, n = min_i64(64, x->cols - col);
    uint32_t piece[64 * PIECE], turned[PIECE * 64];
    for (int64_t first = 0; first < out->cols; first += 64 * per_word) {
        int64_t kept = min_i64(64, (out->cols - first) / per_word);
        for (int64_t word = 0; word < 64; word++)
            column_words(x, first + word * per_word, x->rows, col, n, dtype, piece + word * PIECE);
        if (n == PIECE && kept == 64) {
            transpose_piece(piece, (uint32_t *)(void *)element_at(out, col, first),
                            out->ld / per_word);
            continue;
        }
        transpose_piece(piece, turned, 64);
        for (int64_t c = 0; c < n; c++)
            memcpy(element_at(out, col + c, first), turned + c * 64, (size_t)kept * sizeof *turned);
    }
}

void KFN(transpose)(int threads, const tensor *x, tensor *out) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t col = 0; col < x->cols; col += 64) transpose_strip(x, col, out->dtype, out);
}
