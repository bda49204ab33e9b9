/*
 * Writer of torch's .bin: a zip of stored entries (archive/data.pkl, archive/byteorder,
 * archive/version, archive/data/<i>) whose pickle is an OrderedDict of _rebuild_tensor_v2 calls,
 * one storage for each tensor. Data begin at multiples of 64 bytes, as torch does it for mmap.
 * zip64 records appear only where sizes need them.
 */
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "ckpt/write_internal.h"

#define ALIGNMENT 64
#define NAME_MAX_BYTES 64
#define U32_MAX 0xffffffffu

typedef struct zip_record {
    char name[NAME_MAX_BYTES];
    uint64_t at, bytes; /* of the local header; of the data */
    uint32_t crc;
} zip_record;

typedef struct zip_writer {
    file_writer file;
    uint64_t at; /* bytes written so far */
    zip_record *records; /* (n_records) */
    size_t n_records;
    bool failed;
} zip_writer;

static void put(zip_writer *z, const void *bytes, size_t n)
{
    if (!z->failed && !write_sink_file(z->file.stream, bytes, n)) z->failed = true;
    z->at += n;
}

/* A little-endian number of n bytes. */
static void put_uint(zip_writer *z, uint64_t value, size_t n)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < n; i++) bytes[i] = (uint8_t)(value >> (8 * i));
    put(z, bytes, n);
}

static uint32_t cap32(uint64_t value) { return value < U32_MAX ? (uint32_t)value : U32_MAX; }

static bool put_sink(void *context, const void *bytes, size_t n)
{
    zip_writer *z = context;
    put(z, bytes, n);
    return !z->failed;
}

static bool crc_sink(void *context, const void *bytes, size_t n)
{
    uLong *crc = context;
    *crc = crc32_z(*crc, bytes, n);
    return true;
}

/* What local headers and the directory have in common, from the version on. */
static void put_record_fields(zip_writer *z, const zip_record *r, bool zip64)
{
    put_uint(z, zip64 ? 45 : 20, 2); /* version needed */
    put_uint(z, 0x0800, 2);          /* names are UTF-8 */
    put_uint(z, 0, 2);               /* stored */
    put_uint(z, 0, 4);               /* no time: the same weights give the same file */
    put_uint(z, r->crc, 4);
    put_uint(z, zip64 ? U32_MAX : r->bytes, 4);
    put_uint(z, zip64 ? U32_MAX : r->bytes, 4);
    put_uint(z, strlen(r->name), 2);
}

/* Writes the local header, padded so that the data behind it are aligned. */
static void begin_record(zip_writer *z, const char *name, uint64_t bytes, uint32_t crc)
{
    zip_record *r = &z->records[z->n_records++];
    *r = (zip_record){.at = z->at, .bytes = bytes, .crc = crc};
    snprintf(r->name, sizeof r->name, "%s", name);
    bool zip64 = bytes >= U32_MAX;
    size_t extra = (zip64 ? 20 : 0) + 4; /* and the header of the padding */
    size_t end = (size_t)((z->at + 30 + strlen(name) + extra) % ALIGNMENT);
    size_t padding = end ? ALIGNMENT - end : 0;
    put_uint(z, 0x04034b50, 4);
    put_record_fields(z, r, zip64);
    put_uint(z, extra + padding, 2);
    put(z, name, strlen(name));
    if (zip64) {
        put_uint(z, 1, 2);
        put_uint(z, 16, 2);
        put_uint(z, bytes, 8);
        put_uint(z, bytes, 8);
    }
    static const char zeros[ALIGNMENT];
    put(z, "FB", 2); /* the id that torch pads with */
    put_uint(z, padding, 2);
    put(z, zeros, padding);
}

static void put_record(zip_writer *z, const char *name, const void *data, size_t n)
{
    begin_record(z, name, n, (uint32_t)crc32_z(0, data, n));
    put(z, data, n);
}

static void put_central(zip_writer *z, const zip_record *r)
{
    bool zip64 = r->bytes >= U32_MAX, far = r->at >= U32_MAX;
    size_t extra = (zip64 ? 16 : 0) + (far ? 8 : 0);
    put_uint(z, 0x02014b50, 4);
    put_uint(z, 45, 2); /* version made by */
    put_record_fields(z, r, zip64);
    put_uint(z, extra ? extra + 4 : 0, 2);
    put_uint(z, 0, 2); /* comment */
    put_uint(z, 0, 2); /* disk */
    put_uint(z, 0, 2); /* internal attributes */
    put_uint(z, 0, 4); /* external attributes */
    put_uint(z, cap32(r->at), 4);
    put(z, r->name, strlen(r->name));
    if (!extra) return;
    put_uint(z, 1, 2);
    put_uint(z, extra, 2);
    if (zip64) {
        put_uint(z, r->bytes, 8);
        put_uint(z, r->bytes, 8);
    }
    if (far) put_uint(z, r->at, 8);
}

static void put_directory(zip_writer *z)
{
    uint64_t begin = z->at;
    for (size_t i = 0; i < z->n_records; i++) put_central(z, &z->records[i]);
    uint64_t end = z->at, n = z->n_records;
    if (begin >= U32_MAX || n >= 0xffff) {
        put_uint(z, 0x06064b50, 4);
        put_uint(z, 44, 8); /* bytes of this record from here on */
        put_uint(z, 45, 2);
        put_uint(z, 45, 2);
        put_uint(z, 0, 4);
        put_uint(z, 0, 4);
        put_uint(z, n, 8);
        put_uint(z, n, 8);
        put_uint(z, end - begin, 8);
        put_uint(z, begin, 8);
        put_uint(z, 0x07064b50, 4);
        put_uint(z, 0, 4);
        put_uint(z, end, 8);
        put_uint(z, 1, 4);
    }
    put_uint(z, 0x06054b50, 4);
    put_uint(z, 0, 4); /* disks */
    put_uint(z, n < 0xffff ? n : 0xffff, 2);
    put_uint(z, n < 0xffff ? n : 0xffff, 2);
    put_uint(z, cap32(end - begin), 4);
    put_uint(z, cap32(begin), 4);
    put_uint(z, 0, 2);
}

static void pickle_string(buf *b, const char *text)
{
    size_t n = strlen(text);
    uint8_t head[5] = {'X', (uint8_t)n, (uint8_t)(n >> 8), (uint8_t)(n >> 16), (uint8_t)(n >> 24)};
    buf_append(b, head, sizeof head);
    buf_append(b, text, n);
}

static void pickle_int(buf *b, int64_t value)
{
    uint8_t head[10] = {0x8a, 8}; /* LONG1; BININT where 32 bits will do, as picklers prefer it */
    size_t n = 10, from = 2;
    if (value <= INT32_MAX) {
        head[0] = 'J';
        n = 5;
        from = 1;
    }
    for (size_t i = from; i < n; i++) head[i] = (uint8_t)((uint64_t)value >> (8 * (i - from)));
    buf_append(b, head, n);
}

static const char *storage_type(cloze_dtype dtype)
{
    static const char *const names[DTYPE_COUNT] = {
        [DTYPE_F32] = "FloatStorage", [DTYPE_BF16] = "BFloat16Storage", [DTYPE_F16] = "HalfStorage",
        [DTYPE_F64] = "DoubleStorage", [DTYPE_I8] = "CharStorage", [DTYPE_U8] = "ByteStorage",
        [DTYPE_I16] = "ShortStorage", [DTYPE_I32] = "IntStorage", [DTYPE_I64] = "LongStorage",
        [DTYPE_BOOL] = "BoolStorage"};
    return names[dtype];
}

/* name, _rebuild_tensor_v2(persid('storage', type, key, 'cpu', n), 0, size, stride, False, {}) */
static void pickle_tensor(buf *b, const ckpt_item *item, size_t key)
{
    char text[NAME_MAX_BYTES];
    pickle_string(b, item->name);
    buf_puts(b, "ctorch._utils\n_rebuild_tensor_v2\n((");
    pickle_string(b, "storage");
    buf_printf(b, "ctorch\n%s\n", storage_type(item->dtype));
    snprintf(text, sizeof text, "%zu", key);
    pickle_string(b, text);
    pickle_string(b, "cpu");
    pickle_int(b, (int64_t)write_item_count(item));
    buf_puts(b, "tQ");
    pickle_int(b, 0);
    buf_putc(b, '(');
    for (int i = 0; i < item->rank; i++) pickle_int(b, item->shape[i]);
    buf_puts(b, "t(");
    for (int i = 0; i < item->rank; i++) {
        int64_t stride = 1;
        for (int k = i + 1; k < item->rank; k++) stride *= item->shape[k] > 0 ? item->shape[k] : 1;
        pickle_int(b, stride);
    }
    buf_puts(b, "t\x89" "ccollections\nOrderedDict\n)RtR"); /* 0x89: requires_grad is False */
}

static void pickle_items(buf *b, const ckpt_item *items, size_t n_items)
{
    buf_puts(b, "\x80\x02" "ccollections\nOrderedDict\n)R(");
    for (size_t i = 0; i < n_items; i++) pickle_tensor(b, &items[i], i);
    buf_puts(b, "u.");
}

static cloze_status put_storage(zip_writer *z, const ckpt_item *item, size_t key, cloze_error *err)
{
    char name[NAME_MAX_BYTES];
    ckpt_item loaded;
    void *block;
    uLong crc = 0;
    cloze_status status = write_item_load(item, &loaded, &block, err);
    if (status == CLOZE_OK) {
        write_item_stream(&loaded, crc_sink, &crc);
        snprintf(name, sizeof name, "archive/data/%zu", key);
        begin_record(z, name, write_item_bytes(item), (uint32_t)crc);
        write_item_stream(&loaded, put_sink, z);
    }
    mem_free(block);
    return status;
}

static cloze_status put_archive(zip_writer *z, const ckpt_item *items, size_t n_items,
                                const buf *pickled, cloze_error *err)
{
    put_record(z, "archive/data.pkl", pickled->data, pickled->len);
    put_record(z, "archive/byteorder", "little", 6);
    for (size_t i = 0; i < n_items && !z->failed; i++)
        CLOZE_TRY(put_storage(z, &items[i], i, err));
    put_record(z, "archive/version", "3\n", 2);
    put_directory(z);
    return CLOZE_OK;
}

cloze_status torch_write(const char *path, const ckpt_item *items, size_t n_items, cloze_error *err)
{
    CLOZE_TRY(write_check_items(path, items, n_items, err));
    zip_writer z = {0};
    MEM_NEW(err, z.records, n_items + 3);
    buf pickled;
    buf_init(&pickled, (size_t)1 << 30);
    pickle_items(&pickled, items, n_items);
    cloze_status status = buf_ok(&pickled)
        ? file_writer_open(&z.file, path, err)
        : error_set(err, CLOZE_ERR_MEMORY, "%s: out of memory", path);
    if (status == CLOZE_OK) {
        status = put_archive(&z, items, n_items, &pickled, err);
        if (status == CLOZE_OK) status = file_writer_commit(&z.file, err); /* sees ferror */
        else file_writer_abort(&z.file);
    }
    buf_deinit(&pickled);
    mem_free(z.records);
    return status;
}
