/* base/json: what is refused and where it is said to be, typed getters, printing as Python does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"

static cJSON *parse(const char *text) {
    cJSON *root = NULL;
    cloze_error err = {0};
    if (json_parse(text, strlen(text), "test", CLOZE_ERR_DATA, &root, &err) != CLOZE_OK) {
        fail_msg("%s", err.message);
    }
    return root;
}

static void test_refused_texts(void **state) {
    const struct {
        const char *text;
        size_t n;
        const char *message;
    } rows[] = {
        {"", 0, "f:1:1: empty, not JSON"},
        {"{\"a\": 1,\n \"b\": }", 16, "f:2:7: not valid JSON"},
        {"{} x", 4, "f:1:4: something follows the JSON value"},
        {"{}{}", 4, "f:1:3: something follows the JSON value"},
        {"\"标题\xFF\"", 8, "f:1:4: not valid UTF-8"},
        {"[1,\0 2]", 7, "f:1:4: a NUL byte is not valid JSON"},
        {"[\"a\\u0000\"]", 11, "f:1:4: a string must not hold the NUL character"},
        {"nul", 3, NULL},
        {"[1, 2", 5, NULL},
        {"{\"a\"", 4, NULL},
        {"{\"1\":1,", 7, NULL},
        {"\"abc", 4, NULL},
        {"\"\\", 2, NULL},
        {"\"\\ud800\"", 8, NULL},
        {"\"\\ude00x\"", 9, NULL},
        {"-", 1, NULL},
        {"NaN", 3, NULL},
        {"{1:2}", 5, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *copy = malloc(rows[i].n + !rows[i].n); /* exact: a sanitizer sees one byte too far */
        memcpy(copy, rows[i].text, rows[i].n);
        cJSON *root = (cJSON *)copy;
        cloze_error err = {0};
        assert_int_equal(json_parse(copy, rows[i].n, "f", CLOZE_ERR_DATA, &root, &err),
                         CLOZE_ERR_DATA);
        assert_null(root);
        if (rows[i].message) assert_string_equal(err.message, rows[i].message);
        assert_int_equal(
            strncmp(err.message, "f:1:", 4) == 0 || strncmp(err.message, "f:2:", 4) == 0, 1);
        free(copy);
    }
}

static void test_nesting_is_bounded(void **state) {
    enum { DEEP = 100000 };
    char *text = malloc(2 * DEEP);
    memset(text, '[', DEEP);
    memset(text + DEEP, ']', DEEP);
    cJSON *root;
    cloze_error err = {0};
    assert_int_equal(json_parse(text, 2 * DEEP, "f", CLOZE_ERR_MODEL, &root, &err),
                     CLOZE_ERR_MODEL);
    assert_string_equal(err.message, "f:1:501: nested too deep");
    assert_int_equal(json_parse(text + DEEP - 500, 1000, "f", CLOZE_ERR_MODEL, &root, &err),
                     CLOZE_OK);
    char *printed = json_print(root);
    assert_non_null(printed);
    mem_free(printed);
    json_destroy(root);
    free(text);
}

static void test_values_are_bounded(void **state) {
    size_t n = 2 * ((size_t)1 << 24) + 8;
    char *text = malloc(n);
    cJSON *root;
    cloze_error err = {0};
    text[0] = '[';
    for (size_t i = 1; i < n; i++) text[i] = i % 2 ? '0' : ',';
    assert_int_equal(json_parse(text, n, "f", CLOZE_ERR_DATA, &root, &err), CLOZE_ERR_DATA);
    assert_non_null(strstr(err.message, "more than 16 million values"));
    free(text);
}

static void test_brackets_within_strings_do_not_nest(void **state) {
    char text[3000];
    snprintf(text, sizeof text, "[\"%02000d\\\"[[\", \"\\\\\", []]", 0);
    memset(text + 2, '[', 2000);
    json_destroy(parse(text));
}

static void test_accepted_texts(void **state) {
    const char *const rows[] = {
        " \r\n\t{ } \n",
        "[]",
        "null",
        "true",
        "-1.5e-3",
        "\"\\u4e2d\\ud83d\\ude00\"",
        "{\"\\\\u0000\": 1}",
        "\xEF\xBB\xBF{\"bom\": 1}",
        "0",
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) json_destroy(parse(rows[i]));
    cJSON *root = parse("\"\\u4e2d\\ud83d\\ude00\"");
    assert_string_equal(root->valuestring, "中\xF0\x9F\x98\x80");
    json_destroy(root);
    json_destroy(NULL);
}

static void test_getters(void **state) {
    cJSON *o = parse("{\"i\": 12, \"whole\": 3.0, \"big\": 1e15, \"d\": 2.5, \"neg\": -1, \"t\": "
                     "true, \"f\": false,"
                     " \"s\": \"text\", \"n\": null, \"I\": 99}");
    int64_t i = -5;
    double d = -5;
    bool b = true;
    const char *s = "default";
    assert_int_equal(json_get_int(o, "i", 0, 12, &i, NULL), CLOZE_OK);
    assert_int_equal(i, 12);
    assert_int_equal(json_get_int(o, "whole", 0, 9, &i, NULL), CLOZE_OK);
    assert_int_equal(i, 3);
    assert_int_equal(json_get_int(o, "big", 0, INT64_MAX, &i, NULL), CLOZE_OK);
    assert_true(i == 1000000000000000);
    assert_int_equal(json_get_int(o, "neg", -1, 0, &i, NULL), CLOZE_OK);
    assert_int_equal(i, -1);
    assert_int_equal(json_get_double(o, "d", &d, NULL), CLOZE_OK);
    assert_true(d == 2.5);
    assert_int_equal(json_get_bool(o, "f", &b, NULL), CLOZE_OK);
    assert_false(b);
    assert_int_equal(json_get_string(o, "s", &s, NULL), CLOZE_OK);
    assert_string_equal(s, "text");
    const char *const absent[] = {"n", "missing", "S"};
    for (int k = 0; k < 3; k++) { /* the defaults stay */
        assert_int_equal(json_get_int(o, absent[k], 0, 1, &i, NULL), CLOZE_OK);
        assert_int_equal(json_get_double(o, absent[k], &d, NULL), CLOZE_OK);
        assert_int_equal(json_get_bool(o, absent[k], &b, NULL), CLOZE_OK);
        assert_int_equal(json_get_string(o, absent[k], &s, NULL), CLOZE_OK);
    }
    assert_int_equal(i, -1);
    assert_true(d == 2.5 && !b);
    assert_string_equal(s, "text");
    json_destroy(o);
}

static void test_getters_refuse(void **state) {
    cJSON *o =
        parse("{\"i\": 12, \"d\": 2.5, \"t\": true, \"s\": \"text\", \"a\": [1], \"e\": 1e30, "
              "\"x\": 1e400,"
              " \"long\": \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}");
    int64_t i = 7;
    double d = 7;
    bool b = true;
    const char *s = "kept";
    cloze_error err = {0};
    assert_int_equal(json_get_int(o, "i", 0, 11, &i, &err), CLOZE_ERR_MODEL);
    assert_string_equal(err.message, "\"i\" must be from 0 to 11, not 12");
    assert_int_equal(json_get_int(o, "i", 13, 14, &i, &err), CLOZE_ERR_MODEL);
    const char *const no_int[] = {"d", "t", "s", "a", "e", "x"};
    for (size_t k = 0; k < 6; k++) {
        assert_int_equal(json_get_int(o, no_int[k], INT64_MIN, INT64_MAX, &i, &err),
                         CLOZE_ERR_MODEL);
    }
    assert_int_equal(json_get_double(o, "t", &d, &err), CLOZE_ERR_MODEL);
    assert_string_equal(err.message, "\"t\" must be a number, not true");
    assert_int_equal(json_get_double(o, "x", &d, &err), CLOZE_ERR_MODEL);
    assert_int_equal(json_get_bool(o, "i", &b, &err), CLOZE_ERR_MODEL);
    assert_int_equal(json_get_string(o, "i", &s, &err), CLOZE_ERR_MODEL);
    assert_string_equal(err.message, "\"i\" must be a string, not 12");
    assert_int_equal(json_get_int(o, "long", 0, 1, &i, &err), CLOZE_ERR_MODEL);
    assert_true(strlen(err.message) < 100);
    assert_int_equal(i, 7);
    assert_true(d == 7 && b);
    assert_string_equal(s, "kept");
    json_destroy(o);
}

static void test_print_as_python(void **state) {
    cJSON *o = parse("{\"lr\": 3e-5, \"eps\": 1e-12, \"one\": 1, \"big\": 1e30, \"half\": 0.5, "
                     "\"n\": null, \"z\": -0.0,"
                     "\"t\": [true, false], \"empty\": {}, \"none\": [], \"s\": \"中\\n\\\"\", "
                     "\"o\": {\"a\": [1, {\"b\": 2}]}}");
    cJSON_AddRawToObject(o, "raw", "1.0");
    char *text = json_print(o);
    assert_string_equal(
        text,
        "{\n  \"lr\": 3e-05,\n  \"eps\": 1e-12,\n  \"one\": 1,\n  \"big\": 1e+30,\n"
        "  \"half\": 0.5,\n  \"n\": null,\n  \"z\": 0,\n  \"t\": [\n    true,\n    false\n  ],\n"
        "  \"empty\": {},\n  \"none\": [],\n  \"s\": \"中\\n\\\"\",\n  \"o\": {\n    \"a\": [\n"
        "      1,\n      {\n        \"b\": 2\n      }\n    ]\n  },\n  \"raw\": 1.0\n}\n");
    cJSON *again = parse(text);
    char *second = json_print(again);
    assert_memory_equal(second, text, strstr(text, "1.0") - text); /* raw text does not survive */
    mem_free(text);
    mem_free(second);
    json_destroy(o);
    json_destroy(again);
}

static void test_files_and_no_memory(void **state) {
    cJSON *root;
    cloze_error err = {0};
    assert_int_equal(json_parse_file("/nonexistent/config.json", 100, CLOZE_ERR_MODEL, &root, &err),
                     CLOZE_ERR_MODEL);
    assert_non_null(strstr(err.message, "/nonexistent/config.json"));
    char path[] = "/tmp/cloze-json-XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(write(fd, "{\"a\": 5}\n", 9), 9);
    close(fd);
    assert_int_equal(json_parse_file(path, 8, CLOZE_ERR_MODEL, &root, &err), CLOZE_ERR_MODEL);
    mem_fail_after(0);
    assert_int_equal(json_parse_file(path, 9, CLOZE_ERR_MODEL, &root, &err), CLOZE_ERR_MEMORY);
    assert_int_equal(json_parse_file(path, 9, CLOZE_ERR_MODEL, &root, &err), CLOZE_OK);
    int64_t a = 0;
    json_get_int(root, "a", 0, 9, &a, NULL);
    assert_int_equal(a, 5);
    mem_fail_after(0);
    assert_null(json_print(root));
    json_destroy(root);
    unlink(path);
    mem_fail_after(0);
    assert_int_equal(json_parse("1", 1, "f", CLOZE_ERR_DATA, &root, &err), CLOZE_ERR_MEMORY);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused_texts),
        cmocka_unit_test(test_nesting_is_bounded),
        cmocka_unit_test(test_values_are_bounded),
        cmocka_unit_test(test_brackets_within_strings_do_not_nest),
        cmocka_unit_test(test_accepted_texts),
        cmocka_unit_test(test_getters),
        cmocka_unit_test(test_getters_refuse),
        cmocka_unit_test(test_print_as_python),
        cmocka_unit_test(test_files_and_no_memory),
    };
    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
