/* ckpt: torch's .bin, both layouts, read, written and refused. */
#include "ckpt_test.h"

#include <zlib.h>

#include "base/buf.h"
#include "ckpt/checkpoint_write.h"

#define BYTES(text) text, sizeof(text) - 1

/* Zip records as a test wants them, lies included. */
typedef struct member {
    const char *name, *data;
    size_t n;
    int method, flags;
    uint32_t claimed_bytes; /* 0: the truth */
    uint32_t shift;         /* added to the local header's offset */
    bool zip64;
} member;

static void put_le(buf *b, uint64_t value, int n)
{
    for (int i = 0; i < n; i++) buf_putc(b, i < 8 ? (char)(value >> (8 * i)) : 0);
}

static void put_sizes(buf *b, const member *m, size_t stored)
{
    put_le(b, 20, 2);
    put_le(b, (uint64_t)m->flags, 2);
    put_le(b, (uint64_t)m->method, 2);
    put_le(b, 0, 8); /* time, crc */
    put_le(b, m->zip64 ? UINT32_MAX : stored, 4);
    put_le(b, m->zip64 ? UINT32_MAX : m->claimed_bytes ? m->claimed_bytes : m->n, 4);
    put_le(b, strlen(m->name), 2);
}

static size_t put_member(buf *b, const member *m)
{
    uint8_t packed[4096];
    size_t stored = m->n;
    const void *data = m->data;
    if (m->method == 8) { /* raw deflate */
        z_stream s = {.next_in = (Bytef *)(uintptr_t)m->data, .avail_in = (uInt)m->n,
                      .next_out = packed, .avail_out = sizeof packed};
        assert_int_equal(deflateInit2(&s, 9, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
        assert_int_equal(deflate(&s, Z_FINISH), Z_STREAM_END);
        stored = sizeof packed - s.avail_out;
        data = packed;
        deflateEnd(&s);
    }
    put_le(b, 0x04034b50, 4);
    put_sizes(b, m, stored);
    put_le(b, 0, 2);
    buf_puts(b, m->name);
    buf_append(b, data, stored);
    return stored;
}

static void put_central(buf *b, const member *m, size_t stored, size_t offset)
{
    put_le(b, 0x02014b50, 4);
    put_le(b, 20, 2);
    put_sizes(b, m, stored);
    put_le(b, m->zip64 ? 4 + 2 + 28 : 0, 2);
    put_le(b, 0, 10);
    put_le(b, m->zip64 ? UINT32_MAX : offset + m->shift, 4);
    buf_puts(b, m->name);
    if (!m->zip64) return;
    put_le(b, 0x4246, 2); /* some other extra field first */
    put_le(b, 2, 2);
    put_le(b, 0, 2);
    put_le(b, 1, 2);
    put_le(b, 24, 2);
    put_le(b, m->n, 8);
    put_le(b, stored, 8);
    put_le(b, offset + m->shift, 8);
}

static const char *put_zip(const member *members, size_t n, bool zip64)
{
    buf b;
    buf_init(&b, 1 << 20);
    size_t offsets[8], stored[8];
    for (size_t i = 0; i < n; i++) {
        offsets[i] = b.len;
        stored[i] = put_member(&b, &members[i]);
    }
    size_t begin = b.len;
    for (size_t i = 0; i < n; i++) put_central(&b, &members[i], stored[i], offsets[i]);
    size_t end = b.len;
    if (zip64) {
        put_le(&b, 0x06064b50, 4);
        put_le(&b, 44, 8);
        put_le(&b, 0, 12);
        put_le(&b, n, 8);
        put_le(&b, n, 8);
        put_le(&b, end - begin, 8);
        put_le(&b, begin, 8);
        put_le(&b, 0x07064b50, 4);
        put_le(&b, 0, 4);
        put_le(&b, end, 8);
        put_le(&b, 1, 4);
    }
    put_le(&b, 0x06054b50, 4);
    put_le(&b, 0, 4);
    put_le(&b, zip64 ? 0xffff : n, 2);
    put_le(&b, zip64 ? 0xffff : n, 2);
    put_le(&b, zip64 ? UINT32_MAX : end - begin, 4);
    put_le(&b, zip64 ? UINT32_MAX : begin, 4);
    put_le(&b, 5, 2);
    buf_puts(&b, "hello"); /* a comment */
    assert_true(buf_ok(&b));
    const char *path = put_file("m.bin", b.data, b.len);
    buf_deinit(&b);
    return path;
}

/* A pickled tensor; every number is the operand bytes of an opcode such as K\002. */
#define TENSOR_OF(type, key, count, offset, size, stride)                                         \
    "ctorch._utils\n_rebuild_tensor_v2\n((U\007storagectorch\n" type "\n" key "U\003cpu" count    \
    "tQ" offset size stride "\x89)tR"
#define TENSOR(count, offset, size, stride) \
    TENSOR_OF("FloatStorage", "U\0010", count, offset, size, stride)
#define GOOD TENSOR("K\006", "K\000", "K\002K\003\x86", "K\003K\001\x86")

static const float values[6] = {0, 1, 2, 3, 4, 5};
#define STORAGE {"a/data/0", (const char *)values, sizeof values, 0, 0, 0, 0, false}
#define PICKLE(text) {.name = "a/data.pkl", .data = text, .n = sizeof(text) - 1}

static void test_fixtures(void **state)
{
    assert_same_file(DATA_DIR "torch_zip.bin", DATA_DIR "sample.safetensors");
    assert_same_file(DATA_DIR "torch_legacy.bin", DATA_DIR "sample.safetensors");
    static const struct { const char *file, *format; } rows[] = {
        {DATA_DIR "torch_zip.bin", "torch"}, {DATA_DIR "torch_legacy.bin", "torch (legacy)"}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        ckpt *c = open_ok(rows[i].file);
        assert_string_equal(ckpt_format(c), rows[i].format);
        const ckpt_tensor *base = ckpt_find(c, "bert.embeddings.word_embeddings.weight");
        const ckpt_tensor *turned = ckpt_find(c, "transposed.weight");
        assert_ptr_equal(base->data,
                         ckpt_find(c, "tied.weight")->data); /* one storage, not copied */
        assert_ptr_equal(base->data, turned->data);
        assert_true(base->mapped && base->contiguous && !turned->contiguous);
        assert_true(turned->stride[0] == 1 && turned->stride[1] == 8);
        float x[48], y[48];
        assert_int_equal(ckpt_read_f32(base, x, 48, NULL), CLOZE_OK);
        assert_int_equal(ckpt_read_f32(turned, y, 48, NULL), CLOZE_OK);
        for (int r = 0; r < 6; r++)
            for (int k = 0; k < 8; k++) assert_true(x[r * 8 + k] == y[k * 6 + r]);
        ckpt_close(c);
    }
}

/* A transposed matrix of 700 columns, gathered in more than one piece, for every element size. */
static void test_long_strided_rows(void **state)
{
    enum { ROWS = 700, COLUMNS = 3, N = ROWS * COLUMNS };
    static const cloze_dtype dtypes[] = {DTYPE_U8, DTYPE_I16, DTYPE_I32, DTYPE_I64};
    uint8_t *data = mem_alloc(8 * N), *out = mem_alloc(8 * N);
    float *values_out = mem_alloc(sizeof(float) * N), *expected = mem_alloc(sizeof(float) * N);
    for (int i = 0; i < 8 * N; i++) data[i] = (uint8_t)(i * 31 + i / 256);
    for (size_t d = 0; d < COUNT(dtypes); d++) {
        size_t size = dtype_size(dtypes[d]);
        ckpt_tensor t = {.name = "t", .file = "f", .dtype = dtypes[d], .rank = 2,
                         .shape = {COLUMNS, ROWS}, .stride = {1, COLUMNS}, .count = N,
                         .data = data, .bytes = size * N};
        assert_int_equal(ckpt_read_raw(&t, out, t.bytes, NULL), CLOZE_OK);
        assert_int_equal(ckpt_read_f32(&t, values_out, N, NULL), CLOZE_OK);
        dtype_to_f32(expected, data, dtypes[d], N);
        for (size_t k = 0; k < COLUMNS; k++) {
            for (size_t r = 0; r < ROWS; r++) {
                assert_memory_equal(out + (k * ROWS + r) * size, data + (r * COLUMNS + k) * size,
                                    size);
                assert_true(values_out[k * ROWS + r] == expected[r * COLUMNS + k]);
            }
        }
    }
    mem_free(data);
    mem_free(out);
    mem_free(values_out);
    mem_free(expected);
}

#define LEGACY_HEAD                                                                               \
    "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}."
#define LEGACY_DICT(view)                                                                         \
    "\x80\x02}U\001wctorch._utils\n_rebuild_tensor_v2\n((U\007storagectorch\nFloatStorage\n"       \
    "U\0010U\003cpuK\002" view "tQK\000K\001\x85K\001\x85\x89)tRs."
#define LEGACY_DATA "\002\000\000\000\000\000\000\000\000\000\x80\x3f\000\000\000\x40" /* 1, 2 */

static void test_crafted_legacy(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
        float value;
        const char *fragment; /* NULL: "w" is read and begins with value */
    } rows[] = {
        {BYTES(LEGACY_HEAD LEGACY_DICT("") "\x80\x02]U\0010a." LEGACY_DATA), 1, NULL},
        {BYTES(LEGACY_HEAD LEGACY_DICT("N") "\x80\x02]U\0010a." LEGACY_DATA), 1, NULL},
        {BYTES(LEGACY_HEAD LEGACY_DICT("U\0011K\001K\001\x87") "\x80\x02]U\0010a." LEGACY_DATA), 2,
         NULL},
        {BYTES(LEGACY_HEAD LEGACY_DICT("U\0011NK\001\x87") "\x80\x02]U\0010a." LEGACY_DATA), 0,
         "a storage view without an offset"},
        {BYTES(LEGACY_HEAD LEGACY_DICT("U\0011K\003K\001\x87") "\x80\x02]U\0010a." LEGACY_DATA), 0,
         "a negative size"},
        {BYTES(LEGACY_HEAD LEGACY_DICT("U\0011K\002K\000\x87") "\x80\x02]U\0010a." LEGACY_DATA), 0,
         "needs 4 bytes, but its storage has 0"},
        {BYTES(LEGACY_HEAD LEGACY_DICT("") "\x80\x02]." LEGACY_DATA), 0, "is not in the file"},
        {BYTES(LEGACY_HEAD LEGACY_DICT("") "\x80\x02N." LEGACY_DATA), 0, "no list of storages"},
        {BYTES(LEGACY_HEAD LEGACY_DICT("") "\x80\x02]U\0011a." LEGACY_DATA), 0, "does not match"},
        {BYTES(LEGACY_HEAD LEGACY_DICT("") "\x80\x02](U\0010U\0010e." LEGACY_DATA LEGACY_DATA), 0,
         "does not match the tensors"},
        {BYTES(LEGACY_HEAD LEGACY_DICT("") "\x80\x02]U\0010a.\003\000\000\000\000\000\000\000"), 0,
         "a storage has 3 elements where 2 are wanted"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (rows[i].fragment) {
            assert_refused(put_file("m.bin", rows[i].bytes, rows[i].n), rows[i].fragment);
            continue;
        }
        ckpt *c;
        cloze_error err;
        if (ckpt_open_memory(rows[i].bytes, rows[i].n, "memory", &c, &err) != CLOZE_OK)
            fail_msg("%s", err.message);
        float value;
        assert_int_equal(ckpt_read_f32(ckpt_find(c, "w"), &value, 1, NULL), CLOZE_OK);
        assert_true(value == rows[i].value);
        assert_false(ckpt_find(c, "w")->mapped); /* constants of this program */
        ckpt_advise_dontneed(ckpt_find(c, "w"));
        ckpt_close(c);
    }
}

/* The tensor "w" holds 0..5 in the shape (2,3). */
static void assert_good(const char *path)
{
    ckpt *c = open_ok(path);
    float out[6];
    const ckpt_tensor *w = ckpt_find(c, "w");
    assert_non_null(w);
    assert_true(w->rank == 2 && w->shape[0] == 2 && w->shape[1] == 3);
    assert_int_equal(ckpt_read_f32(w, out, 6, NULL), CLOZE_OK);
    assert_memory_equal(out, values, sizeof values);
    ckpt_close(c);
}

static void test_crafted_zips(void **state)
{
    member members[] = {PICKLE("\x80\002}U\001w" GOOD "s."), STORAGE};
    assert_good(put_zip(members, 2, false));
    assert_good(put_zip(members, 2, true));
    members[0].zip64 = members[1].zip64 = true;
    assert_good(put_zip(members, 2, true));
    members[0].method = members[1].method = 8;
    assert_good(put_zip(members, 2, false));
    ckpt *c = open_ok(test_path);
    assert_false(ckpt_at(c, 0)->mapped); /* inflated memory must not be given back to the kernel */
    ckpt_advise_dontneed(ckpt_at(c, 0));
    ckpt_close(c);
    assert_good(test_path);
    assert_survives_no_memory(test_path);
}

static void test_big_endian(void **state)
{
    uint8_t swapped[sizeof values];
    for (size_t i = 0; i < sizeof values; i++)
        swapped[i] = ((const uint8_t *)values)[(i & ~3u) + 3 - (i & 3)];
    member members[] = {PICKLE("\x80\002}(U\001w" GOOD "U\001v" GOOD "u."),
                        {.name = "a/data/0", .data = (const char *)swapped, .n = sizeof swapped},
                        {.name = "a/byteorder", .data = "big", .n = 3}};
    assert_good(put_zip(members, 3, false));
    members[2].data = "mid";
    assert_refused(put_zip(members, 3, false), "the byte order is neither little nor big");
}

static void test_nested(void **state)
{
    static const struct { const char *pickle; size_t n; } rows[] = {
        {BYTES("\x80\002}(U\005epochK\003U\005model}U\001w" GOOD "su.")},
        {BYTES("\x80\002}U\nstate_dict}U\006module}U\001w" GOOD "sss.")},
        {BYTES("\x80\002}(U\004lossK\001U\001w" GOOD "u.")}, /* a number among the tensors */
        {BYTES("\x80\002ccollections\nOrderedDict\n)RU\001w" GOOD "s}U\t_metadata}sb.")},
        {BYTES("\x80\002}U\001wctorch._utils\n_rebuild_parameter\n(" GOOD "\x88)tRs.")},
        {BYTES("\x80\004\x95\000\000\000\000\000\000\000\000}\x94\x8c\001w" GOOD "s.")},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        member members[] = {{.name = "a/data.pkl", .data = rows[i].pickle, .n = rows[i].n},
                            STORAGE};
        assert_good(put_zip(members, 2, false));
    }
}

#define DICT(tensor) BYTES("\x80\002}U\001w" tensor "s.")

static void test_refused_tensors(void **state)
{
    static const struct { const char *pickle; size_t n; const char *fragment; } rows[] = {
        {DICT(TENSOR("K\006", "K\001", "K\006\x85", "K\001\x85")),
         "needs 28 bytes, but its storage has 24"},
        {DICT(TENSOR("K\006", "K\000", "K\002K\003\x86", "K\004K\001\x86")), "needs 28 bytes"},
        {DICT(TENSOR("K\005", "K\000", "K\006\x85", "K\001\x85")),
         "needs 24 bytes, but its storage has 20"},
        {DICT(TENSOR("K\007", "K\000", "K\006\x85", "K\001\x85")),
         "claims 7 elements of F32, but has 24"},
        {DICT(TENSOR("J\xff\xff\xff\xff", "K\000", "K\006\x85", "K\001\x85")), "a negative size"},
        {DICT(TENSOR("K\006", "J\xff\xff\xff\xff", "K\001\x85", "K\001\x85")), "size overflows"},
        {DICT(TENSOR("K\006", "K\000", "J\xff\xff\xff\xff\x85", "K\001\x85")),
         "negative size or stride"},
        {DICT(TENSOR("K\006", "K\005", "K\006\x85", "J\xff\xff\xff\xff\x85")),
         "negative size or stride"},
        {DICT(TENSOR("K\006", "K\000", "K\006\x85", "K\001K\001\x86")),
         "no proper storage, offset, sizes"},
        {DICT(TENSOR("K\006", "N", "K\006\x85", "K\001\x85")), "no proper storage"},
        {DICT(TENSOR("K\006", "K\000", "N", "K\001\x85")), "no proper storage"},
        {DICT(TENSOR("K\006", "K\000", "(K\001K\001K\001K\001K\001K\001K\001K\001K\001t",
                     "(K\001K\001K\001K\001K\001K\001K\001K\001K\001t")),
         "no proper storage"},
        {DICT(TENSOR("K\006", "K\000", "\x8a\010\000\000\000\000\000\000\000\x40K\004\x86",
                     "K\000K\000\x86")),
         "size overflows"},
        {DICT(
             TENSOR("K\006", "K\000", "K\002\x85", "\x8a\010\xff\xff\xff\xff\xff\xff\xff\x7f\x85")),
         "size overflows"},
        {DICT(TENSOR_OF("FloatStorage", "U\0011", "K\006", "K\000", "K\006\x85", "K\001\x85")),
         "storage '1' is not in the file"},
        {DICT(TENSOR_OF("FloatStorage", "K\000", "K\006", "K\000", "K\006\x85", "K\001\x85")),
         "no storage of a known type"},
        {DICT(TENSOR_OF("float32", "U\0010", "K\006", "K\000", "K\006\x85", "K\001\x85")),
         "no storage of a known type"},
        {DICT(TENSOR_OF("QInt8Storage", "U\0010", "K\006", "K\000", "K\006\x85", "K\001\x85")),
         "global torch.QInt8Storage is refused"},
        {DICT("ctorch._utils\n_rebuild_tensor_v2\n)R"), "no proper storage"},
        {BYTES("\x80\002}K\001" GOOD "s."), "name is not a string"},
        {BYTES("\x80\002}(U\001w" GOOD "U\001w" GOOD "u."), "tensor 'w' is there twice"},
        {BYTES("\x80\002}U\002a\000" GOOD "s."), "not UTF-8"},
        {BYTES("\x80\002}U\001\xff" GOOD "s."), "not UTF-8"},
        {BYTES("\x80\002}."), "no state dict"},
        {BYTES("\x80\002]."), "no state dict"},
        {BYTES("\x80\002}q\000U\005modelh\000s."), "no state dict"}, /* a dict that holds itself */
        {BYTES("\x80\002}U\003optcbuiltins\ngetattr\ns."), "global builtins.getattr is refused"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        member members[] = {{.name = "a/data.pkl", .data = rows[i].pickle, .n = rows[i].n},
                            STORAGE};
        assert_refused(put_zip(members, 2, false), rows[i].fragment);
    }
}

static void test_refused_zips(void **state)
{
    const member good[] = {PICKLE("\x80\002}U\001w" GOOD "s."), STORAGE};
    member m[3] = {good[0], good[1]};
    assert_refused(put_file("z", "PK\003\004 and no directory at all....", 33), "no zip directory");
    m[1].flags = 1;
    assert_refused(put_zip(m, 2, false), "'a/data/0' is encrypted");
    m[1] = good[1];
    m[1].claimed_bytes = 25;
    assert_refused(put_zip(m, 2, false), "its two sizes differ");
    m[1].method = 8;
    assert_refused(put_zip(m, 2, false), "the packed data is damaged");
    m[1].claimed_bytes = 1 << 30;
    assert_refused(put_zip(m, 2, false), "more than deflate can");
    m[1] = good[1];
    m[1].shift = 1;
    assert_refused(put_zip(m, 2, false), "'a/data/0' is not where the directory says");
    m[1].shift = 1 << 30;
    assert_refused(put_zip(m, 2, false), "is not where the directory says");
    m[1] = m[2] = good[1];
    assert_refused(put_zip(m, 3, false), "'a/data/0' is there twice");
    m[0].name = "a/other.pkl";
    assert_refused(put_zip(m, 2, false), "no data.pkl");
}

/* Three storages that are one packed entry: together they claim more bytes than the file has. */
static void test_overlapping_entries(void **state)
{
    static char noise[3000];
    uint32_t x = 1;
    for (size_t i = 0; i < sizeof noise; i++) noise[i] = (char)((x = x * 1664525 + 1013904223) >> 24);
    member m[4] = {PICKLE("\x80\002}(U\001a"
                          TENSOR_OF("FloatStorage", "U\0010", "K\004", "K\000", "K\004\x85", "K\001\x85")
                          "U\001b"
                          TENSOR_OF("FloatStorage", "U\0011", "K\004", "K\000", "K\004\x85", "K\001\x85")
                          "U\001c"
                          TENSOR_OF("FloatStorage", "U\0012", "K\004", "K\000", "K\004\x85", "K\001\x85")
                          "u.")};
    for (int i = 1; i < 4; i++)
        m[i] = (member){.name = (const char *const[]){"a/data/0", "a/data/1", "a/data/2"}[i - 1],
                        .data = noise, .n = sizeof noise, .method = 8};
    put_zip(m, 4, false);
    ckpt_close(open_ok(at("m.bin")));
    buf b; /* the directory again, its entries all at the first one's place */
    size_t offsets[2], stored[2];
    buf_init(&b, 1 << 20);
    for (int i = 0; i < 2; i++) {
        offsets[i] = b.len;
        stored[i] = put_member(&b, &m[i]);
    }
    size_t begin = b.len;
    for (int i = 0; i < 4; i++) put_central(&b, &m[i], stored[i > 0], offsets[i > 0]);
    size_t end = b.len;
    put_le(&b, 0x06054b50, 4);
    put_le(&b, 0, 4);
    put_le(&b, 4, 2);
    put_le(&b, 4, 2);
    put_le(&b, end - begin, 4);
    put_le(&b, begin, 4);
    put_le(&b, 0, 2);
    assert_refused(put_file("o.bin", b.data, b.len), "zip entries overlap");
    buf_deinit(&b);
}

static void test_written_is_read(void **state)
{
    static const int64_t ids[2] = {INT64_MIN, 5000000000};
    const ckpt_item items[] = {
        {.name = "w", .dtype = DTYPE_F32, .rank = 2, .shape = {2, 3}, .data = values},
        {.name = "名.bf16", .dtype = DTYPE_BF16, .rank = 1, .shape = {6}, .data = values,
         .from_f32 = true},
        {.name = "ids", .dtype = DTYPE_I64, .rank = 1, .shape = {2}, .data = ids},
        {.name = "scalar", .dtype = DTYPE_F64, .data = ids},
        {.name = "empty", .dtype = DTYPE_U8, .rank = 2, .shape = {0, 3}},
    };
    assert_int_equal(safetensors_write(at("m"), items, COUNT(items), NULL, 0, NULL), CLOZE_OK);
    char path[512];
    snprintf(path, sizeof path, "%s", test_path);
    assert_int_equal(torch_write(at("pytorch_model.bin"), items, COUNT(items), NULL), CLOZE_OK);
    assert_good(test_path);
    assert_same_file(test_path, path);
    assert_same_file(test_dir, path); /* found by its name in the directory */
    ckpt *c = open_ok(test_path);
    for (size_t i = 0; i < ckpt_count(c); i++) {
        const ckpt_tensor *t = ckpt_at(c, i);
        if (t->count > 0) assert_int_equal((uintptr_t)t->data % 64, 0);
    }
    ckpt_close(c);
}

static void test_damage(void **state)
{
    assert_survives_damage(DATA_DIR "torch_zip.bin", true);
    assert_survives_damage(DATA_DIR "torch_legacy.bin", true);
    assert_survives_no_memory(DATA_DIR "torch_zip.bin");
    assert_survives_no_memory(DATA_DIR "torch_legacy.bin");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fixtures),
        cmocka_unit_test(test_long_strided_rows),
        cmocka_unit_test_setup_teardown(test_crafted_legacy, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_crafted_zips, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_big_endian, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_nested, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_refused_tensors, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_refused_zips, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_overlapping_entries, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_written_is_read, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_damage, test_setup, test_teardown),
    };
    return cmocka_run_group_tests_name("torch", tests, NULL, NULL);
}
