/*
 * Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as
 * 1, 2, 3", SC'11). A number is a function of (key, counter) alone, so it does not depend on
 * threads, packing, recompute or order of calls.
 */
#ifndef CLOZE_BASE_RNG_H
#define CLOZE_BASE_RNG_H

#include <stdint.h>

/* Four 32-bit numbers for a 64-bit key and a 128-bit counter (c0 low 64 bits, c1 high 64 bits). */
void rng_philox(uint64_t key, uint64_t c0, uint64_t c1, uint32_t out[4]);
/* Mixes a value into a key: rng_mix(rng_mix(seed, step), site). A bijective finaliser (splitmix64). */
uint64_t rng_mix(uint64_t key, uint64_t value);
uint64_t rng_mix_string(uint64_t key, const char *text);

/* A sequential stream over a key, for shuffles, sampling and initialisation. */
typedef struct rng { uint64_t key, counter; uint32_t out[4]; int left; } rng;
void rng_init(rng *r, uint64_t key);
uint32_t rng_u32(rng *r);
uint32_t rng_below(rng *r, uint32_t n); /* uniform in [0,n), unbiased; n >= 1 */
double rng_uniform(rng *r);             /* [0,1) with 53 bits */
double rng_normal(rng *r);              /* mean 0, sd 1 (Box-Muller) */
void rng_shuffle_i32(rng *r, int32_t *values, int64_t n); /* Fisher-Yates */

#endif
