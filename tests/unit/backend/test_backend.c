/*
 * What every backend owes besides its kernels: being found by name, full slots, memory; and the
 * dropout decisions, which all backends share.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "backend/dropout.h"

static const char *const devices[] = {"ref", "cpu"};

static const backend *find(const char *device) {
    const backend *b = NULL;
    if (backend_find(device, &b, NULL) != CLOZE_OK)
        print_message("SKIP: no '%s' backend in this program\n", device);
    return b;
}

static void test_find(void **state) {
    const backend *b = NULL;
    cloze_error err = {0};
    assert_int_equal(backend_find("ref", &b, &err), CLOZE_OK);
    assert_string_equal(b->name, "ref");
    assert_int_equal(backend_find("abacus", &b, &err), CLOZE_ERR_USAGE);
    assert_non_null(strstr(err.message, "'abacus'"));
    assert_non_null(strstr(err.message, "ref"));
}

static void test_check(void **state) {
    cloze_error err = {0};
    for (int i = 0; i < 2; i++) {
        const backend *b = find(devices[i]);
        if (b) assert_int_equal(backend_check(b, &err), CLOZE_OK);
    }
    backend lacking = backend_ref;
    lacking.upload = NULL;
    lacking.rope = NULL;
    assert_int_equal(backend_check(&lacking, &err), CLOZE_ERR_INTERNAL);
    assert_non_null(strstr(err.message, " upload rope"));
    memset(&lacking, 0,
           sizeof lacking); /* the list of all slots is longer than an error: cut, not overrun */
    assert_int_equal(backend_check(&lacking, &err), CLOZE_ERR_INTERNAL);
}

static void check_memory(const backend *b) {
    char there[100], back[100];
    unsigned char *p = NULL;
    void *q = NULL;
    backend_device *dev = NULL;
    cloze_error err = {0};
    assert_int_equal(b->device_open(0, 1, &dev, &err), CLOZE_OK);
    assert_int_equal(b->mem_alloc(dev, sizeof there, (void **)&p, &err), CLOZE_OK);
    assert_int_equal((uintptr_t)p % 64, 0);
    memset(there, 'x', sizeof there);
    memset(back, 'y', sizeof back);
    assert_int_equal(b->download(dev, back, p, sizeof back, &err), CLOZE_OK);
    for (size_t i = 0; i < sizeof back; i++) assert_int_equal(back[i], 0);
    assert_int_equal(b->upload(dev, p + 10, there, 50, &err), CLOZE_OK);
    assert_int_equal(b->zero(dev, p + 20, 5, &err), CLOZE_OK);
    assert_int_equal(b->sync(dev, &err), CLOZE_OK);
    assert_int_equal(b->download(dev, back, p, sizeof back, &err), CLOZE_OK);
    for (int i = 0; i < 100; i++)
        assert_int_equal(back[i], i < 10 || i >= 60 || (i >= 20 && i < 25) ? 0 : 'x');
    b->mem_free(dev, p, sizeof there);
    assert_int_equal(b->mem_alloc(dev, 0, &q, &err), CLOZE_OK);
    b->mem_free(dev, q, 0);
    b->mem_free(dev, NULL, 0);
    b->device_close(dev);
    b->device_close(NULL);
}

static void test_memory(void **state) {
    for (int i = 0; i < 2; i++) {
        const backend *b = find(devices[i]);
        if (b) check_memory(b);
    }
}

/* The definition, once more and independently of the shared helper's layout. */
static void test_dropout_definition(void **state) {
    const uint64_t row_keys[2] = {11, 0xdeadbeefcafe1234u}, key = 99;
    const dropout_spec spec = {0.25f, key, row_keys};
    for (int64_t row = 0; row < 2; row++) {
        for (uint64_t c = 0; c < 40; c++) {
            uint32_t words[4];
            rng_philox(key, row_keys[row], c / 8, words);
            uint32_t word = words[c % 8 / 2], lane = c % 2 == 0 ? word & 0xffffu : word >> 16;
            float expected = lane >= 16384 ? (float)(1.0 / 0.75) : 0.0f;
            assert_true(dropout_factor(&spec, row, c) == expected);
        }
    }
    assert_int_equal(dropout_threshold(0.1f), 6554);
    assert_int_equal(dropout_threshold(1.0f), 65536);
    assert_true(dropout_factor(NULL, 0, 0) == 1.0f);
}

/* The kept share is 1 - p within four standard deviations, in every lane. */
static void test_dropout_rate(void **state) {
    enum { ROWS = 500, BLOCKS = 100, N = ROWS * BLOCKS };
    const float p = 0.1f;
    double kept[DROPOUT_LANES] = {0};
    for (uint64_t row = 0; row < ROWS; row++) {
        for (uint64_t block = 0; block < BLOCKS; block++) {
            uint32_t mask = dropout_keep_mask(5, rng_mix(1, row), block, dropout_threshold(p));
            for (int i = 0; i < DROPOUT_LANES; i++) kept[i] += mask >> i & 1u;
        }
    }
    for (int i = 0; i < DROPOUT_LANES; i++) {
        assert_true(fabs(kept[i] / N - (1.0 - p)) < 4.0 * sqrt(p * (1.0 - p) / N));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find),         cmocka_unit_test(test_check),
        cmocka_unit_test(test_memory),       cmocka_unit_test(test_dropout_definition),
        cmocka_unit_test(test_dropout_rate),
    };
    return cmocka_run_group_tests_name("backend", tests, NULL, NULL);
}
