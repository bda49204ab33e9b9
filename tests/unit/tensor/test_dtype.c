/* tensor/dtype: sizes, names, and conversions over every bf16 and f16 value and every tie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "tensor/dtype.h"

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void test_names_and_sizes(void **state)
{
    static const struct {
        cloze_dtype dtype;
        const char *name;
        size_t size;
        bool is_float;
    } rows[] = {
        {DTYPE_F32, "F32", 4, true},    {DTYPE_BF16, "BF16", 2, true}, {DTYPE_F16, "F16", 2, true},
        {DTYPE_F64, "F64", 8, true},    {DTYPE_I8, "I8", 1, false},    {DTYPE_U8, "U8", 1, false},
        {DTYPE_I16, "I16", 2, false},   {DTYPE_I32, "I32", 4, false},  {DTYPE_I64, "I64", 8, false},
        {DTYPE_BOOL, "BOOL", 1, false},
    };
    assert_int_equal(sizeof rows / sizeof *rows, DTYPE_COUNT);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cloze_dtype dtype;
        assert_string_equal(dtype_name(rows[i].dtype), rows[i].name);
        assert_int_equal(dtype_size(rows[i].dtype), rows[i].size);
        assert_int_equal(dtype_is_float(rows[i].dtype), rows[i].is_float);
        assert_true(dtype_from_name(rows[i].name, &dtype));
        assert_int_equal(dtype, rows[i].dtype);
    }
    cloze_dtype untouched = DTYPE_I16;
    assert_false(dtype_from_name("F8_E4M3", &untouched));
    assert_false(dtype_from_name("f32", &untouched));
    assert_int_equal(untouched, DTYPE_I16);
}

static void test_bf16_round_trip(void **state)
{
    for (uint32_t h = 0; h < 0x10000; h++) {
        float value = bf16_to_f32((uint16_t)h);
        assert_int_equal(bits_of(value), h << 16);
        uint16_t back = bf16_from_f32(value);
        if (isnan(value)) assert_true(isnan(bf16_to_f32(back)));
        else assert_int_equal(back, h);
    }
    /* A NaN whose mantissa lies wholly in the bits that go must not become infinity. */
    assert_true(isnan(bf16_to_f32(bf16_from_f32(float_of(0x7f800001u)))));
    assert_true(isnan(bf16_to_f32(bf16_from_f32(float_of(0xffffffffu)))));
}

static void test_bf16_rounding(void **state)
{
    for (uint32_t h = 0; h < 0x7f80;
         h++) { /* every positive finite value and its upper neighbour */
        uint32_t tie = h << 16 | 0x8000u, even = h % 2 == 0 ? h : h + 1;
        assert_int_equal(bf16_from_f32(float_of(tie)), even);
        assert_int_equal(bf16_from_f32(float_of(tie - 1)), h);
        assert_int_equal(bf16_from_f32(float_of(tie + 1)), h + 1);
        assert_int_equal(bf16_from_f32(float_of(tie | 0x80000000u)), even | 0x8000u);
    }
}

/* The definition: sign, exponent with bias 15, ten bits of mantissa. */
static double f16_value(uint32_t h)
{
    int exponent = (int)(h >> 10 & 31);
    double mantissa = h & 0x3ff;
    double magnitude = exponent ? ldexp(mantissa + 1024, exponent - 25) : ldexp(mantissa, -24);
    return h & 0x8000 ? -magnitude : magnitude;
}

static void test_f16_round_trip(void **state)
{
    for (uint32_t h = 0; h < 0x10000; h++) {
        float value = f16_to_f32((uint16_t)h);
        uint16_t back = f16_from_f32(value);
        if ((h & 0x7fff) > 0x7c00) {
            assert_true(isnan(value));
            assert_true((back & 0x7fff) > 0x7c00);
            continue;
        }
        if ((h & 0x7fff) < 0x7c00) assert_true((double)value == f16_value(h));
        else assert_true(isinf(value) && (value < 0) == (h > 0x7fff));
        assert_int_equal(back, h); /* the sign of zero too */
    }
}

static void test_f16_rounding(void **state)
{
    for (uint32_t h = 0; h < 0x7c00; h++) {
        /* 65504 rounds up to infinity, whose place 65536 would take. */
        double upper = h + 1 < 0x7c00 ? f16_value(h + 1) : 65536.0;
        float tie = (float)((f16_value(h) + upper) / 2); /* exact: one more bit of mantissa */
        uint32_t even = h % 2 == 0 ? h : h + 1;
        assert_int_equal(f16_from_f32(tie), even);
        assert_int_equal(f16_from_f32(nextafterf(tie, 0.0f)), h);
        assert_int_equal(f16_from_f32(nextafterf(tie, INFINITY)), h + 1);
        assert_int_equal(f16_from_f32(-tie), even | 0x8000u);
    }
    assert_int_equal(f16_from_f32(1e30f), 0x7c00);
    assert_int_equal(f16_from_f32(1e-30f), 0);
    assert_int_equal(f16_from_f32(-1e-30f), 0x8000);
}

/* Every type from an odd address, as files give them. */
static void test_to_f32(void **state)
{
    static const float f32[] = {1.5f, -2.25f};
    static const uint16_t bf16[] = {0x3fc0, 0xc010}, f16[] = {0x3e00, 0xc080};
    static const double f64[] = {1.5, -2.25};
    static const int8_t i8[] = {-128, 127};
    static const uint8_t u8[] = {0, 255}, flags[] = {0, 2};
    static const int16_t i16[] = {-32768, 32767};
    static const int32_t i32[] = {INT32_MIN, 16777217};
    static const int64_t i64[] = {INT64_MIN, 16777219};
    const struct { cloze_dtype dtype; const void *data; float a, b; } rows[] = {
        {DTYPE_F32, f32, 1.5f, -2.25f}, {DTYPE_BF16, bf16, 1.5f, -2.25f},
        {DTYPE_F16, f16, 1.5f, -2.25f}, {DTYPE_F64, f64, 1.5f, -2.25f},
        {DTYPE_I8, i8, -128, 127},      {DTYPE_U8, u8, 0, 255},
        {DTYPE_I16, i16, -32768, 32767}, {DTYPE_I32, i32, -2147483648.0f, 16777216},
        {DTYPE_I64, i64, -9223372036854775808.0f, 16777220}, {DTYPE_BOOL, flags, 0, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        unsigned char unaligned[1 + 2 * 8];
        float out[3] = {0, 0, 77};
        memcpy(unaligned + 1, rows[i].data, 2 * dtype_size(rows[i].dtype));
        dtype_to_f32(out, unaligned + 1, rows[i].dtype, 2);
        assert_true(out[0] == rows[i].a && out[1] == rows[i].b && out[2] == 77);
    }
}

static void test_from_f32(void **state)
{
    static const float values[] = {1.5f, -2.25f, 3.1415927f};
    double f64[3];
    float f32[3], back[3];
    uint16_t half[3];
    assert_true(dtype_from_f32(f32, values, DTYPE_F32, 3));
    assert_memory_equal(f32, values, sizeof values);
    assert_true(dtype_from_f32(f64, values, DTYPE_F64, 3));
    assert_true(f64[2] == (double)values[2]);
    assert_true(dtype_from_f32(half, values, DTYPE_BF16, 3));
    bf16_to_f32_array(back, half, 3);
    assert_true(back[0] == 1.5f && back[1] == -2.25f && back[2] == 3.140625f);
    assert_true(dtype_from_f32(half, values, DTYPE_F16, 3));
    f16_to_f32_array(back, half, 3);
    assert_true(back[0] == 1.5f && back[1] == -2.25f && back[2] == 3.140625f);
    assert_false(dtype_from_f32(f64, values, DTYPE_I64, 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_and_sizes), cmocka_unit_test(test_bf16_round_trip),
        cmocka_unit_test(test_bf16_rounding),   cmocka_unit_test(test_f16_round_trip),
        cmocka_unit_test(test_f16_rounding),    cmocka_unit_test(test_to_f32),
        cmocka_unit_test(test_from_f32),
    };
    return cmocka_run_group_tests_name("dtype", tests, NULL, NULL);
}
