/*
 * Writer of safetensors files, whole and sharded. The order of tensors (larger element types first,
 * then by name, so that every tensor is aligned) and the header's spelling and padding are those of
 * the safetensors library: the same tensors give the same bytes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "ckpt/write_internal.h"

#define HEADER_BYTES_MAX ((size_t)100000000)

/* The library's rank of a dtype; the header goes from high to low. */
static int dtype_rank(cloze_dtype dtype)
{
    static const int ranks[DTYPE_COUNT] = {
        [DTYPE_BOOL] = 0, [DTYPE_U8] = 1,  [DTYPE_I8] = 2,  [DTYPE_I16] = 3, [DTYPE_F16] = 4,
        [DTYPE_BF16] = 5, [DTYPE_I32] = 6, [DTYPE_F32] = 7, [DTYPE_F64] = 8, [DTYPE_I64] = 9};
    return ranks[dtype];
}

static int compare_items(const void *a, const void *b)
{
    const ckpt_item *x = *(const ckpt_item *const *)a, *y = *(const ckpt_item *const *)b;
    int order = dtype_rank(y->dtype) - dtype_rank(x->dtype);
    return order ? order : strcmp(x->name, y->name);
}

static void append_metadata(buf *header, const ckpt_metadata *meta, size_t n_meta)
{
    bool has_format = false;
    for (size_t i = 0; i < n_meta; i++) has_format |= strcmp(meta[i].key, "format") == 0;
    buf_puts(header, "{\"__metadata__\":{");
    if (!has_format) buf_puts(header, "\"format\":\"pt\"");
    for (size_t i = 0; i < n_meta; i++) {
        if (i > 0 || !has_format) buf_putc(header, ',');
        buf_json_string(header, meta[i].key, strlen(meta[i].key));
        buf_putc(header, ':');
        buf_json_string(header, meta[i].value, strlen(meta[i].value));
    }
    buf_putc(header, '}');
}

static void append_item(buf *header, const ckpt_item *item, uint64_t *at)
{
    buf_putc(header, ',');
    buf_json_string(header, item->name, strlen(item->name));
    buf_printf(header, ":{\"dtype\":\"%s\",\"shape\":[", dtype_name(item->dtype));
    for (int i = 0; i < item->rank; i++)
        buf_printf(header, i ? ",%lld" : "%lld", (long long)item->shape[i]);
    uint64_t end = *at + write_item_bytes(item);
    buf_printf(header, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)*at,
               (unsigned long long)end);
    *at = end;
}

static cloze_status write_sorted(file_writer *w, const ckpt_item *const *items, size_t n_items,
                                 const ckpt_metadata *meta, size_t n_meta, cloze_error *err)
{
    buf header;
    buf_init(&header, HEADER_BYTES_MAX);
    append_metadata(&header, meta, n_meta);
    uint64_t at = 0;
    for (size_t i = 0; i < n_items; i++) append_item(&header, items[i], &at);
    buf_putc(&header, '}');
    while (buf_ok(&header) && header.len % 8 != 0) buf_putc(&header, ' ');
    cloze_status status = buf_ok(&header)
        ? CLOZE_OK
        : error_set(err, CLOZE_ERR_MEMORY, "%s: no memory for the header, or over 100 MB", w->path);
    if (status == CLOZE_OK) {
        uint8_t length[8];
        for (int i = 0; i < 8; i++) length[i] = (uint8_t)(header.len >> (8 * i));
        /* A failed write shows in ferror, which the commit checks. */
        (void)(write_sink_file(w->stream, length, 8) &&
               write_sink_file(w->stream, header.data, header.len));
        for (size_t i = 0; i < n_items && status == CLOZE_OK && !ferror(w->stream); i++)
            status = write_item(items[i], w->stream, err);
    }
    buf_deinit(&header);
    return status;
}

/* items are already checked. */
static cloze_status write_file(const char *path, const ckpt_item *items, size_t n_items,
                               const ckpt_metadata *meta, size_t n_meta, cloze_error *err)
{
    const ckpt_item **sorted;
    MEM_NEW(err, sorted, n_items);
    for (size_t i = 0; i < n_items; i++) sorted[i] = &items[i];
    qsort(sorted, n_items, sizeof *sorted, compare_items);
    file_writer w;
    cloze_status status = file_writer_open(&w, path, err);
    if (status == CLOZE_OK) {
        status = write_sorted(&w, sorted, n_items, meta, n_meta, err);
        if (status == CLOZE_OK) status = file_writer_commit(&w, err);
        else file_writer_abort(&w);
    }
    mem_free(sorted);
    return status;
}

cloze_status safetensors_write(const char *path, const ckpt_item *items, size_t n_items,
                               const ckpt_metadata *meta, size_t n_meta, cloze_error *err)
{
    CLOZE_TRY(write_check_items(path, items, n_items, err));
    return write_file(path, items, n_items, meta, n_meta, err);
}

/* How many items, from `first` on, go into one shard. */
static size_t shard_length(const ckpt_item *items, size_t n_items, size_t first, uint64_t max_bytes)
{
    uint64_t bytes = 0;
    size_t n = 0;
    while (first + n < n_items) {
        bytes += write_item_bytes(&items[first + n]);
        if (n > 0 && bytes > max_bytes) break;
        n++;
    }
    return n;
}

/* model-00001-of-00003.safetensors, as Hugging Face names them. */
static const char *shard_name(char *name, size_t size, size_t i, size_t n)
{
    snprintf(name, size, "model-%05zu-of-%05zu.safetensors", i + 1, n);
    return name;
}

/* The index; keys sorted by the order of the items, total_size as transformers counts it. */
static cloze_status write_index(const char *path, const ckpt_item *items, size_t n_items,
                                size_t n_shards, uint64_t max_bytes, cloze_error *err)
{
    uint64_t total = 0;
    for (size_t i = 0; i < n_items; i++) total += write_item_bytes(&items[i]);
    buf text;
    char name[64];
    buf_init(&text, (size_t)1 << 30);
    buf_printf(&text, "{\n  \"metadata\": {\n    \"total_size\": %llu\n  },\n  \"weight_map\": {",
               (unsigned long long)total);
    for (size_t shard = 0, first = 0; shard < n_shards; shard++) {
        size_t end = first + shard_length(items, n_items, first, max_bytes);
        for (; first < end; first++) {
            buf_puts(&text, first ? ",\n    " : "\n    ");
            buf_json_string(&text, items[first].name, strlen(items[first].name));
            buf_printf(&text, ": \"%s\"", shard_name(name, sizeof name, shard, n_shards));
        }
    }
    buf_puts(&text, "\n  }\n}\n");
    cloze_status status = buf_ok(&text)
        ? file_write_atomic(path, text.data, text.len, err)
        : error_set(err, CLOZE_ERR_MEMORY, "%s: out of memory", path);
    buf_deinit(&text);
    return status;
}

/* dir/name into *path (mem_free). */
static cloze_status join(const char *dir, const char *name, char **path, cloze_error *err)
{
    *path = path_join(dir, name);
    if (!*path) CLOZE_FAIL(err, MEMORY, "out of memory while writing to %s", dir);
    return CLOZE_OK;
}

/* Removes what an earlier save under the other layout left: a reader would take it for this one. */
static cloze_status remove_stale(const char *dir, const char *name, cloze_error *err)
{
    char *path;
    CLOZE_TRY(join(dir, name, &path, err));
    cloze_status status = CLOZE_OK;
    if (file_exists(path) && remove(path) != 0)
        status = error_set(err, CLOZE_ERR_IO, "%s is in the way and cannot be removed", path);
    mem_free(path);
    return status;
}

static cloze_status write_shards(const char *dir, const ckpt_item *items, size_t n_items,
                                 const ckpt_metadata *meta, size_t n_meta, size_t n_shards,
                                 uint64_t max_bytes, cloze_error *err)
{
    char name[64], *path;
    for (size_t shard = 0, first = 0; shard < n_shards; shard++) {
        size_t n = shard_length(items, n_items, first, max_bytes);
        CLOZE_TRY(join(dir, shard_name(name, sizeof name, shard, n_shards), &path, err));
        cloze_status status = write_file(path, items + first, n, meta, n_meta, err);
        mem_free(path);
        CLOZE_TRY(status);
        first += n;
    }
    CLOZE_TRY(join(dir, "model.safetensors.index.json", &path, err));
    cloze_status status = write_index(path, items, n_items, n_shards, max_bytes, err);
    mem_free(path);
    CLOZE_TRY(status);
    return remove_stale(dir, "model.safetensors", err);
}

cloze_status safetensors_write_sharded(const char *dir, const ckpt_item *items, size_t n_items,
                                       const ckpt_metadata *meta, size_t n_meta,
                                       uint64_t max_shard_bytes, cloze_error *err)
{
    CLOZE_TRY(write_check_items(dir, items, n_items, err));
    size_t n_shards = 0;
    for (size_t first = 0; first < n_items; n_shards++)
        first += shard_length(items, n_items, first, max_shard_bytes);
    if (n_shards > 1)
        return write_shards(dir, items, n_items, meta, n_meta, n_shards, max_shard_bytes, err);
    char *path;
    CLOZE_TRY(join(dir, "model.safetensors", &path, err));
    cloze_status status = write_file(path, items, n_items, meta, n_meta, err);
    mem_free(path);
    CLOZE_TRY(status);
    return remove_stale(dir, "model.safetensors.index.json", err);
}
