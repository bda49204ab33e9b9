/*
 * Element types: the one table of sizes and names, and the conversions in plain C, which is what
 * the reference backend and checkpoints use. Hot loops over bf16 and f16 have kernels of their own
 * in the cpu backend.
 */
#include "tensor/dtype.h"

typedef struct dtype_info {
    const char *name; /* as in a safetensors header */
    size_t size;
    bool is_float;
} dtype_info;

static const dtype_info dtype_table[DTYPE_COUNT] = {
    [DTYPE_F32] = {"F32", 4, true},  [DTYPE_BF16] = {"BF16", 2, true},
    [DTYPE_F16] = {"F16", 2, true},  [DTYPE_F64] = {"F64", 8, true},
    [DTYPE_I8] = {"I8", 1, false},   [DTYPE_U8] = {"U8", 1, false},
    [DTYPE_I16] = {"I16", 2, false}, [DTYPE_I32] = {"I32", 4, false},
    [DTYPE_I64] = {"I64", 8, false}, [DTYPE_BOOL] = {"BOOL", 1, false},
};

size_t dtype_size(cloze_dtype dtype) { return dtype_table[dtype].size; }

const char *dtype_name(cloze_dtype dtype) { return dtype_table[dtype].name; }

bool dtype_is_float(cloze_dtype dtype) { return dtype_table[dtype].is_float; }

bool dtype_from_name(const char *name, cloze_dtype *out)
{
    for (int i = 0; i < DTYPE_COUNT; i++) {
        if (strcmp(name, dtype_table[i].name) == 0) {
            *out = (cloze_dtype)i;
            return true;
        }
    }
    return false;
}

float f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t magnitude = h & 0x7fffu;
    float value;
    if (magnitude >= 0x7c00u) { /* infinity, NaN: the exponent is all ones in both formats */
        uint32_t bits = sign | 0x7f800000u | (magnitude & 0x3ffu) << 13;
        memcpy(&value, &bits, sizeof value);
        return value;
    }
    /* Shifted into place, the exponent is 112 too small; the multiplication mends it, and is exact
     * for subnormals too. */
    uint32_t bits = magnitude << 13;
    memcpy(&value, &bits, sizeof value);
    value *= 0x1p112f;
    memcpy(&bits, &value, sizeof bits);
    bits |= sign;
    memcpy(&value, &bits, sizeof value);
    return value;
}

uint16_t f16_from_f32(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
    if (magnitude >= 0x47800000u) return (uint16_t)(sign | 0x7c00u); /* 65536 and more */
    if (magnitude < 0x38800000u) {
        /* Below 2^-14: adding 0.5 makes the float adder itself round to multiples of 2^-24. */
        float tiny;
        memcpy(&tiny, &magnitude, sizeof tiny);
        tiny += 0.5f;
        memcpy(&magnitude, &tiny, sizeof magnitude);
        return (uint16_t)(sign | (magnitude - 0x3f000000u));
    }
    /* Re-bias the exponent (127 -> 15) and round 13 bits off; a carry may reach infinity. */
    uint32_t rounded = magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u);
    return (uint16_t)(sign | rounded >> 13);
}

void f32_to_bf16_array(uint16_t *restrict dst, const float *restrict src, size_t n)
{
    for (size_t i = 0; i < n; i++) dst[i] = bf16_from_f32(src[i]);
}

void bf16_to_f32_array(float *restrict dst, const uint16_t *restrict src, size_t n)
{
    for (size_t i = 0; i < n; i++) dst[i] = bf16_to_f32(src[i]);
}

void f32_to_f16_array(uint16_t *restrict dst, const float *restrict src, size_t n)
{
    for (size_t i = 0; i < n; i++) dst[i] = f16_from_f32(src[i]);
}

void f16_to_f32_array(float *restrict dst, const uint16_t *restrict src, size_t n)
{
    for (size_t i = 0; i < n; i++) dst[i] = f16_to_f32(src[i]);
}

/* One loop over unaligned elements of `type`; `convert` turns `x` into a float. */
#define CONVERT_LOOP(type, convert)                                                               \
    for (size_t i = 0; i < n; i++) {                                                              \
        type x;                                                                                   \
        memcpy(&x, bytes + i * sizeof x, sizeof x);                                               \
        dst[i] = (convert);                                                                       \
    }                                                                                             \
    break

void dtype_to_f32(float *dst, const void *src, cloze_dtype dtype, size_t n)
{
    const unsigned char *bytes = src;
    switch (dtype) {
    case DTYPE_F32:
        if (n > 0) memcpy(dst, src, n * sizeof *dst);
        break;
    case DTYPE_BF16: CONVERT_LOOP(uint16_t, bf16_to_f32(x));
    case DTYPE_F16: CONVERT_LOOP(uint16_t, f16_to_f32(x));
    case DTYPE_F64: CONVERT_LOOP(double, (float)x);
    case DTYPE_I8: CONVERT_LOOP(int8_t, (float)x);
    case DTYPE_U8: CONVERT_LOOP(uint8_t, (float)x);
    case DTYPE_I16: CONVERT_LOOP(int16_t, (float)x);
    case DTYPE_I32: CONVERT_LOOP(int32_t, (float)x);
    case DTYPE_I64: CONVERT_LOOP(int64_t, (float)x);
    case DTYPE_BOOL: CONVERT_LOOP(uint8_t, x ? 1.0f : 0.0f);
    }
}

bool dtype_from_f32(void *dst, const float *src, cloze_dtype dtype, size_t n)
{
    switch (dtype) {
    case DTYPE_F32:
        if (n > 0) memcpy(dst, src, n * sizeof *src);
        return true;
    case DTYPE_BF16: f32_to_bf16_array(dst, src, n); return true;
    case DTYPE_F16: f32_to_f16_array(dst, src, n); return true;
    case DTYPE_F64:
        for (size_t i = 0; i < n; i++) ((double *)dst)[i] = src[i];
        return true;
    default: return false;
    }
}
