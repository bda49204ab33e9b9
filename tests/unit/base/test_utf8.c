/* base/utf8: every scalar value round-trips, every malformed form of the standard is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/utf8.h"

static void test_all_scalar_values_round_trip(void **state) {
    for (uint32_t c = 0; c <= 0x110010; c++) {
        char text[4];
        int len = utf8_encode(c, text);
        if ((c >= 0xD800 && c <= 0xDFFF) || c > 0x10FFFF) {
            assert_int_equal(len, 0);
            continue;
        }
        assert_int_equal(len, c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4);
        uint32_t back = ~c;
        assert_int_equal(utf8_decode(text, (size_t)len, &back), len);
        assert_int_equal(back, c);
        assert_int_equal(utf8_decode(text, (size_t)len - 1, &back), 0); /* cut short */
    }
}

static void test_malformed_sequences(void **state) {
    const char *const bad[] = {
        "\x80",
        "\xBF",
        "\xC0\x80",
        "\xC1\xBF",
        "\xC2\x20",
        "\xE0\x80\x80",
        "\xE0\x9F\xBF",
        "\xE1\x80\x20",
        "\xED\xA0\x80",
        "\xED\xBF\xBF",
        "\xF0\x80\x80\x80",
        "\xF0\x8F\xBF\xBF",
        "\xF4\x90\x80\x80",
        "\xF5\x80\x80\x80",
        "\xFE",
        "\xFF",
        "\xF0\x9F\x98\x20",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint32_t c;
        assert_int_equal(utf8_decode(bad[i], strlen(bad[i]), &c), 0);
        char text[64] = "plain ASCII before ";
        size_t before = strlen(text);
        strncat(text, bad[i], sizeof text - before - 1);
        assert_int_equal(utf8_valid_prefix(text, strlen(text)), before);
    }
}

static void test_valid_prefix(void **state) {
    const char *text = "abcdefgh标题 emoji \xF0\x9F\x98\x80 end";
    size_t n = strlen(text);
    assert_int_equal(utf8_valid_prefix(text, n), n);
    assert_int_equal(utf8_valid_prefix(text, 9), 8); /* within the first ideograph */
    assert_int_equal(utf8_valid_prefix("", 0), 0);
    assert_int_equal(utf8_valid_prefix("a\0b", 3), 3);
}

static void test_count_and_width(void **state) {
    const struct {
        const char *text;
        size_t count;
        int width;
    } rows[] = {
        {"", 0, 0},
        {"abc", 3, 3},
        {"标题", 2, 4},
        {"e\xCC\x81", 2, 1},        /* e + combining acute */
        {"\xC3\xA9", 1, 1},         /* precomposed */
        {"\xF0\x9F\x98\x80", 1, 2}, /* emoji */
        {"\xEF\xBC\xA1", 1, 2},     /* fullwidth A */
        {"\xEF\xBD\xB1", 1, 1},     /* halfwidth katakana */
        {"a\xE2\x80\x8B"
         "b",
         3, 2}, /* zero width space */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t n = strlen(rows[i].text);
        assert_int_equal(utf8_count(rows[i].text, n), rows[i].count);
        assert_int_equal(utf8_width(rows[i].text, n), rows[i].width);
    }
    assert_int_equal(utf8_width("a\xFF"
                                "b",
                                3),
                     3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_scalar_values_round_trip),
        cmocka_unit_test(test_malformed_sequences),
        cmocka_unit_test(test_valid_prefix),
        cmocka_unit_test(test_count_and_width),
    };
    return cmocka_run_group_tests_name("utf8", tests, NULL, NULL);
}
