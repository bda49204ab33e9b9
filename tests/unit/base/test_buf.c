/* base/buf: growth, the maximum, sticky failure, and the JSON scalars as Python writes them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/rng.h"

static void test_appends_accumulate(void **state) {
    buf b;
    buf_init(&b, 1000);
    assert_null(b.data);
    buf_puts(&b, "ab");
    buf_putc(&b, 'c');
    buf_append(&b, "d\0e", 3);
    buf_printf(&b, "%d-%s", 42, "x");
    assert_true(buf_ok(&b));
    assert_int_equal(b.len, 10);
    assert_memory_equal(b.data, "abcd\0e42-x", 11);
    buf_clear(&b);
    assert_int_equal(b.len, 0);
    for (int i = 0; i < 1000; i++) buf_putc(&b, (char)('a' + i % 26));
    assert_true(buf_ok(&b));
    for (int i = 0; i < 1000; i++) assert_int_equal(b.data[i], 'a' + i % 26);
    buf_deinit(&b);
    buf_deinit(&b);
}

static void test_maximum_is_sticky(void **state) {
    buf b;
    buf_init(&b, 4);
    buf_puts(&b, "1234");
    assert_true(buf_ok(&b));
    buf_puts(&b, "");
    assert_true(buf_ok(&b));
    buf_putc(&b, '5');
    assert_false(buf_ok(&b));
    assert_string_equal(b.data, "1234");
    assert_null(buf_take(&b));
    buf_puts(&b, "abcd"); /* usable again */
    buf_printf(&b, "%s", "e");
    assert_false(buf_ok(&b));
    buf_clear(&b);
    assert_true(buf_ok(&b));
    buf_deinit(&b);
}

static void test_no_memory_is_sticky(void **state) {
    buf b;
    buf_init(&b, SIZE_MAX);
    mem_fail_after(0);
    buf_puts(&b, "lost");
    buf_puts(&b, "also lost");
    assert_false(buf_ok(&b));
    assert_int_equal(b.len, 0);
    assert_null(buf_take(&b));
    char *empty = buf_take(&b);
    assert_string_equal(empty, "");
    mem_free(empty);
}

static void test_json_strings(void **state) {
    const struct {
        const char *text;
        size_t n;
        const char *expected;
    } rows[] = {
        {"", 0, "\"\""},
        {"plain", 5, "\"plain\""},
        {"a\"b\\c", 5, "\"a\\\"b\\\\c\""},
        {"\n\r\t\b\f\x01\x1f\x7f", 8, "\"\\n\\r\\t\\b\\f\\u0001\\u001f\x7f\""},
        {"a\0b", 3, "\"a\\u0000b\""},
        {"标题\xF0\x9F\x98\x80", 10, "\"标题\xF0\x9F\x98\x80\""},
        {"x\xFFy\xE6\xA0", 5, "\"x\xEF\xBF\xBDy\xEF\xBF\xBD\xEF\xBF\xBD\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        buf b;
        buf_init(&b, 1000);
        buf_json_string(&b, rows[i].text, rows[i].n);
        assert_string_equal(b.data, rows[i].expected);
        buf_deinit(&b);
    }
}

/* The expected texts are what repr() of Python 3 gives. */
static void test_json_doubles_as_python(void **state) {
    const struct {
        double value;
        const char *expected;
    } rows[] = {
        {0.0, "0.0"},
        {-0.0, "-0.0"},
        {1.0, "1.0"},
        {-2.5, "-2.5"},
        {0.1, "0.1"},
        {1.0 / 3, "0.3333333333333333"},
        {2.0 / 3, "0.6666666666666666"},
        {3e-5, "3e-05"},
        {3e-4, "0.0003"},
        {1e-4, "0.0001"},
        {1e-5, "1e-05"},
        {1.5e-7, "1.5e-07"},
        {123456789.0, "123456789.0"},
        {1e15, "1000000000000000.0"},
        {1e16, "1e+16"},
        {123456789012345680.0, "1.2345678901234568e+17"},
        {9007199254740993.0, "9007199254740992.0"},
        {0x1p-44, "5.684341886080802e-14"},
        {0x1p-1017, "7.120236347223045e-307"},
        {1e22, "1e+22"},
        {1e100, "1e+100"},
        {5e-324, "5e-324"},
        {1.5e-323, "1.5e-323"},
        {2.2250738585072014e-308, "2.2250738585072014e-308"},
        {DBL_MAX, "1.7976931348623157e+308"},
        {0.1 + 0.2, "0.30000000000000004"},
        {(double)0.1f, "0.10000000149011612"},
        {100.0, "100.0"},
        {NAN, "null"},
        {INFINITY, "null"},
        {-INFINITY, "null"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        buf b;
        buf_init(&b, 100);
        buf_json_double(&b, rows[i].value);
        assert_string_equal(b.data, rows[i].expected);
        buf_deinit(&b);
    }
}

static void test_json_doubles_read_back(void **state) {
    rng r;
    rng_init(&r, 11);
    buf b;
    buf_init(&b, 100);
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = (uint64_t)rng_u32(&r) << 32 | rng_u32(&r);
        double value;
        memcpy(&value, &bits, sizeof value);
        if (!isfinite(value)) continue;
        buf_clear(&b);
        buf_json_double(&b, value);
        assert_true(strtod(b.data, NULL) == value);
    }
    buf_deinit(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_appends_accumulate),
        cmocka_unit_test(test_maximum_is_sticky),
        cmocka_unit_test(test_no_memory_is_sticky),
        cmocka_unit_test(test_json_strings),
        cmocka_unit_test(test_json_doubles_as_python),
        cmocka_unit_test(test_json_doubles_read_back),
    };
    return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
