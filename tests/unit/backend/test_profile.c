/* The measuring backend: the same results, and a table and a trace that account for every call. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/profile.h"
#include "base/json.h"

typedef struct measured {
    backend_device *dev;
    cloze_error err;
} measured;

static void open_measured(measured *m, bool trace) {
    *m = (measured){0};
    assert_int_equal(backend_check(&backend_profile, &m->err), CLOZE_OK);
    assert_int_equal(profile_device_open(&backend_ref, 0, 1, trace, &m->dev, &m->err), CLOZE_OK);
}

/* The line of the table that begins (after blanks) with `start`; fails when there is none. */
static const char *line_of(const buf *table, const char *start) {
    const char *at = table->data;
    while (at && *at) {
        const char *text = at + strspn(at, " ");
        if (strncmp(text, start, strlen(start)) == 0) return text;
        at = strchr(at, '\n');
        if (at) at++;
    }
    fail_msg("no line '%s' in:\n%s", start, table->data);
    return NULL;
}

/* y (2,3) = x (2,4) W^T, W (3,4) all ones. */
static void run_linear(measured *m) {
    float x[8] = {1, 2, 3, 4, 5, 6, 7, 8}, ones[12], y[6] = {0};
    for (int i = 0; i < 12; i++) ones[i] = 1;
    tensor xt = tensor_of(x, DTYPE_F32, 2, 4), yt = tensor_of(y, DTYPE_F32, 2, 3);
    weight w = {.t = tensor_of(ones, DTYPE_F32, 3, 4)};
    assert_int_equal(
        backend_profile.linear_forward(m->dev, &xt, &w, NULL, ACT_NONE, NULL, &yt, &m->err),
        CLOZE_OK);
    assert_true(y[0] == 10 && y[3] == 26); /* the inner backend's result */
    backend_profile.weight_drop_packs(m->dev, &w);
}

static void test_table(void **state) {
    measured m;
    buf table;
    double sum = 0;
    float x[5] = {1, 2, 3, 4, 5};
    open_measured(&m, false);
    backend_mark(&backend_profile, m.dev, PHASE_FORWARD);
    run_linear(&m);
    run_linear(&m);
    backend_mark(&backend_profile, m.dev, PHASE_UPDATE);
    assert_int_equal(backend_profile.sum_squares(m.dev, x, 5, &sum, &m.err), CLOZE_OK);
    assert_true(sum == 55);
    backend_mark(&backend_profile, m.dev, PHASE_OUTSIDE);
    buf_init(&table, 1 << 16);
    profile_write_table(m.dev, &table);
    assert_true(buf_ok(&table));
    assert_non_null(strstr(table.data, "1 training passes, 1 updates, 0 prediction passes"));
    const char *forward = line_of(&table, "forward "), *linear = line_of(&table, "linear_forward"),
               *update = line_of(&table, "update "), *squares = line_of(&table, "sum_squares");
    assert_true(forward < linear && linear < update && update < squares);
    char shape[16];
    int calls = 0;
    assert_int_equal(sscanf(linear, "linear_forward %15s %d", shape, &calls), 2);
    assert_string_equal(shape, "3x4");
    assert_int_equal(calls, 2);
    assert_int_equal(sscanf(squares, "sum_squares %d", &calls), 1);
    assert_int_equal(calls, 1);
    buf_deinit(&table);
    backend_profile.device_close(m.dev);
}

/* A failure of the inner backend comes through, and the call counts all the same. */
static void test_failure(void **state) {
    measured m;
    float x[2] = {1, 2}, y[3] = {0};
    tensor xt = tensor_of(x, DTYPE_F32, 1, 2), yt = tensor_of(y, DTYPE_F32, 1, 3);
    open_measured(&m, false);
    assert_int_equal(backend_profile.activation_forward(m.dev, ACT_RELU, &xt, &yt, &m.err),
                     CLOZE_ERR_INTERNAL);
    assert_non_null(strstr(m.err.message, "activation_forward"));
    backend_profile.device_close(m.dev);
}

static void test_trace(void **state) {
    measured m;
    buf text;
    cJSON *root = NULL;
    open_measured(&m, true);
    backend_mark(&backend_profile, m.dev, PHASE_PREDICT);
    run_linear(&m);
    backend_mark(&backend_profile, m.dev, PHASE_OUTSIDE);
    buf_init(&text, 1 << 16);
    profile_write_trace(m.dev, &text);
    assert_int_equal(json_parse(text.data, text.len, "trace", CLOZE_ERR_DATA, &root, &m.err),
                     CLOZE_OK);
    const cJSON *e, *call = NULL, *phase = NULL;
    cJSON_ArrayForEach(e, cJSON_GetObjectItem(root, "traceEvents")) {
        const char *name = cJSON_GetObjectItem(e, "name")->valuestring;
        if (strcmp(name, "linear_forward 3x4") == 0) call = e;
        if (strcmp(name, "prediction") == 0) phase = e;
    }
    assert_non_null(call);
    assert_non_null(phase);
    double begin = cJSON_GetObjectItem(call, "ts")->valuedouble,
           end = begin + cJSON_GetObjectItem(call, "dur")->valuedouble,
           phase_begin = cJSON_GetObjectItem(phase, "ts")->valuedouble,
           phase_end = phase_begin + cJSON_GetObjectItem(phase, "dur")->valuedouble;
    assert_true(phase_begin <= begin && begin <= end && end <= phase_end + 0.01); /* us, rounded */
    assert_string_equal(cJSON_GetObjectItem(call, "cat")->valuestring, "prediction");
    json_destroy(root);
    buf_deinit(&text);
    backend_profile.device_close(m.dev);
}

/* More shapes than the table has rows: the last row takes the rest, and nothing is lost. */
static void test_many_shapes(void **state) {
    static float data[1200];
    measured m;
    buf table;
    open_measured(&m, false);
    for (int i = 1; i <= 600; i++) {
        int64_t rows = i <= 300 ? i : 1, cols = i <= 300 ? 1 : i; /* 600 different shapes */
        tensor x = tensor_of(data, DTYPE_F32, 1, cols), y = tensor_of(data + 600, DTYPE_F32, 1, rows);
        weight w = {.t = tensor_of(data, DTYPE_F32, rows, cols)};
        assert_int_equal(
            backend_profile.linear_forward(m.dev, &x, &w, NULL, ACT_NONE, NULL, &y, &m.err),
            CLOZE_OK);
        backend_profile.weight_drop_packs(m.dev, &w);
    }
    buf_init(&table, 1 << 20);
    profile_write_table(m.dev, &table);
    int64_t calls = 0;
    for (const char *at = table.data; at; at = strstr(at + 1, "linear_forward")) {
        long long n = 0;
        if (sscanf(at, "linear_forward %*s %lld", &n) == 1) calls += n;
    }
    assert_int_equal(calls, 600);
    buf_deinit(&table);
    backend_profile.device_close(m.dev);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_failure),
        cmocka_unit_test(test_trace),
        cmocka_unit_test(test_many_shapes),
    };
    return cmocka_run_group_tests_name("profile", tests, NULL, NULL);
}
