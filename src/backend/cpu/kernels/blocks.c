/*
 * Matrices rearranged for oneDNN's products (see onednn.h): the second factor in blocks, and the
 * transpose of a first factor. Both work on words of 32 bits: one f32, or two bf16 that follow each
 * other along k, which is what a processor's bf16 instructions multiply at once. On the way the
 * numbers become the product's type.
 */
#include "backend/cpu/kernels/gemm.h"
#include "backend/cpu/kernels/kernel.h"
#include "backend/cpu/onednn.h"

#define PIECE 64 /* words of a row that are transposed at a time: a piece of 64 rows stays in L1   \
                  */

static inline uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* As convert_to_bf16 does it. */
static inline uint32_t bf16_bits(uint32_t bits) {
    uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return (bits & 0x7fffffffu) > 0x7f800000u ? (bits >> 16) | 0x40u : rounded;
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

/* dst (PIECE) words of columns [col, col + n) of rows first and first + 1 (one row in f32); rows
 * from `end` on and columns from n on are zero. */
static void column_words(const tensor *t, int64_t first, int64_t end, int64_t col, int64_t n,
                         cloze_dtype dtype, uint32_t *dst) {
    if (n < PIECE) memset(dst, 0, PIECE * sizeof *dst);
    if (dtype == DTYPE_F32) {
        row_copy(t, first, col, n, (float *)(void *)dst);
        return;
    }
    bool odd = first + 1 >= end;
    if (t->dtype == DTYPE_BF16) {
        const uint16_t zeros[PIECE] = {0};
        const uint16_t *low = (const uint16_t *)(const void *)element_at(t, first, col);
        const uint16_t *high =
            odd ? zeros : (const uint16_t *)(const void *)element_at(t, first + 1, col);
#pragma omp simd
        for (int64_t i = 0; i < n; i++) dst[i] = (uint32_t)low[i] | (uint32_t)high[i] << 16;
        return;
    }
    float buffer[PIECE], zeros[PIECE] = {0}, other[PIECE];
    const float *low = row_load(t, first, col, n, buffer);
    const float *high = odd ? zeros : row_load(t, first + 1, col, n, other);
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        dst[i] = bf16_bits(bits_of(low[i])) | bf16_bits(bits_of(high[i])) << 16;
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
    int64_t words = blocks_words(dtype, w->cols);
    int64_t n_blocks = (w->rows + BLOCK_COLS - 1) / BLOCK_COLS;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t block = 0; block < n_blocks; block++) {
        uint32_t piece[BLOCK_COLS * PIECE], turned[PIECE * BLOCK_COLS];
        uint32_t *dst = out + block * words * BLOCK_COLS;
        for (int64_t word = 0; word < words; word += PIECE) {
            int64_t col = word * per_word, n = min_i64(PIECE * per_word, w->cols - col);
            for (int64_t r = 0; r < BLOCK_COLS; r++) {
                int64_t row = block * BLOCK_COLS + r;
                row_words(w, row, col, row < w->rows ? n : 0, dtype, piece + r * PIECE);
            }
            int64_t kept = min_i64(PIECE, words - word);
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
    int64_t words = blocks_words(dtype, w->rows);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t word = 0; word < words; word++) {
        int64_t first = word * per_word;
        for (int64_t col = 0; col < w->cols; col += BLOCK_COLS) {
            uint32_t *dst = out + (col / BLOCK_COLS * words + word) * BLOCK_COLS;
            if (first < w->rows)
                column_words(w, first, w->rows, col, min_i64(BLOCK_COLS, w->cols - col), dtype,
                             dst);
            else
                memset(dst, 0, BLOCK_COLS * sizeof *dst);
        }
    }
}

void KFN(make_blocks)(int threads, const tensor *w, bool transpose, cloze_dtype dtype, void *out) {
    if (transpose)
        blocks_of_rows(threads, w, dtype, out);
    else
        blocks_of_columns(threads, w, dtype, out);
}

/* Words of the transposed rows [first, ...) of x's columns [col, col + 64) into out's rows col...
 */
static void transpose_strip(const tensor *x, int64_t col, cloze_dtype dtype, const tensor *out) {
    int64_t per_word = dtype == DTYPE_BF16 ? 2 : 1, n = min_i64(64, x->cols - col);
    uint32_t piece[64 * PIECE], turned[PIECE * 64];
    for (int64_t first = 0; first < out->cols; first += 64 * per_word) {
        int64_t kept = min_i64(64, (out->cols - first) / per_word);
        for (int64_t word = 0; word < kept; word++) {
            int64_t row = first + word * per_word;
            if (row < x->rows)
                column_words(x, row, x->rows, col, n, dtype, piece + word * PIECE);
            else
                memset(piece + word * PIECE, 0, PIECE * sizeof *piece);
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
