/*
 * The definition of dropout (backend.h) in code, shared by all host backends: which channels of a
 * row are kept is a function of (key, row key, channel) alone. One Philox block decides eight
 * neighbouring channels, each by 16 random bits.
 */
#ifndef CLOZE_BACKEND_DROPOUT_H
#define CLOZE_BACKEND_DROPOUT_H

#include "backend/backend.h"
#include "base/rng.h"

#define DROPOUT_LANES 8 /* channels that one Philox block decides */

static inline bool dropout_is_on(const dropout_spec *spec) { return spec && spec->p > 0.0f; }

/* A lane keeps its channel when it is >= this: round(p * 65536), 0 .. 65536. */
static inline uint32_t dropout_threshold(float p) { return (uint32_t)((double)p * 65536.0 + 0.5); }

/* What a kept value is multiplied by. */
static inline float dropout_scale(float p) {
    return p < 1.0f ? (float)(1.0 / (1.0 - (double)p)) : 0.0f;
}

/* The lanes of channels [8*block, 8*block + 8) of a row. */
static inline void dropout_lanes(uint64_t key, uint64_t row_key, uint64_t block,
                                 uint16_t lanes[DROPOUT_LANES]) {
    uint32_t words[4];
    rng_philox(key, row_key, block, words);
    for (int i = 0; i < DROPOUT_LANES; i++) lanes[i] = (uint16_t)(words[i / 2] >> (16 * (i % 2)));
}

/* The same as decisions: bit i is set when channel 8*block + i is kept. */
static inline uint32_t dropout_keep_mask(uint64_t key, uint64_t row_key, uint64_t block,
                                         uint32_t threshold) {
    uint16_t lanes[DROPOUT_LANES];
    uint32_t mask = 0;
    dropout_lanes(key, row_key, block, lanes);
    for (int i = 0; i < DROPOUT_LANES; i++) mask |= (uint32_t)(lanes[i] >= threshold) << i;
    return mask;
}

/* Multiplier of one element: 1 when dropout is off, else 0 or 1/(1-p). One Philox call each: slow.
 */
static inline float dropout_factor(const dropout_spec *spec, int64_t row, uint64_t channel) {
    if (!dropout_is_on(spec)) return 1.0f;
    uint32_t mask = dropout_keep_mask(spec->key, spec->row_keys[row], channel / DROPOUT_LANES,
                                      dropout_threshold(spec->p));
    return mask >> (channel % DROPOUT_LANES) & 1u ? dropout_scale(spec->p) : 0.0f;
}

#endif
