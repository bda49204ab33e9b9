/*
 * base/rng: the known answers of the Random123 distribution for Philox4x32-10, and the statistics
 * of what is built on it (fixed seeds: these tests give the same numbers every time).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "base/rng.h"

static void test_philox_known_answers(void **state) {
    const struct {
        uint64_t key, c0, c1;
        uint32_t expected[4];
    } rows[] = {
        {0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {UINT64_MAX, UINT64_MAX, UINT64_MAX, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {0x299f31d0a4093822,
         0x85a308d3243f6a88,
         0x0370734413198a2e, /* digits of pi */
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint32_t out[4];
        rng_philox(rows[i].key, rows[i].c0, rows[i].c1, out);
        for (int k = 0; k < 4; k++) assert_int_equal(out[k], rows[i].expected[k]);
    }
}

static void test_stream_is_philox_in_order(void **state) {
    rng r;
    rng_init(&r, 123456789);
    for (uint64_t counter = 0; counter < 5; counter++) {
        uint32_t out[4];
        rng_philox(123456789, counter, 0, out);
        for (int k = 0; k < 4; k++) assert_int_equal(rng_u32(&r), out[k]);
    }
}

static void test_mix_separates_keys(void **state) {
    uint64_t seen[400];
    size_t n = 0;
    for (uint64_t key = 0; key < 20; key++) {
        for (uint64_t value = 0; value < 20; value++) {
            seen[n] = rng_mix(key, value);
            for (size_t i = 0; i < n; i++) assert_true(seen[i] != seen[n]);
            n++;
        }
    }
    assert_true(rng_mix(rng_mix(1, 2), 3) != rng_mix(rng_mix(1, 3), 2));
    assert_true(rng_mix_string(1, "a") == rng_mix_string(1, "a"));
    assert_true(rng_mix_string(1, "a") != rng_mix_string(1, "b"));
    assert_true(rng_mix_string(1, "a") != rng_mix_string(2, "a"));
}

static void test_below_is_in_range_and_even(void **state) {
    rng r;
    rng_init(&r, 5);
    const uint32_t limits[] = {1, 2, 3, 7, 1000, 0x80000001u, UINT32_MAX};
    for (size_t k = 0; k < sizeof limits / sizeof *limits; k++) {
        for (int i = 0; i < 1000; i++) assert_true(rng_below(&r, limits[k]) < limits[k]);
    }
    int count[7] = {0};
    for (int i = 0; i < 70000; i++) count[rng_below(&r, 7)]++;
    for (int i = 0; i < 7; i++) assert_in_range(count[i], 9600, 10400); /* 4 sigma = 370 */
}

static void test_uniform_and_normal_moments(void **state) {
    rng r;
    rng_init(&r, 9);
    enum { N = 200000 };
    double sum = 0, squares = 0, normal_sum = 0, normal_squares = 0, fourth = 0;
    for (int i = 0; i < N; i++) {
        double u = rng_uniform(&r), z = rng_normal(&r);
        assert_true(u >= 0.0 && u < 1.0 && isfinite(z));
        sum += u;
        squares += u * u;
        normal_sum += z;
        normal_squares += z * z;
        fourth += z * z * z * z;
    }
    assert_true(fabs(sum / N - 0.5) < 0.003);
    assert_true(fabs(squares / N - 1.0 / 3) < 0.003);
    assert_true(fabs(normal_sum / N) < 0.01);
    assert_true(fabs(normal_squares / N - 1.0) < 0.015);
    assert_true(fabs(fourth / N - 3.0) < 0.1);
}

static void test_shuffle_is_a_fair_permutation(void **state) {
    rng r;
    rng_init(&r, 31);
    int position[5][5] = {{0}};
    for (int round = 0; round < 50000; round++) {
        int32_t values[5] = {0, 1, 2, 3, 4}, seen = 0;
        rng_shuffle_i32(&r, values, 5);
        for (int i = 0; i < 5; i++) {
            seen |= 1 << values[i];
            position[i][values[i]]++;
        }
        assert_int_equal(seen, 31);
    }
    for (int i = 0; i < 25; i++) assert_in_range(position[i / 5][i % 5], 9600, 10400);
    int32_t one = 7;
    rng_shuffle_i32(&r, &one, 1);
    rng_shuffle_i32(&r, NULL, 0);
    assert_int_equal(one, 7);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_philox_known_answers),
        cmocka_unit_test(test_stream_is_philox_in_order),
        cmocka_unit_test(test_mix_separates_keys),
        cmocka_unit_test(test_below_is_in_range_and_even),
        cmocka_unit_test(test_uniform_and_normal_moments),
        cmocka_unit_test(test_shuffle_is_a_fair_permutation),
    };
    return cmocka_run_group_tests_name("rng", tests, NULL, NULL);
}
