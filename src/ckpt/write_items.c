/* What the writers share: checking of items, and streaming one item's bytes. */
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "ckpt/write_internal.h"

#define PIECE_ELEMENTS 4096

static cloze_status check_item(const char *path, const ckpt_item *item, cloze_error *err)
{
    if (!item->name || !item->name[0] ||
        utf8_valid_prefix(item->name, strlen(item->name)) != strlen(item->name))
        CLOZE_FAIL(err, INTERNAL, "%s: a tensor to be written has no name in UTF-8", path);
    if (strcmp(item->name, "__metadata__") == 0 || item->rank < 0 || item->rank > CKPT_MAX_RANK)
        CLOZE_FAIL(err, INTERNAL, "%s: tensor '%s' has a reserved name or too many dimensions",
                   path, item->name);
    if (item->from_f32 && !dtype_is_float(item->dtype))
        CLOZE_FAIL(err, INTERNAL, "%s: tensor '%s': floats cannot be written as %s", path,
                   item->name, dtype_name(item->dtype));
    int64_t bytes = (int64_t)dtype_size(item->dtype);
    for (int i = 0; i < item->rank; i++) {
        if (item->shape[i] < 0 || __builtin_mul_overflow(bytes, item->shape[i], &bytes))
            CLOZE_FAIL(err, INTERNAL, "%s: tensor '%s' has an impossible shape", path, item->name);
    }
    if (item->source && (item->source->count * (int64_t)dtype_size(item->dtype) != bytes ||
                         (item->source->dtype != item->dtype &&
                          !(dtype_is_float(item->source->dtype) && dtype_is_float(item->dtype)))))
        CLOZE_FAIL(err, INTERNAL, "%s: tensor '%s' does not fit its source", path, item->name);
    if (bytes > 0 && !item->data && !item->source)
        CLOZE_FAIL(err, INTERNAL, "%s: tensor '%s' has no data", path, item->name);
    return CLOZE_OK;
}

cloze_status write_check_items(const char *path, const ckpt_item *items, size_t n_items,
                               cloze_error *err)
{
    hash_map names;
    CLOZE_TRY(hash_map_init(&names, n_items, err));
    cloze_status status = CLOZE_OK;
    for (size_t i = 0; i < n_items && status == CLOZE_OK; i++) {
        status = check_item(path, &items[i], err);
        if (status != CLOZE_OK) break;
        size_t len = strlen(items[i].name);
        if (hash_map_get(&names, items[i].name, len, -1) >= 0)
            status = error_set(err, CLOZE_ERR_INTERNAL, "%s: tensor '%s' would be written twice",
                               path, items[i].name);
        else
            status = hash_map_put(&names, items[i].name, len, 1, err);
    }
    hash_map_deinit(&names);
    return status;
}

uint64_t write_item_count(const ckpt_item *item)
{
    uint64_t count = 1;
    for (int i = 0; i < item->rank; i++) count *= (uint64_t)item->shape[i];
    return count;
}

uint64_t write_item_bytes(const ckpt_item *item)
{
    return write_item_count(item) * dtype_size(item->dtype);
}

cloze_status write_item_load(const ckpt_item *item, ckpt_item *out, void **block, cloze_error *err)
{
    const ckpt_tensor *t = item->source;
    *out = *item;
    *block = NULL;
    if (!t) return CLOZE_OK;
    bool same = t->dtype == item->dtype;
    out->from_f32 = !same;
    out->data = t->data;
    if (t->contiguous && same) return CLOZE_OK;
    size_t bytes = same ? t->bytes : (size_t)t->count * sizeof(float);
    *block = mem_alloc(bytes);
    if (!*block) CLOZE_FAIL(err, MEMORY, "out of memory writing tensor '%s'", item->name);
    out->data = *block;
    return same ? ckpt_read_raw(t, *block, bytes, err)
                : ckpt_read_f32(t, *block, (size_t)t->count, err);
}

cloze_status write_item(const ckpt_item *item, FILE *stream, cloze_error *err)
{
    ckpt_item loaded;
    void *block;
    cloze_status status = write_item_load(item, &loaded, &block, err);
    if (status == CLOZE_OK) (void)write_item_stream(&loaded, write_sink_file, stream);
    mem_free(block);
    return status;
}

bool write_item_stream(const ckpt_item *item, write_sink sink, void *context)
{
    if (!item->from_f32 || item->dtype == DTYPE_F32)
        return sink(context, item->data, (size_t)write_item_bytes(item));
    double piece[PIECE_ELEMENTS]; /* of at most 8 bytes an element */
    const float *data = item->data;
    for (uint64_t left = write_item_count(item); left > 0;) {
        size_t n = left < PIECE_ELEMENTS ? (size_t)left : PIECE_ELEMENTS;
        (void)dtype_from_f32(piece, data, item->dtype, n); /* check_item saw to the dtype */
        if (!sink(context, piece, n * dtype_size(item->dtype))) return false;
        data += n;
        left -= n;
    }
    return true;
}

bool write_sink_file(void *stream, const void *bytes, size_t n)
{
    return n == 0 || fwrite(bytes, 1, n, stream) == n;
}
