/*
 * What the tests of nn, model, tune and train share: checks of statuses and messages, a fresh
 * directory for each test, numbers that depend on a key alone, a device with a tape, and loops that
 * fail one allocation after the other. Included by one .c of each test program.
 */
#ifndef CLOZE_TESTS_UNIT_SUPPORT_H
#define CLOZE_TESTS_UNIT_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define UNUSED __attribute__((unused))

/* A call that must work; its message is the failure. */
#define MUST(call)                                                                                 \
    do {                                                                                           \
        cloze_error must_error_ = {0};                                                             \
        cloze_error *err = &must_error_;                                                           \
        if ((call) != CLOZE_OK) fail_msg("%s: %s", #call, must_error_.message);                    \
    } while (0)

/* A call that must fail with a code and a message that has `fragment`. */
#define MUST_FAIL(wanted, fragment, call)                                                          \
    do {                                                                                           \
        cloze_error must_error_ = {0};                                                             \
        cloze_error *err = &must_error_;                                                           \
        check_failure((wanted), (fragment), (call), err, #call);                                   \
    } while (0)

static UNUSED void check_failure(cloze_status wanted, const char *fragment, cloze_status got,
                                 const cloze_error *err, const char *call) {
    if (got != wanted || err->code != wanted || !strstr(err->message, fragment))
        fail_msg("%s: status %d (error %d) \"%s\", wanted %d with \"%s\"", call, got, err->code,
                 err->message, wanted, fragment);
}

/* ---- a directory for each test ---- */

static char test_dir[512];

/* In memory where the system has such a place: files are synced when they are written. */
static UNUSED int dir_setup(void **state) {
    const char *const parents[] = {getenv("TMPDIR"), "/dev/shm", P_tmpdir};
    for (size_t i = 0; i < COUNT(parents); i++) {
        if (!parents[i]) continue;
        snprintf(test_dir, sizeof test_dir, "%s/cloze-unit-XXXXXX", parents[i]);
        if (mkdtemp(test_dir)) return 0;
    }
    return -1;
}

static UNUSED int dir_teardown(void **state) {
    return dir_remove(test_dir, NULL) == CLOZE_OK ? 0 : -1;
}

/* test_dir/name, in one of 32 buffers that are used in turn. */
static UNUSED const char *at(const char *name) {
    static char paths[32][1024];
    static int next;
    char *path = paths[next++ % 32];
    snprintf(path, sizeof paths[0], "%s/%s", test_dir, name);
    return path;
}

/* Without file_write_atomic, whose syncs would make many files slow. */
static UNUSED void put_file(const char *path, const char *text) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

/* The file's bytes, mem_free. */
static UNUSED char *get_file(const char *path, size_t *n) {
    char *data = NULL;
    MUST(file_read(path, (size_t)1 << 26, CLOZE_ERR_DATA, &data, n, err));
    return data;
}

static UNUSED void assert_same_file(const char *a, const char *b) {
    size_t n_a, n_b;
    char *x = get_file(a, &n_a), *y = get_file(b, &n_b);
    if (n_a != n_b || memcmp(x, y, n_a) != 0) fail_msg("%s and %s differ", a, b);
    mem_free(x);
    mem_free(y);
}

/* ---- numbers ---- */

/* In [-1, 1), a function of (key, i) alone. */
static UNUSED float number(uint64_t key, int64_t i) {
    uint32_t out[4];
    rng_philox(key, (uint64_t)i, 0, out);
    return (float)(out[0] / 2147483648.0 - 1.0);
}

static UNUSED void assert_near(const char *what, double got, double want, double tolerance) {
    if (!(fabs(got - want) <= tolerance))
        fail_msg("%s is %.9g, wanted %.9g within %.2g", what, got, want, tolerance);
}

/* ---- failing allocations ---- */

/* Whether the failure asked for is still ahead: the scenario made fewer than k allocations, and the
 * next few meet it. */
static UNUSED bool fault_is_ahead(void) {
    bool met = false;
    for (int i = 0; i < 64 && !met; i++) {
        void *p = mem_alloc(1);
        met = p == NULL;
        mem_free(p);
    }
    mem_fail_after(-1);
    return met;
}

/* Runs the scenario with allocation 0, stride, 2 * stride... failing until it has no such one:
 * each run must end well or with ERR_MEMORY. Returns how many runs failed. stride is at most 64;
 * CLOZE_FAULT_STRIDE=1 in the environment visits every allocation. */
static UNUSED int fail_each_allocation(cloze_status (*scenario)(void *ctx, cloze_error *err),
                                       void *ctx, int stride) {
    const char *asked = getenv("CLOZE_FAULT_STRIDE");
    int failures = 0;
    if (asked && strtol(asked, NULL, 10) > 0) stride = (int)strtol(asked, NULL, 10);
    for (int64_t k = 0;; k += stride) {
        cloze_error err = {0};
        mem_fail_after(k);
        cloze_status status = scenario(ctx, &err);
        bool ahead = fault_is_ahead();
        if (status != CLOZE_OK && (status != CLOZE_ERR_MEMORY || err.code != status))
            fail_msg("allocation %lld failing gives status %d: %s", (long long)k, status,
                     err.message);
        if (status != CLOZE_OK && ahead) fail_msg("fails without a fault: %s", err.message);
        failures += status != CLOZE_OK;
        if (ahead) return failures;
    }
}

#endif
