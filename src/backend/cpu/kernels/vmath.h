/*
 * exp, tanh and the normal distribution in single precision, as plain C that vectorises inside
 * `omp simd` loops. Relative errors are 1-3 ulp. The polynomials are own minimax fits (weighted
 * least squares, iterated) of the functions in the comments.
 */
#ifndef CLOZE_BACKEND_CPU_KERNELS_VMATH_H
#define CLOZE_BACKEND_CPU_KERNELS_VMATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/*
 * e^x; 0 below -87.7 and infinity above 88.4, so no denormal is made. NaN stays NaN. The clamps are
 * where 2^n has the exponent bits of 0 and of infinity, which spares two selections.
 */
static inline float exp_f32(float x) {
    const float magic = 0x1.8p23f; /* adding it rounds to an integer, left in the low bits */
    float c = x < -88.0f ? -88.0f : x;
    c = c > 88.8f ? 88.8f : c;
    float shifted = c * 0x1.715476p0f + magic; /* x / ln 2 */
    float n = shifted - magic;
    float r = c - n * 0x1.62e4p-1f; /* ln 2 in two parts: n times the first is exact */
    r = r - n * 0x1.7f7d1cp-20f;
    float p = 0x1.6dbc64p-10f; /* (e^r - 1 - r) / r^2 on [-ln2/2, ln2/2], 3e-9 */
    p = p * r + 0x1.124148p-7f;
    p = p * r + 0x1.555454p-5f;
    p = p * r + 0x1.555486p-3f;
    p = p * r + 0x1p-1f;
    p = p * r * r + r + 1.0f;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits << 23) + 0x3f800000u; /* 2^n */
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}

static inline float sigmoid_f32(float x) { return 1.0f / (1.0f + exp_f32(-x)); }

/* s = sigmoid(x) and its derivative s (1 - s), in which 1 - s must not be a difference: it cancels.
 */
static inline void sigmoid_slope_f32(float x, float *s, float *ds) {
    float e = exp_f32(-fabsf(x)), r = 1.0f / (1.0f + e);
    *s = x < 0.0f ? e * r : r;
    *ds = e * r * r;
}

static inline float tanh_f32(float x) {
    float a = fabsf(x), s = x * x;
    float p = -0x1.6a5266p-8f; /* (tanh x - x) / x^3 on [0, 0.65], 6e-9; a polynomial in x^2 */
    p = p * s + 0x1.4f9932p-6f;
    p = p * s - 0x1.b7da48p-5f;
    p = p * s + 0x1.11045ap-3f;
    p = p * s - 0x1.555549p-2f;
    float small = x + x * s * p;
    float large = copysignf(1.0f - 2.0f / (exp_f32(2.0f * a) + 1.0f), x);
    return a < 0.625f ? small : large;
}

/* The standard normal: its distribution function, accurate in both tails, and its density. */
static inline void normal_f32(float x, float *cdf, float *density) {
    float e = exp_f32(-0.5f * x * x);
    /* exp(t^2) erfc(t) = u P(u), t = |x|/sqrt 2, u = 1/(1 + 0.35 t): 7e-9 on [0, 10] */
    float u = 1.0f / (1.0f + 0.24748737f * fabsf(x));
    float p = 0x1.3a9500p-5f;
    p = p * u - 0x1.457c68p-3f;
    p = p * u + 0x1.73a26ep-3f;
    p = p * u - 0x1.c5f308p-6f;
    p = p * u + 0x1.646ed2p-4f;
    p = p * u + 0x1.2b17e4p-3f;
    p = p * u + 0x1.35a132p-3f;
    p = p * u + 0x1.80d2f4p-3f;
    p = p * u + 0x1.93bd46p-3f;
    p = p * u + 0x1.947260p-3f;
    float tail = 0.5f * e * (u * p);
    *cdf = x < 0.0f ? tail : 1.0f - tail;
    *density = 0.39894228f * e;
}

#endif
