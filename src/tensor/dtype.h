/*
 * Element types and the conversions between them.
 *
 * bf16 and f16 values travel as uint16_t bit patterns. Narrowing rounds to nearest, ties to even;
 * NaN stays NaN and infinities stay infinite. Any thread. Sources of dtype_to_f32 need no
 * alignment, because checkpoint files give none.
 */
#ifndef CLOZE_TENSOR_DTYPE_H
#define CLOZE_TENSOR_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef enum cloze_dtype {
    DTYPE_F32,
    DTYPE_BF16,
    DTYPE_F16,
    DTYPE_F64,
    DTYPE_I8,
    DTYPE_U8,
    DTYPE_I16,
    DTYPE_I32,
    DTYPE_I64,
    DTYPE_BOOL
} cloze_dtype;
#define DTYPE_COUNT (DTYPE_BOOL + 1)

size_t dtype_size(cloze_dtype dtype);      /* bytes of one element */
const char *dtype_name(cloze_dtype dtype); /* safetensors' name: "F32", "BF16", "BOOL"... */
bool dtype_from_name(const char *name, cloze_dtype *out); /* false: no such type */
bool dtype_is_float(cloze_dtype dtype);

static inline float bf16_to_f32(uint16_t h)
{
    uint32_t bits = (uint32_t)h << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint16_t bf16_from_f32(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    /* Rounding could carry a NaN's mantissa into infinity: keep it quiet and non-zero instead. */
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((bits >> 16) | 0x40u);
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

float f16_to_f32(uint16_t h);
uint16_t f16_from_f32(float value);

/* Arrays of n elements; dst and src do not overlap. */
void f32_to_bf16_array(uint16_t *dst, const float *src, size_t n);
void bf16_to_f32_array(float *dst, const uint16_t *src, size_t n);
void f32_to_f16_array(uint16_t *dst, const float *src, size_t n);
void f16_to_f32_array(float *dst, const uint16_t *src, size_t n);

/* n elements of any type to float; integers beyond 2^24 and doubles are rounded to nearest. */
void dtype_to_f32(float *dst, const void *src, cloze_dtype dtype, size_t n);
/* n floats to F32, BF16, F16 or F64; false for the integer types, which nothing trains in. */
bool dtype_from_f32(void *dst, const float *src, cloze_dtype dtype, size_t n);

#endif
