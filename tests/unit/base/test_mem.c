/* base/mem: alignment, overflow, the failure hook, and the reuse that arenas promise. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"

static void assert_aligned(const void *p) {
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % MEM_ALIGN, 0);
}

static void test_blocks_are_aligned(void **state) {
    const size_t sizes[] = {0, 1, 63, 64, 65, 4096, 100001};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char *p = mem_alloc(sizes[i]);
        assert_aligned(p);
        if (sizes[i]) memset(p, 1, sizes[i]);
        p = mem_realloc(p, sizes[i], sizes[i] * 2 + 1);
        assert_aligned(p);
        for (size_t k = 0; k < sizes[i]; k++) assert_int_equal(p[k], 1);
        mem_free(p);
        char *zeros = mem_calloc(sizes[i], 3);
        assert_aligned(zeros);
        for (size_t k = 0; k < sizes[i] * 3; k++) assert_int_equal(zeros[k], 0);
        mem_free(zeros);
    }
    mem_free(NULL);
}

static void test_impossible_sizes_give_null(void **state) {
    assert_null(mem_alloc(SIZE_MAX));
    assert_null(mem_alloc(SIZE_MAX - 63));
    assert_null(mem_calloc(SIZE_MAX / 2, 3));
    assert_null(mem_strndup("", SIZE_MAX));
    char *p = mem_strdup("kept");
    assert_null(mem_realloc(p, 5, SIZE_MAX));
    assert_string_equal(p, "kept");
    mem_free(p);
}

static void test_strings_are_copied(void **state) {
    char *whole = mem_strdup("abc"), *part = mem_strndup("abc", 2), *none = mem_strndup(NULL, 0);
    assert_string_equal(whole, "abc");
    assert_string_equal(part, "ab");
    assert_string_equal(none, "");
    mem_free(whole);
    mem_free(part);
    mem_free(none);
}

static void test_mapped_pages_are_zero(void **state) {
    size_t bytes = (size_t)1 << 30; /* costs nothing until it is touched */
    unsigned char *p = mem_map_zero(bytes);
    assert_non_null(p);
    assert_int_equal(p[0] | p[bytes / 2] | p[bytes - 1], 0);
    p[bytes - 1] = 1;
    mem_unmap(p, bytes);
    p = mem_map_zero(0);
    assert_non_null(p);
    mem_unmap(p, 0);
    mem_unmap(NULL, 10);
}

static void test_fail_after_fails_exactly_one(void **state) {
    for (int k = 0; k < 4; k++) {
        mem_fail_after(k);
        for (int i = 0; i < 8; i++) {
            void *p = i % 2 ? mem_calloc(3, 4) : mem_alloc(8);
            assert_int_equal(p == NULL, i == k);
            mem_free(p);
        }
    }
    mem_fail_after(0);
    mem_fail_after(-1);
    void *p = mem_alloc(1);
    assert_non_null(p);
    mem_free(p);
}

static cloze_status make_array(cloze_error *err, int64_t count, double **out) {
    MEM_NEW(err, *out, count);
    return CLOZE_OK;
}

static void test_mem_new_reports(void **state) {
    cloze_error err = {0};
    double *values;
    assert_int_equal(make_array(&err, 5, &values), CLOZE_OK);
    assert_true(values[4] == 0.0);
    mem_free(values);
    mem_fail_after(0);
    assert_int_equal(make_array(&err, 5, &values), CLOZE_ERR_MEMORY);
    assert_int_equal(err.code, CLOZE_ERR_MEMORY);
    assert_string_equal(err.message, "out of memory (5 x 8 bytes)");
}

static void test_fail_after_is_shared_by_threads(void **state) {
    mem_fail_after(100);
    int failed = 0;
#pragma omp parallel for num_threads(4) reduction(+ : failed)
    for (int i = 0; i < 1000; i++) {
        void *p = mem_alloc(16);
        failed += p == NULL;
        mem_free(p);
    }
    assert_int_equal(failed, 1);
}

static void test_arena_gives_aligned_zeros(void **state) {
    arena a;
    arena_init(&a, 256);
    for (int round = 0; round < 3; round++) {
        for (size_t n = 0; n < 700; n += 37) {
            unsigned char *p = arena_alloc(&a, n);
            assert_aligned(p);
            for (size_t i = 0; i < n; i++) assert_int_equal(p[i], 0);
            memset(p, 0xFF, n);
        }
        arena_reset(&a);
    }
    assert_string_equal(arena_strdup(&a, "text"), "text");
    assert_memory_equal(arena_copy(&a, "ab", 2), "ab", 2);
    assert_non_null(arena_copy(&a, NULL, 0));
    assert_null(arena_alloc(&a, SIZE_MAX));
    arena_deinit(&a);
    arena_deinit(&a);
}

/* After the first step the same requests in any order allocate nothing. */
static void test_arena_reset_keeps_the_memory(void **state) {
    arena a;
    arena_init(&a, 1024);
    const size_t sizes[] = {100, 5000, 900, 64, 3000, 1024, 10};
    int count = sizeof sizes / sizeof *sizes;
    for (int i = 0; i < count; i++) assert_non_null(arena_alloc(&a, sizes[i]));
    for (int round = 0; round < 3; round++) {
        arena_reset(&a);
        mem_fail_after(0);
        for (int i = 0; i < count; i++) assert_non_null(arena_alloc(&a, sizes[i]));
        mem_fail_after(-1);
    }
    arena_deinit(&a);
}

static void test_arena_marks_nest(void **state) {
    arena a;
    arena_init(&a, 128);
    arena_mark empty = arena_get_mark(&a);
    char *kept = arena_strdup(&a, "kept");
    arena_mark outer = arena_get_mark(&a);
    arena_alloc(&a, 300);
    arena_mark inner = arena_get_mark(&a);
    char *first = arena_alloc(&a, 1000);
    arena_release(&a, inner);
    assert_ptr_equal(arena_alloc(&a, 1000), first);
    arena_release(&a, outer);
    mem_fail_after(0);
    assert_non_null(arena_alloc(&a, 300)); /* from a spare block */
    mem_fail_after(-1);
    assert_string_equal(kept, "kept");
    arena_release(&a, empty);
    assert_ptr_equal(arena_alloc(&a, 5), kept);
    arena_deinit(&a);
}

static void test_arena_survives_no_memory(void **state) {
    arena a;
    arena_init(&a, 64);
    mem_fail_after(0);
    assert_null(arena_alloc(&a, 10));
    assert_null(a.head);
    assert_non_null(arena_alloc(&a, 10));
    mem_fail_after(0);
    assert_null(arena_alloc(&a, 1000));
    assert_non_null(arena_alloc(&a, 1000));
    arena_deinit(&a);
    arena_reset(&a);
    arena_release(&a, arena_get_mark(&a));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks_are_aligned),
        cmocka_unit_test(test_impossible_sizes_give_null),
        cmocka_unit_test(test_strings_are_copied),
        cmocka_unit_test(test_mapped_pages_are_zero),
        cmocka_unit_test(test_fail_after_fails_exactly_one),
        cmocka_unit_test(test_mem_new_reports),
        cmocka_unit_test(test_fail_after_is_shared_by_threads),
        cmocka_unit_test(test_arena_gives_aligned_zeros),
        cmocka_unit_test(test_arena_reset_keeps_the_memory),
        cmocka_unit_test(test_arena_marks_nest),
        cmocka_unit_test(test_arena_survives_no_memory),
    };
    return cmocka_run_group_tests_name("mem", tests, NULL, NULL);
}
