/* ckpt: Paddle's .pdparams, read and refused. */
#include "ckpt_test.h"

#define BYTES(text) text, sizeof(text) - 1
/* Protocol 2 spelling of numpy.dtype('f4') with an order, and of an array. */
#define DTYPE(code, order) \
    "cnumpy\ndtype\n(U\002" code "\x89\x88tR(K\003U\001" order \
    "NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\000tb"
#define ARRAY(shape, dtype, column_major, bytes)                                                  \
    "cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\000\x85U\001btR(K\001" shape dtype \
    column_major bytes "tb"
#define DICT(array) BYTES("\x80\002}U\001w" array "s.")

static void test_fixtures(void **state)
{
    assert_same_file(DATA_DIR "paddle_2.pdparams", DATA_DIR "paddle.safetensors");
    assert_same_file(DATA_DIR "paddle_4.pdparams", DATA_DIR "paddle.safetensors");
    assert_same_file(DATA_DIR "paddle_tuples.pdparams", DATA_DIR "paddle.safetensors");
    ckpt *c = open_ok(DATA_DIR "paddle_4.pdparams");
    assert_string_equal(ckpt_format(c), "paddle");
    const ckpt_tensor *t = ckpt_find(c, "linear.weight"); /* column-major: a view, not a copy */
    assert_true(t->mapped && !t->contiguous && t->stride[0] == 1 && t->stride[1] == 3);
    ckpt_close(c);
}

static void test_found_in_a_directory(void **state)
{
    char *bytes;
    size_t n;
    assert_int_equal(
        file_read(DATA_DIR "paddle_4.pdparams", 1 << 20, CLOZE_ERR_DATA, &bytes, &n, NULL),
        CLOZE_OK);
    put_file("model_state.pdparams", bytes, n);
    mem_free(bytes);
    assert_same_file(test_dir, DATA_DIR "paddle.safetensors");
}

/* As PaddleNLP's cache has them: the model's own name, beside files that are none. */
static void test_found_under_its_own_name(void **state)
{
    char *bytes;
    size_t n;
    assert_int_equal(
        file_read(DATA_DIR "paddle_4.pdparams", 1 << 20, CLOZE_ERR_DATA, &bytes, &n, NULL),
        CLOZE_OK);
    put_file("verbalizer_state.pdparams", "x", 1);
    put_file("ernie_3.0_base_zh.pdparams", bytes, n);
    assert_same_file(test_dir, DATA_DIR "paddle.safetensors");
    put_file("another.pdparams", bytes, n); /* which one? */
    mem_free(bytes);
    assert_refused(test_dir, "no weights");
}

static void test_refused(void **state)
{
    static const struct { const char *bytes; size_t n; const char *fragment; } rows[] = {
        {DICT(ARRAY("K\002\x85", DTYPE("f4", "<"), "\x89", "C\004abcd")),
         "needs 8 bytes, but its storage has 4"},
        {DICT(ARRAY("K\001\x85", DTYPE("f4", "<"), "\x89", "C\005abcde")),
         "'w' has 5 bytes, but its dtype"},
        {DICT(ARRAY("K\002\x85", DTYPE("f4", "<"), "\x88", "C\004abcd")), "needs 8 bytes"},
        {DICT(ARRAY("K\002\x85", DTYPE("f4", ">"), "\x89", "C\007abcdefg")), "needs 8 bytes"},
        {DICT(ARRAY("J\xff\xff\xff\xff\x85", DTYPE("f4", "<"), "\x89", "C\004abcd")),
         "negative size"},
        {DICT(ARRAY("J\xff\xff\xff\xffJ\xff\xff\xff\xff\x86", DTYPE("f4", "<"), "\x88",
                    "C\004abcd")),
         "negative"},
        {DICT(ARRAY("N", DTYPE("f4", "<"), "\x89", "C\004abcd")), "no array of numbers"},
        {DICT(ARRAY("K\001\x85", DTYPE("c8", "<"), "\x89", "C\004abcd")), "no array of numbers"},
        {DICT(ARRAY("K\001\x85", "N", "\x89", "C\004abcd")), "no array of numbers"},
        {DICT(ARRAY("K\001\x85", DTYPE("f4", "<"), "\x89", "]")), "an array of Python objects"},
        {DICT(ARRAY("K\001\x85", DTYPE("f4", "<"), "\x89",
                    "X\004\000\000\000\xe5\x90\x8d"
                    "a")),
         "a text that should be raw bytes"},
        {DICT(ARRAY("K\001\x85", DTYPE("f4", "<"), "\x89", "U\002\xc3(")),
         "a text that should be raw"},
        {DICT("cnumpy.core.multiarray\n_reconstruct\n)R"), "no array of numbers"},
        {BYTES("\x80\002}K\001" ARRAY("K\001\x85", DTYPE("f4", "<"), "\x89", "C\004abcd") "s."),
         "name is not a string"},
        {BYTES("\x80\002}U\025UnpackBigParamInfor@@}s."), "stored in slices"},
        {BYTES("\x80\002}U\001wK\001s."), "no arrays in it"},
        {BYTES("\x80\002]."), "no dict of names and arrays"},
        {BYTES("\x80\002cpaddle\nTensor\n."), "global paddle.Tensor is refused"},
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        assert_refused(put_file("m.pdparams", rows[i].bytes, rows[i].n), rows[i].fragment);
}

/* Small files must not grow into large memory by naming one text again and again. */
static void test_shared_text_is_bounded(void **state)
{
    enum { TEXT = 4000, NAMES = 200 };
    static const char head[] = "\x80\002}X\001\000\000\000_X\xa0\x0f\000\000";
    char *bytes = mem_calloc(1, 1 << 17), *p = bytes;
    memcpy(p, head, sizeof head - 1);
    p += sizeof head - 1;
    memset(p, 'a', TEXT);
    p += TEXT;
    memcpy(p, "q\000s", 3);
    p += 3;
    for (int i = 0; i < NAMES; i++) {
        static const char array[] = ARRAY("M\xe8\003\x85", DTYPE("f4", "<"), "\x89", "h\000") "s";
        p += snprintf(p, 8, "U%cn%03d", 4, i);
        memcpy(p, array, sizeof array - 1);
        p += sizeof array - 1;
    }
    *p++ = '.';
    assert_refused(put_file("m.pdparams", bytes, (size_t)(p - bytes)), "share their bytes");
    mem_free(bytes);
}

static void test_damage(void **state)
{
    assert_survives_damage(DATA_DIR "paddle_2.pdparams", true);
    assert_survives_damage(DATA_DIR "paddle_4.pdparams", true);
    assert_survives_no_memory(DATA_DIR "paddle_2.pdparams");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fixtures),
        cmocka_unit_test_setup_teardown(test_found_in_a_directory, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_found_under_its_own_name, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_refused, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_shared_text_is_bounded, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_damage, test_setup, test_teardown),
    };
    return cmocka_run_group_tests_name("paddle", tests, NULL, NULL);
}
