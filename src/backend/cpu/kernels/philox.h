/*
 * Dropout multipliers: 0 or 1/(1-p) for runs of channels of one row, eight channels from each
 * Philox4x32-10 counter (the mapping is backend/dropout.h's, the generator base/rng.h's).
 *
 * Eight (AVX-512) or four (AVX2) counters run side by side, each word in a 64-bit lane of its own:
 * the widening multiplication reads only the low half of a lane, so the high halves may hold
 * rubbish until the end. The compiler does not find this multiplication by itself, hence the
 * intrinsics.
 */
#ifndef CLOZE_BACKEND_CPU_KERNELS_PHILOX_H
#define CLOZE_BACKEND_CPU_KERNELS_PHILOX_H

#include <stdint.h>
#include <string.h>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "backend/cpu/kernels/kernel.h"
#include "backend/dropout.h"

#if defined(__AVX512F__)
#define PHILOX_LANES 8
typedef __m512i philox_word;
#define PHILOX_SET(x) _mm512_set1_epi64((long long)(x))
#define PHILOX_MUL _mm512_mul_epu32
#define PHILOX_HIGH(x) _mm512_srli_epi64(x, 32)
#define PHILOX_LEFT(x) _mm512_slli_epi64(x, 32)
#define PHILOX_LOW(x) _mm512_and_si512(x, _mm512_set1_epi64(0xffffffffll))
#define PHILOX_XOR _mm512_xor_si512
#define PHILOX_OR _mm512_or_si512
#define PHILOX_ADD _mm512_add_epi64
#define PHILOX_COUNT() _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0)
/* 64-bit elements a0 b0 a1 b1 ... a7 b7 to p */
#define PHILOX_STORE_PAIRS(p, a, b)                                                                \
    do {                                                                                           \
        const __m512i low_ = _mm512_set_epi64(11, 3, 10, 2, 9, 1, 8, 0);                           \
        const __m512i high_ = _mm512_set_epi64(15, 7, 14, 6, 13, 5, 12, 4);                        \
        _mm512_storeu_si512(p, _mm512_permutex2var_epi64(a, low_, b));                             \
        _mm512_storeu_si512((p) + 32, _mm512_permutex2var_epi64(a, high_, b));                     \
    } while (0)
#elif defined(__AVX2__)
#define PHILOX_LANES 4
typedef __m256i philox_word;
#define PHILOX_SET(x) _mm256_set1_epi64x((long long)(x))
#define PHILOX_MUL _mm256_mul_epu32
#define PHILOX_HIGH(x) _mm256_srli_epi64(x, 32)
#define PHILOX_LEFT(x) _mm256_slli_epi64(x, 32)
#define PHILOX_LOW(x) _mm256_and_si256(x, _mm256_set1_epi64x(0xffffffffll))
#define PHILOX_XOR _mm256_xor_si256
#define PHILOX_OR _mm256_or_si256
#define PHILOX_ADD _mm256_add_epi64
#define PHILOX_COUNT() _mm256_set_epi64x(3, 2, 1, 0)
/* 64-bit elements a0 b0 a1 b1 ... a3 b3 to p */
#define PHILOX_STORE_PAIRS(p, a, b)                                                                \
    do {                                                                                           \
        __m256i low_ = _mm256_unpacklo_epi64(a, b), high_ = _mm256_unpackhi_epi64(a, b);           \
        _mm256_storeu_si256((__m256i *)(p), _mm256_permute2x128_si256(low_, high_, 0x20));         \
        _mm256_storeu_si256((__m256i *)((p) + 16), _mm256_permute2x128_si256(low_, high_, 0x31));  \
    } while (0)
#else
#define PHILOX_LANES 4
#endif

#define PHILOX_CHANNELS (PHILOX_LANES * 8)

/* lanes[8 i + c] = channel c of counter first + i, for PHILOX_LANES counters. */
static inline void philox_lanes(uint64_t key, uint64_t row_key, uint64_t first, uint16_t *lanes) {
#if defined(__AVX2__)
    const philox_word m0 = PHILOX_SET(0xD2511F53u), m1 = PHILOX_SET(0xCD9E8D57u);
    philox_word x0 = PHILOX_SET(row_key), x1 = PHILOX_SET(row_key >> 32);
    philox_word x2 = PHILOX_ADD(PHILOX_SET(first), PHILOX_COUNT());
    philox_word x3 = PHILOX_HIGH(x2);
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++) {
        philox_word p0 = PHILOX_MUL(m0, x0), p1 = PHILOX_MUL(m1, x2);
        x0 = PHILOX_XOR(PHILOX_XOR(PHILOX_HIGH(p1), x1), PHILOX_SET(k0));
        x2 = PHILOX_XOR(PHILOX_XOR(PHILOX_HIGH(p0), x3), PHILOX_SET(k1));
        x1 = p1;
        x3 = p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    philox_word front =
        PHILOX_OR(PHILOX_LOW(x0), PHILOX_LEFT(x1)); /* channels 0..3 of each counter */
    philox_word back = PHILOX_OR(PHILOX_LOW(x2), PHILOX_LEFT(x3)); /* channels 4..7 */
    PHILOX_STORE_PAIRS(lanes, front, back);
#else
    for (int i = 0; i < PHILOX_LANES; i++) {
        dropout_lanes(key, row_key, first + (uint64_t)i, lanes + DROPOUT_LANES * i);
    }
#endif
}

/* What one kernel call needs of a dropout_spec. */
typedef struct dropout_plan {
    bool on;
    uint64_t key;
    const uint64_t *row_keys;
    uint32_t threshold; /* kept when the lane is at least this; 0..65536 */
    float scale;        /* of the kept ones */
} dropout_plan;

static inline dropout_plan dropout_plan_of(const dropout_spec *spec) {
    dropout_plan plan = {false, 0, NULL, 0, 1.0f};
    if (!dropout_is_on(spec)) return plan;
    plan.on = true;
    plan.key = spec->key;
    plan.row_keys = spec->row_keys;
    plan.threshold = dropout_threshold(spec->p);
    plan.scale = dropout_scale(spec->p);
    return plan;
}

/* multipliers[0..n) for channels first..first+n of `row`; first is a multiple of 8. */
static inline void dropout_row(const dropout_plan *plan, int64_t row, int64_t first, int64_t n,
                               float *multipliers) {
    uint16_t lanes[PHILOX_CHANNELS];
    for (int64_t done = 0; done < n; done += PHILOX_CHANNELS) {
        philox_lanes(plan->key, plan->row_keys[row], (uint64_t)(first + done) / 8, lanes);
        int64_t here = min_i64(PHILOX_CHANNELS, n - done);
        float *out = multipliers + done;
        uint32_t threshold = plan->threshold;
        float scale = plan->scale;
        if (here == PHILOX_CHANNELS) {
#pragma omp simd
            for (int i = 0; i < PHILOX_CHANNELS; i++) out[i] = lanes[i] >= threshold ? scale : 0.0f;
        } else {
            for (int64_t i = 0; i < here; i++) out[i] = lanes[i] >= threshold ? scale : 0.0f;
        }
    }
}

#endif
