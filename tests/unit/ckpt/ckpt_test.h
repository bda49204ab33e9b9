/* Shared by the tests of ckpt: a fresh directory per test, crafted files, and refusals. */
#ifndef CLOZE_TESTS_CKPT_TEST_H
#define CLOZE_TESTS_CKPT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "ckpt/checkpoint.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define DATA_DIR TESTS_DIR "/unit/ckpt/data/"

static char test_dir[64];
static char test_path[512]; /* test_dir/name of the last at() */

static inline const char *at(const char *name)
{
    snprintf(test_path, sizeof test_path, "%s/%s", test_dir, name);
    return test_path;
}

static inline int test_setup(void **state)
{
    snprintf(test_dir, sizeof test_dir, "/tmp/cloze-ckpt-XXXXXX");
    return mkdtemp(test_dir) ? 0 : -1;
}

static inline int test_teardown(void **state)
{
    return dir_remove(test_dir, NULL) == CLOZE_OK ? 0 : -1;
}

/* Writes bytes to test_dir/name; returns the path. Without file_write_atomic, whose syncs would
 * make thousands of files slow. */
static inline const char *put_file(const char *name, const void *bytes, size_t n)
{
    FILE *f = fopen(at(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
    return test_path;
}

/* The path is refused as a wrong model, and the message has `fragment`. */
static inline void assert_refused(const char *path, const char *fragment)
{
    ckpt *c = (ckpt *)(uintptr_t)1;
    cloze_error err = {0};
    cloze_status status = ckpt_open(path, &c, &err);
    if (status != CLOZE_ERR_MODEL || !strstr(err.message, fragment))
        print_error("wanted: %s\n   got: (%d) %s\n", fragment, status, err.message);
    assert_int_equal(status, CLOZE_ERR_MODEL);
    assert_int_equal(err.code, CLOZE_ERR_MODEL);
    assert_null(c);
    assert_non_null(strstr(err.message, fragment));
}

static inline ckpt *open_ok(const char *path)
{
    ckpt *c = NULL;
    cloze_error err = {0};
    if (ckpt_open(path, &c, &err) != CLOZE_OK) fail_msg("%s", err.message);
    return c;
}

/* Both tensors have the same dtype, shape and bits. */
static inline void assert_same_tensor(const ckpt_tensor *a, const ckpt_tensor *b)
{
    if (!a || !b || a->dtype != b->dtype || a->rank != b->rank || a->bytes != b->bytes)
        fail_msg("tensor '%s' has another dtype, shape or size", b ? b->name : "?");
    assert_memory_equal(a->shape, b->shape, sizeof a->shape);
    void *x = mem_alloc(a->bytes), *y = mem_alloc(b->bytes);
    assert_int_equal(ckpt_read_raw(a, x, a->bytes, NULL), CLOZE_OK);
    assert_int_equal(ckpt_read_raw(b, y, b->bytes, NULL), CLOZE_OK);
    if (a->bytes > 0) assert_memory_equal(x, y, a->bytes);
    mem_free(x);
    mem_free(y);
}

/* Both files hold the same names and tensors, whatever their formats and orders. */
static inline void assert_same_file(const char *path_a, const char *path_b)
{
    ckpt *a = open_ok(path_a), *b = open_ok(path_b);
    assert_int_equal(ckpt_count(a), ckpt_count(b));
    for (size_t i = 0; i < ckpt_count(b); i++)
        assert_same_tensor(ckpt_find(a, ckpt_at(b, i)->name), ckpt_at(b, i));
    ckpt_close(a);
    ckpt_close(b);
}

/* Cut at any length the file must be refused; with any byte changed it must at least be survived:
 * then every tensor is read, so that a lie about sizes would be seen by a sanitizer. */
static inline void assert_survives_damage(const char *path, bool every_cut_is_seen)
{
    char *bytes;
    size_t n;
    assert_int_equal(file_read(path, 1 << 20, CLOZE_ERR_DATA, &bytes, &n, NULL), CLOZE_OK);
    uint32_t seed = 12345;
    for (size_t i = 0; i < 2 * n; i++) {
        bool cut = i < n;
        char old = 0;
        seed = seed * 1664525 + 1013904223;
        if (!cut) {
            old = bytes[i - n];
            bytes[i - n] = (char)(old ^ (1 + seed % 255));
        }
        ckpt *c = NULL;
        cloze_error err = {0};
        cloze_status status = ckpt_open(put_file("damaged", bytes, cut ? i : n), &c, &err);
        if (cut && every_cut_is_seen) assert_int_equal(status, CLOZE_ERR_MODEL);
        assert_true(status == CLOZE_OK || status == CLOZE_ERR_MODEL || status == CLOZE_ERR_MEMORY);
        for (size_t k = 0; c && k < ckpt_count(c); k++) {
            const ckpt_tensor *t = ckpt_at(c, k);
            if (t->bytes > 1 << 20) continue; /* a large expanded view of few bytes */
            void *out = mem_alloc(t->bytes);
            assert_int_equal(ckpt_read_raw(t, out, t->bytes, NULL), CLOZE_OK);
            mem_free(out);
        }
        ckpt_close(c);
        if (!cut) bytes[i - n] = old;
    }
    mem_free(bytes);
}

/* Opening with the k-th allocation failing, for every k: no crash, no leak, and the right code. */
static inline void assert_survives_no_memory(const char *path)
{
    for (int64_t k = 0; k < 100000; k++) {
        ckpt *c = NULL;
        cloze_error err = {0};
        mem_fail_after(k);
        cloze_status status = ckpt_open(path, &c, &err);
        mem_fail_after(-1);
        ckpt_close(c);
        if (status == CLOZE_OK) return;
        assert_int_equal(status, CLOZE_ERR_MEMORY);
    }
    fail_msg("%s never opens", path);
}

#endif
