/* Philox4x32-10 and a sequential stream over it; see rng.h. */
#include "base/rng.h"

#include <math.h>
#include <string.h>

#include "base/hash.h"

#define PHILOX_ROUNDS 10
#define PHILOX_M0 0xD2511F53u /* multipliers and Weyl steps of the paper's table 2 */
#define PHILOX_M1 0xCD9E8D57u
#define PHILOX_W0 0x9E3779B9u
#define PHILOX_W1 0xBB67AE85u

void rng_philox(uint64_t key, uint64_t c0, uint64_t c1, uint32_t out[4]) {
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    uint32_t x0 = (uint32_t)c0, x1 = (uint32_t)(c0 >> 32);
    uint32_t x2 = (uint32_t)c1, x3 = (uint32_t)(c1 >> 32);
    for (int round = 0; round < PHILOX_ROUNDS; round++) {
        uint64_t p0 = (uint64_t)PHILOX_M0 * x0, p1 = (uint64_t)PHILOX_M1 * x2;
        x0 = (uint32_t)(p1 >> 32) ^ x1 ^ k0;
        x1 = (uint32_t)p1;
        x2 = (uint32_t)(p0 >> 32) ^ x3 ^ k1;
        x3 = (uint32_t)p0;
        k0 += PHILOX_W0;
        k1 += PHILOX_W1;
    }
    out[0] = x0;
    out[1] = x1;
    out[2] = x2;
    out[3] = x3;
}

/* The output function of splitmix64 (Steele, Lea, Flood 2014): a bijection of 64 bits. */
static uint64_t finalise(uint64_t z) {
    z += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* The value is finalised on its own first: mixing (1, 2) and (2, 1) must not give the same key. */
uint64_t rng_mix(uint64_t key, uint64_t value) { return finalise(key ^ finalise(value)); }

uint64_t rng_mix_string(uint64_t key, const char *text) {
    return rng_mix(key, hash_bytes(text, strlen(text)));
}

void rng_init(rng *r, uint64_t key) { *r = (rng){.key = key}; }

uint32_t rng_u32(rng *r) {
    if (r->left == 0) {
        rng_philox(r->key, r->counter++, 0, r->out);
        r->left = 4;
    }
    return r->out[4 - r->left--];
}

/* Lemire's method: the high half of a product is uniform once the short low ranges are rejected. */
uint32_t rng_below(rng *r, uint32_t n) {
    uint64_t product = (uint64_t)rng_u32(r) * n;
    if ((uint32_t)product < n) {
        uint32_t threshold = (uint32_t)(-n) % n;
        while ((uint32_t)product < threshold) product = (uint64_t)rng_u32(r) * n;
    }
    return (uint32_t)(product >> 32);
}

double rng_uniform(rng *r) {
    uint64_t high = rng_u32(r);
    uint64_t bits = high << 32 | rng_u32(r);
    return (double)(bits >> 11) * 0x1p-53;
}

double rng_normal(rng *r) {
    const double two_pi = 6.283185307179586476925286766559;
    double radius = sqrt(-2.0 * log(1.0 - rng_uniform(r))); /* 1 - u is never 0 */
    return radius * cos(two_pi * rng_uniform(r));
}

void rng_shuffle_i32(rng *r, int32_t *values, int64_t n) {
    for (int64_t i = n - 1; i > 0; i--) {
        /* 2^32 items and more do not fit rng_below; their index is taken from 53 bits */
        int64_t j = i < (int64_t)UINT32_MAX ? (int64_t)rng_below(r, (uint32_t)i + 1)
                                            : (int64_t)(rng_uniform(r) * (double)(i + 1));
        int32_t swap = values[i];
        values[i] = values[j];
        values[j] = swap;
    }
}
