/* ckpt: safetensors files, whole and sharded, read, written and refused. */
#include "ckpt_test.h"

#include <unistd.h>

#include "ckpt/checkpoint_write.h"

/* A file of a header text and n_data bytes 0, 1, 2...; returns its path. */
static const char *put_safetensors(const char *name, const char *header, size_t n_data)
{
    size_t n = strlen(header);
    uint8_t *bytes = mem_alloc(8 + n + n_data);
    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)(n >> (8 * i));
    memcpy(bytes + 8, header, n);
    for (size_t i = 0; i < n_data; i++) bytes[8 + n + i] = (uint8_t)i;
    const char *path = put_file(name, bytes, 8 + n + n_data);
    mem_free(bytes);
    return path;
}

#define T(name, dtype, shape, offsets) \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void test_refused_headers(void **state)
{
    static const struct { const char *header; size_t n_data; const char *fragment; } rows[] = {
        {"{" T("a", "F32", "[2]", "[0,8]") "}", 7, "tensor 'a' ends at byte 8"},
        {"{" T("a", "F32", "[2]", "[0,8]") "}", 9, "9 bytes of data, but its tensors have 8"},
        {"{" T("a", "F32", "[3]", "[0,8]") "}", 8, "needs 12 bytes, but its storage has 8"},
        {"{" T("a", "F32", "[1]", "[0,8]") "}", 8,
         "tensor 'a' has 8 bytes, but its dtype and shape say 4"},
        {"{" T("a", "F32", "[2]", "[4,12]") "}", 12, "begins at byte 4 of the data, not at 0"},
        {"{" T("a", "U8", "[4]", "[0,4]") "," T("b", "U8", "[4]", "[2,6]") "}", 6,
         "tensor 'b' begins"},
        {"{" T("a", "U8", "[4]", "[0,4]") "," T("b", "U8", "[2]", "[6,8]") "}", 8, "leave a gap"},
        {"{" T("a", "U8", "[4]", "[0,4]") "," T("a", "U8", "[4]", "[4,8]") "}", 8,
         "'a' is there twice"},
        {"{" T("a", "U8", "[4]", "[4,0]") "}", 4, "not [begin, end]"},
        {"{" T("a", "U8", "[4]", "[0]") "}", 4, "not [begin, end]"},
        {"{" T("a", "U8", "[4]", "[0,4,4]") "}", 4, "not [begin, end]"},
        {"{" T("a", "U8", "[4]", "[-1,4]") "}", 4, "not [begin, end]"},
        {"{" T("a", "U8", "[4]", "[0,4.5]") "}", 4, "not [begin, end]"},
        {"{" T("a", "U8", "[4]", "[0,1e300]") "}", 4, "not [begin, end]"},
        {"{" T("a", "U8", "[4]", "\"0,4\"") "}", 4, "not [begin, end]"},
        {"{" T("a", "U8", "[-4]", "[0,4]") "}", 4, "is not a whole number"},
        {"{" T("a", "U8", "[\"4\"]", "[0,4]") "}", 4, "is not a whole number"},
        {"{" T("a", "U8", "4", "[0,4]") "}", 4, "no \"shape\" array"},
        {"{" T("a", "U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]") "}", 1, "more than 8 dimensions"},
        {"{" T("a", "U8", "[4503599627370496,4503599627370496]", "[0,1]") "}", 1, "size overflows"},
        {"{" T("a", "F64", "[4503599627370496,512]", "[0,1]") "}", 1, "size overflows"},
        {"{" T("a", "U8", "[0,4503599627370496,4503599627370496]", "[0,0]") "}", 0,
         "size overflows"},
        {"{" T("a", "F8_E4M3", "[1]", "[0,1]") "}", 1, "tensor 'a' has dtype F8_E4M3"},
        {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "no \"dtype\" string"},
        {"{\"a\":{\"dtype\":3,\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "no \"dtype\" string"},
        {"{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, "no \"shape\" array"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "not [begin, end]"},
        {"{\"a\":7}", 0, "tensor 'a' has no description"},
        {"{" T("", "U8", "[1]", "[0,1]") "}", 1, "a tensor name is empty"},
        {"{\"__metadata__\":7}", 0, "\"__metadata__\" is not an object"},
        {"{\"__metadata__\":{\"k\":7}}", 0, "metadata 'k' is not a string"},
        {"{" T("a", "U8", "[1]", "[0,1]"), 1, "crafted"}, /* no closing brace */
        {"{}x", 0, "crafted"},
        {"[]", 0, "neither safetensors"},
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        assert_refused(put_safetensors("crafted", rows[i].header, rows[i].n_data),
                       rows[i].fragment);
}

static void test_refused_files(void **state)
{
    static const struct { const char *bytes; size_t n; const char *fragment; } rows[] = {
        {"", 0, "cut short"},
        {"\x02\0\0\0\0\0\0", 7, "cut short"},
        {"\x03\0\0\0\0\0\0\0{}", 10, "the header claims 3 bytes"},
        {"\xff\xff\xff\xff\xff\xff\xff\xff{}", 10, "at most 100000000"},
        {"\x01\xe1\xf5\x05\0\0\0\0{}", 10, "the header claims 100000001 bytes"},
        {"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1\n", 66,
         "git lfs pull"},
        {"<!DOCTYPE html><html><body>not found</body></html>", 50, "neither safetensors nor"},
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        assert_refused(put_file("model.safetensors", rows[i].bytes, rows[i].n), rows[i].fragment);
    assert_refused(at("absent"), "absent");
    assert_refused(test_dir, "model.safetensors"); /* its content is still wrong */
    unlink(at("model.safetensors"));
    assert_refused(test_dir, "no weights: put model.safetensors");
}

static void test_accepted(void **state)
{
    const char *path = put_safetensors("a",
        "{\"__metadata__\":{\"format\":\"pt\",\"note\":\"x\"}," T("s", "I16", "[]", "[4,6]") ","
        T("e", "F32", "[0,7]", "[4,4]") "," T("名", "U8", "[2,2]", "[0,4]") "}   ", 6);
    ckpt *c = open_ok(path);
    assert_string_equal(ckpt_format(c), "safetensors");
    assert_string_equal(ckpt_metadata_get(c, "note"), "x");
    assert_null(ckpt_metadata_get(c, "absent"));
    assert_int_equal(ckpt_count(c), 3);
    assert_string_equal(ckpt_at(c, 0)->name, "名"); /* in the order of the file */
    assert_null(ckpt_find(c, "absent"));
    const ckpt_tensor *s = ckpt_find(c, "s"), *e = ckpt_find(c, "e"), *u = ckpt_find(c, "名");
    char text[16], small[5];
    assert_string_equal(ckpt_shape_text(u, text, sizeof text), "(2, 2)");
    assert_string_equal(ckpt_shape_text(s, text, sizeof text), "()");
    assert_string_equal(ckpt_shape_text(u, small, sizeof small), "(2, ");
    assert_int_equal(s->rank, 0);
    assert_int_equal(s->count, 1);
    assert_int_equal(e->count, 0);
    assert_true(u->contiguous && s->contiguous && e->contiguous && u->mapped);
    float out[4];
    cloze_error err;
    assert_int_equal(ckpt_read_f32(u, out, 4, NULL), CLOZE_OK);
    assert_true(out[0] == 0 && out[3] == 3);
    assert_int_equal(ckpt_read_f32(s, out, 1, NULL), CLOZE_OK);
    assert_true(out[0] == 0x0504);
    assert_int_equal(ckpt_read_f32(e, out, 0, NULL), CLOZE_OK);
    assert_int_equal(ckpt_read_f32(u, out, 3, &err), CLOZE_ERR_MODEL);
    assert_non_null(strstr(err.message, "has 4 elements where 3 are wanted"));
    assert_int_equal(ckpt_read_raw(u, out, 3, &err), CLOZE_ERR_MODEL);
    ckpt_advise_dontneed(u);
    ckpt_close(c);
    ckpt_close(NULL);
}

/* Pages that were given back come again from the file. */
static void test_advise_dontneed(void **state)
{
    enum { N = 1 << 16 };
    float *values = mem_alloc(N * sizeof *values);
    for (int i = 0; i < N; i++) values[i] = (float)i;
    ckpt_item item = {.name = "w", .dtype = DTYPE_F32, .rank = 1, .shape = {N}, .data = values};
    assert_int_equal(safetensors_write(at("m"), &item, 1, NULL, 0, NULL), CLOZE_OK);
    ckpt *c = open_ok(test_path);
    const ckpt_tensor *t = ckpt_find(c, "w");
    assert_true(t->aligned);
    assert_memory_equal(t->data, values, N * sizeof *values);
    ckpt_advise_dontneed(t);
    assert_memory_equal(t->data, values, N * sizeof *values);
    ckpt_close(c);
    mem_free(values);
}

static const float weights[6] = {1.5f, -2, 0.333333343f, 4, 1e-9f, 65504};
static const int64_t ids[3] = {-1, 0, INT64_MAX};

static void test_written_is_read(void **state)
{
    const ckpt_item items[] = {
        {.name = "b.f32", .dtype = DTYPE_F32, .rank = 2, .shape = {2, 3}, .data = weights},
        {.name = "a.bf16", .dtype = DTYPE_BF16, .rank = 1, .shape = {6}, .data = weights,
         .from_f32 = true},
        {.name = "a.f16", .dtype = DTYPE_F16, .rank = 1, .shape = {6}, .data = weights,
         .from_f32 = true},
        {.name = "c \"quoted\" \n", .dtype = DTYPE_I64, .rank = 1, .shape = {3}, .data = ids},
        {.name = "empty", .dtype = DTYPE_BOOL, .rank = 2, .shape = {0, 3}},
    };
    const ckpt_metadata meta[] = {{"made_by", "cloze"}};
    assert_int_equal(safetensors_write(at("m"), items, COUNT(items), meta, 1, NULL), CLOZE_OK);
    ckpt *c = open_ok(test_path);
    assert_string_equal(ckpt_metadata_get(c, "format"), "pt");
    assert_string_equal(ckpt_metadata_get(c, "made_by"), "cloze");
    assert_int_equal(ckpt_count(c), COUNT(items));
    for (size_t i = 0; i < COUNT(items); i++) {
        const ckpt_tensor *t = ckpt_find(c, items[i].name);
        assert_non_null(t);
        assert_true(t->aligned && t->dtype == items[i].dtype && t->rank == items[i].rank);
    }
    assert_memory_equal(ckpt_find(c, "b.f32")->data, weights, sizeof weights);
    assert_memory_equal(ckpt_find(c, items[3].name)->data, ids, sizeof ids);
    float out[6];
    uint16_t expected[6];
    f32_to_f16_array(expected, weights, 6);
    assert_memory_equal(ckpt_find(c, "a.f16")->data, expected, sizeof expected);
    assert_int_equal(ckpt_read_f32(ckpt_find(c, "a.bf16"), out, 6, NULL), CLOZE_OK);
    assert_true(out[0] == 1.5f && out[5] == 65536); /* 65504 to eight bits of mantissa */
    ckpt_close(c);
}

/* The same tensors and metadata as the library wrote them: the same bytes. */
static void test_same_bytes_as_the_library(void **state)
{
    ckpt *c = open_ok(DATA_DIR "sample.safetensors");
    size_t n = ckpt_count(c), n_ours, n_theirs;
    ckpt_item *items = mem_calloc(n, sizeof *items);
    for (size_t i = 0; i < n; i++) { /* given in the opposite order */
        const ckpt_tensor *t = ckpt_at(c, n - 1 - i);
        items[i] =
            (ckpt_item){.name = t->name, .dtype = t->dtype, .rank = t->rank, .data = t->data};
        memcpy(items[i].shape, t->shape, sizeof t->shape);
    }
    assert_int_equal(safetensors_write(at("m"), items, n, NULL, 0, NULL), CLOZE_OK);
    char *ours, *theirs;
    assert_int_equal(file_read(test_path, 1 << 20, CLOZE_ERR_DATA, &ours, &n_ours, NULL), CLOZE_OK);
    assert_int_equal(file_read(DATA_DIR "sample.safetensors", 1 << 20, CLOZE_ERR_DATA, &theirs,
                               &n_theirs, NULL), CLOZE_OK);
    assert_int_equal(n_ours, n_theirs);
    assert_memory_equal(ours, theirs, n_ours);
    mem_free(ours);
    mem_free(theirs);
    mem_free(items);
    ckpt_close(c);
}

static void test_refused_items(void **state)
{
    const ckpt_item good = {
        .name = "a", .dtype = DTYPE_F32, .rank = 1, .shape = {6}, .data = weights};
    struct { ckpt_item second; const char *fragment; } rows[] = {
        {good, "'a' would be written twice"},
        {{.name = "", .rank = 0, .data = weights}, "no name"},
        {{.name = "\xff", .rank = 0, .data = weights}, "no name in UTF-8"},
        {{.name = "__metadata__", .rank = 0, .data = weights}, "reserved"},
        {{.name = "b", .rank = 9, .data = weights}, "too many dimensions"},
        {{.name = "b", .rank = 1, .shape = {-1}, .data = weights}, "impossible shape"},
        {{.name = "b", .rank = 2, .shape = {INT64_MAX, 2}, .data = weights}, "impossible shape"},
        {{.name = "b", .rank = 1, .shape = {1}}, "no data"},
        {{.name = "b", .dtype = DTYPE_I64, .data = weights, .from_f32 = true},
         "cannot be written as I64"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        ckpt_item items[] = {good, rows[i].second};
        cloze_error err = {0};
        assert_int_equal(safetensors_write(at("m"), items, 2, NULL, 0, &err), CLOZE_ERR_INTERNAL);
        assert_non_null(strstr(err.message, rows[i].fragment));
        assert_int_equal(torch_write(at("m"), items, 2, &err), CLOZE_ERR_INTERNAL);
        assert_false(file_exists(at("m")));
    }
    cloze_error err = {0};
    assert_int_equal(safetensors_write(at("no/such/dir"), &good, 1, NULL, 0, &err), CLOZE_ERR_IO);
}

static void test_shards(void **state)
{
    const ckpt_item items[] = {
        {.name = "a", .dtype = DTYPE_F32, .rank = 1, .shape = {2}, .data = weights},
        {.name = "b", .dtype = DTYPE_F32, .rank = 1, .shape = {2}, .data = weights + 2},
        {.name = "large", .dtype = DTYPE_F32, .rank = 1, .shape = {6}, .data = weights},
        {.name = "c", .dtype = DTYPE_I64, .rank = 1, .shape = {1}, .data = ids},
    };
    assert_int_equal(safetensors_write(at("whole"), items, 4, NULL, 0, NULL), CLOZE_OK);
    char whole[512];
    snprintf(whole, sizeof whole, "%s", test_path);
    assert_int_equal(safetensors_write_sharded(test_dir, items, 4, NULL, 0, 1 << 20, NULL),
                     CLOZE_OK);
    assert_true(file_exists(at("model.safetensors")));
    assert_same_file(test_dir, whole);
    assert_int_equal(safetensors_write_sharded(test_dir, items, 4, NULL, 0, 16, NULL), CLOZE_OK);
    assert_false(file_exists(at("model.safetensors"))); /* the earlier save would hide this one */
    assert_true(file_exists(at("model-00003-of-00003.safetensors")));
    assert_same_file(test_dir, whole);
    assert_same_file(at("model.safetensors.index.json"), whole); /* the index itself can be named */
    ckpt *c = open_ok(test_dir);
    assert_non_null(strstr(ckpt_find(c, "b")->file, "model-00001-of-00003"));
    assert_non_null(strstr(ckpt_find(c, "large")->file, "model-00002-of-00003"));
    ckpt_close(c);
    assert_int_equal(safetensors_write_sharded(test_dir, items, 4, NULL, 0, 1 << 20, NULL),
                     CLOZE_OK);
    assert_false(file_exists(at("model.safetensors.index.json")));

    assert_int_equal(safetensors_write_sharded(test_dir, items, 4, NULL, 0, 16, NULL), CLOZE_OK);
    unlink(at("model-00002-of-00003.safetensors"));
    assert_refused(test_dir, "model-00002-of-00003.safetensors is missing");
}

static void test_refused_indexes(void **state)
{
    static const struct { const char *text, *fragment; } rows[] = {
        {"{\"weight_map\":{\"a\":\"../s.safetensors\"}}",
         "'../s.safetensors' is not a plain file name"},
        {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "not a plain file name"},
        {"{\"weight_map\":{\"a\":\"..\"}}", "not a plain file name"},
        {"{\"weight_map\":{\"a\":\"x\\\\s.safetensors\"}}", "not a plain file name"},
        {"{\"weight_map\":{\"a\":\"\"}}", "not a plain file name"},
        {"{\"weight_map\":{\"a\":7}}", "the shard of tensor 'a' is not a string"},
        {"{\"weight_map\":{\"a\":\"absent.safetensors\"}}", "'absent.safetensors' is named by"},
        {"{\"weight_map\":{\"b\":\"s.safetensors\"}}", "tensor 'b' is not in shard s.safetensors"},
        {"{\"weight_map\":{\"a\":\"s.safetensors\",\"b\":\"t.safetensors\"}}",
         "'a' is there twice"},
        {"{\"weight_map\":{\"a\":\"model.safetensors.index.json\"}}", "neither safetensors"},
        {"{\"weight_map\":{}}", "no \"weight_map\""},
        {"{\"weight_map\":[\"a\"]}", "no \"weight_map\""},
        {"{}", "no \"weight_map\""},
        {"7", "no \"weight_map\""},
        {"", "index.json"},
    };
    put_safetensors("s.safetensors", "{" T("a", "U8", "[1]", "[0,1]") "}", 1);
    put_safetensors("t.safetensors", "{" T("a", "U8", "[1]", "[0,1]") "}", 1);
    for (size_t i = 0; i < COUNT(rows); i++) {
        put_file("model.safetensors.index.json", rows[i].text, strlen(rows[i].text));
        assert_refused(test_dir, rows[i].fragment);
    }
}

static void test_damage(void **state)
{
    assert_survives_damage(DATA_DIR "sample.safetensors", true);
    assert_survives_no_memory(DATA_DIR "sample.safetensors");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_refused_headers, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_refused_files, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_accepted, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_advise_dontneed, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_written_is_read, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_same_bytes_as_the_library, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_refused_items, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_shards, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_refused_indexes, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_damage, test_setup, test_teardown),
    };
    return cmocka_run_group_tests_name("safetensors", tests, NULL, NULL);
}
