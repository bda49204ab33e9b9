/* base/error: codes, texts, one-line messages, prefixes and the flow macros. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/utf8.h"

static void test_status_numbers_and_texts(void **state) {
    const struct {
        cloze_status status;
        int exit_code;
    } rows[] = {
        {CLOZE_OK, 0},       {CLOZE_ERR_INTERNAL, 1},  {CLOZE_ERR_USAGE, 2},
        {CLOZE_ERR_DATA, 3}, {CLOZE_ERR_MODEL, 4},     {CLOZE_ERR_MEMORY, 5},
        {CLOZE_ERR_IO, 6},   {CLOZE_ERR_NONFINITE, 7}, {CLOZE_ERR_INTERRUPTED, 130},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(rows[i].status, rows[i].exit_code);
        assert_true(strlen(cloze_status_text(rows[i].status)) > 3);
    }
    assert_string_equal(cloze_status_text(CLOZE_ERR_MEMORY), "out of memory");
    assert_string_equal(cloze_status_text((cloze_status)99), "unknown status");
}

static void test_set_formats_one_line(void **state) {
    cloze_error err = {0};
    assert_int_equal(error_set(&err, CLOZE_ERR_DATA, "%s:%d: no\ttab\nhere\r", "a.txt", 7),
                     CLOZE_ERR_DATA);
    assert_int_equal(err.code, CLOZE_ERR_DATA);
    assert_string_equal(err.message, "a.txt:7: no tab here ");
    assert_int_equal(error_set(NULL, CLOZE_ERR_IO, "x"), CLOZE_ERR_IO);
}

static void test_prefix_keeps_the_code(void **state) {
    cloze_error err = {0};
    error_set(&err, CLOZE_ERR_MODEL, "no key");
    assert_int_equal(error_prefix(&err, "%s/config.json", "dir"), CLOZE_ERR_MODEL);
    assert_string_equal(err.message, "dir/config.json: no key");
    error_set(&err, CLOZE_ERR_IO, "again: %s", err.message); /* its own message as an argument */
    assert_string_equal(err.message, "again: dir/config.json: no key");
    error_prefix(NULL, "x");
}

/* A message that does not fit is cut between characters, whatever the phase of the cut. */
static void test_long_messages_stay_valid_utf8(void **state) {
    char text[1400];
    for (int shift = 0; shift < 4; shift++) {
        memset(text, 'a', (size_t)shift);
        for (size_t i = (size_t)shift; i + 3 < sizeof text; i += 3) memcpy(text + i, "题", 3);
        text[sizeof text - 8] = '\0';
        cloze_error err = {0};
        error_set(&err, CLOZE_ERR_DATA, "%s", text);
        size_t n = strlen(err.message);
        assert_in_range(n, sizeof err.message - 4, sizeof err.message - 1);
        assert_int_equal(utf8_valid_prefix(err.message, n), n);
    }
}

static cloze_status try_it(cloze_status inner, int *reached) {
    *reached = 0;
    CLOZE_TRY(inner);
    *reached = 1;
    return CLOZE_OK;
}

static cloze_status try_goto(cloze_status inner, int *cleaned) {
    cloze_status status;
    *cleaned = 0;
    CLOZE_TRY_GOTO(status, inner, done);
done:
    *cleaned = 1;
    return status;
}

static void test_flow_macros(void **state) {
    int flag;
    assert_int_equal(try_it(CLOZE_OK, &flag), CLOZE_OK);
    assert_int_equal(flag, 1);
    assert_int_equal(try_it(CLOZE_ERR_IO, &flag), CLOZE_ERR_IO);
    assert_int_equal(flag, 0);
    assert_int_equal(try_goto(CLOZE_ERR_DATA, &flag), CLOZE_ERR_DATA);
    assert_int_equal(flag, 1);
}

static void test_free_takes_library_strings(void **state) {
    cloze_free(mem_strdup("x"));
    cloze_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status_numbers_and_texts),
        cmocka_unit_test(test_set_formats_one_line),
        cmocka_unit_test(test_prefix_keeps_the_code),
        cmocka_unit_test(test_long_messages_stay_valid_utf8),
        cmocka_unit_test(test_flow_macros),
        cmocka_unit_test(test_free_takes_library_strings),
    };
    return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
