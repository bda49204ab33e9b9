/* base/hash: fixed hash values (files depend on them), growth, odd keys, failure without memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"

static void test_hash_differs_by_content_and_length(void **state) {
    char zeros[64] = {0};
    uint64_t seen[64];
    for (size_t n = 0; n < 64; n++) {
        seen[n] = hash_bytes(zeros, n);
        for (size_t k = 0; k < n; k++) assert_true(seen[k] != seen[n]);
    }
    /* Every single bit of the input changes about half of the output. */
    char text[24] = "counter based generator";
    uint64_t base = hash_bytes(text, sizeof text);
    for (size_t bit = 0; bit < sizeof text * 8; bit++) {
        text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
        int changed = __builtin_popcountll(base ^ hash_bytes(text, sizeof text));
        assert_in_range(changed, 12, 52);
        text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
    }
}

static void test_hash_is_stable(void **state) {
    /* Seeds are made from module paths: other values would change every training run. */
    assert_true(hash_bytes("", 0) == UINT64_C(0x86f5d3132a71bfcd));
    assert_true(hash_bytes("a", 1) == UINT64_C(0xeef854d6717093af));
    assert_true(hash_bytes("encoder.layer.0.dropout", 23) == UINT64_C(0xcaeedb0564efa33c));
    char text[40];
    memset(text, 'x', sizeof text);
    assert_true(hash_bytes(text + 1, 9) == hash_bytes(text + 8, 9)); /* whatever the alignment */
}

static void test_map_grows_and_finds(void **state) {
    enum { N = 5000 };
    static char keys[N][12];
    hash_map m;
    assert_int_equal(hash_map_init(&m, 0, NULL), CLOZE_OK);
    assert_int_equal(hash_map_get(&m, "k0", 2, -7), -7);
    for (int i = 0; i < N; i++) {
        int n = snprintf(keys[i], sizeof keys[i], "k%d", i);
        assert_int_equal(hash_map_put(&m, keys[i], (size_t)n, i, NULL), CLOZE_OK);
    }
    assert_int_equal(m.count, N);
    for (int i = 0; i < N; i++) assert_int_equal(hash_map_get(&m, keys[i], strlen(keys[i]), -1), i);
    assert_int_equal(hash_map_get(&m, "k", 1, -1), -1);
    assert_int_equal(hash_map_get(&m, "k12345", 6, -1), -1);
    assert_int_equal(hash_map_put(&m, "k7", 2, 77, NULL), CLOZE_OK); /* replaces */
    assert_int_equal(m.count, N);
    assert_int_equal(hash_map_get(&m, "k7", 2, -1), 77);
    hash_map_deinit(&m);
    assert_int_equal(hash_map_get(&m, "k7", 2, -1), -1);
    hash_map_deinit(&m);
}

static void test_map_takes_any_bytes(void **state) {
    hash_map m;
    assert_int_equal(hash_map_init(&m, 4, NULL), CLOZE_OK);
    const struct {
        const char *key;
        size_t n;
    } keys[] = {{"", 0}, {"\0", 1}, {"\0\0", 2}, {"a\0b", 3}, {"a", 1}};
    for (int i = 0; i < 5; i++) hash_map_put(&m, keys[i].key, keys[i].n, i, NULL);
    for (int i = 0; i < 5; i++) assert_int_equal(hash_map_get(&m, keys[i].key, keys[i].n, -1), i);
    hash_map_put(&m, NULL, 0, 9, NULL);
    assert_int_equal(m.count, 5);
    assert_int_equal(hash_map_get(&m, NULL, 0, -1), 9);
    hash_map_deinit(&m);
}

static void test_map_without_memory(void **state) {
    hash_map m;
    cloze_error err;
    mem_fail_after(0);
    assert_int_equal(hash_map_init(&m, 10, &err), CLOZE_ERR_MEMORY);
    assert_int_equal(hash_map_init(&m, SIZE_MAX, &err), CLOZE_ERR_MEMORY);
    assert_int_equal(hash_map_init(&m, 0, &err), CLOZE_OK);
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz";
    cloze_status status = CLOZE_OK;
    int put = 0;
    mem_fail_after(0); /* the next allocation is the growth */
    while (put < 26 && (status = hash_map_put(&m, letters + put, 1, put, &err)) == CLOZE_OK) put++;
    assert_int_equal(status, CLOZE_ERR_MEMORY);
    for (int i = 0; i < put; i++) assert_int_equal(hash_map_get(&m, letters + i, 1, -1), i);
    assert_int_equal(hash_map_put(&m, letters + put, 1, put, &err), CLOZE_OK);
    hash_map_deinit(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hash_differs_by_content_and_length),
        cmocka_unit_test(test_hash_is_stable),
        cmocka_unit_test(test_map_grows_and_finds),
        cmocka_unit_test(test_map_takes_any_bytes),
        cmocka_unit_test(test_map_without_memory),
    };
    return cmocka_run_group_tests_name("hash", tests, NULL, NULL);
}
