/*
 * Reader of safetensors files.
 *
 *   file   = length header data
 *   length = uint64, little-endian: bytes of header, at most 100 MB
 *   header = JSON object: name -> {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]},
 *            and "__metadata__" -> {string: string}; may be padded with blanks
 *   data   = the tensors' bytes without a gap or an overlap, up to the end of the file
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "ckpt/ckpt_internal.h"

#define HEADER_BYTES_MAX ((uint64_t)100000000)

typedef struct entry {
    ckpt_view view;
    uint64_t begin, end; /* within the data */
} entry;

/* A whole number in 0 .. 2^53, where doubles are exact; false for anything else. */
static bool get_size(const cJSON *item, int64_t *out)
{
    if (!cJSON_IsNumber(item)) return false;
    double value = item->valuedouble;
    if (!(value >= 0 && value <= 0x1p53) || value != (double)(int64_t)value) return false;
    *out = (int64_t)value;
    return true;
}

static cloze_status read_shape(const cJSON *info, ckpt_view *v, cloze_error *err)
{
    const cJSON *shape = cJSON_GetObjectItemCaseSensitive(info, "shape");
    if (!cJSON_IsArray(shape))
        CLOZE_FAIL(err, MODEL, "%s: tensor '%s': no \"shape\" array", v->file->path, v->name);
    for (const cJSON *item = shape->child; item; item = item->next) {
        if (v->rank == CKPT_MAX_RANK)
            CLOZE_FAIL(err, MODEL, "%s: tensor '%s' has more than %d dimensions", v->file->path,
                       v->name, CKPT_MAX_RANK);
        if (!get_size(item, &v->shape[v->rank++]))
            CLOZE_FAIL(err, MODEL, "%s: tensor '%s': a size in \"shape\" is not a whole number",
                       v->file->path, v->name);
    }
    return CLOZE_OK;
}

static cloze_status read_entry(const ckpt_file *f, const cJSON *info, uint64_t data_bytes, entry *e,
                               cloze_error *err)
{
    const char *name = info->string;
    e->view = (ckpt_view){.name = name, .name_len = strlen(name), .file = f, .mapped = true};
    if (!cJSON_IsObject(info))
        CLOZE_FAIL(err, MODEL, "%s: tensor '%s' has no description", f->path, name);
    const cJSON *dtype = cJSON_GetObjectItemCaseSensitive(info, "dtype");
    if (!cJSON_IsString(dtype))
        CLOZE_FAIL(err, MODEL, "%s: tensor '%s': no \"dtype\" string", f->path, name);
    char shown[32];
    if (!dtype_from_name(dtype->valuestring, &e->view.dtype))
        CLOZE_FAIL(
            err, MODEL, "%s: tensor '%s' has dtype %s, which is none that models use", f->path,
            name,
            ckpt_printable(dtype->valuestring, strlen(dtype->valuestring), shown, sizeof shown));
    CLOZE_TRY(read_shape(info, &e->view, err));

    const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(info, "data_offsets");
    int64_t begin, end;
    if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2 ||
        !get_size(offsets->child, &begin) || !get_size(offsets->child->next, &end) || begin > end)
        CLOZE_FAIL(err, MODEL, "%s: tensor '%s': \"data_offsets\" is not [begin, end]", f->path,
                   name);
    if ((uint64_t)end > data_bytes)
        CLOZE_FAIL(err, MODEL,
                   "%s: tensor '%s' ends at byte %lld of the data, which has %llu: the "
                   "file is cut short",
                   f->path, name, (long long)end, (unsigned long long)data_bytes);
    e->begin = (uint64_t)begin;
    e->end = (uint64_t)end;
    e->view.storage_bytes = (size_t)(end - begin);
    return CLOZE_OK;
}

static int compare_entries(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end) return x->end < y->end ? -1 : 1;
    return strcmp(x->view.name, y->view.name);
}

/* Adds the entries in file order, after checking that they cover the data exactly. */
static cloze_status add_entries(ckpt *c, const ckpt_file *f, entry *entries, size_t n,
                                const uint8_t *data, uint64_t data_bytes, cloze_error *err)
{
    qsort(entries, n, sizeof *entries, compare_entries);
    uint64_t at = 0;
    for (size_t i = 0; i < n; i++) {
        entry *e = &entries[i];
        if (e->begin != at)
            CLOZE_FAIL(err, MODEL, "%s: tensor '%s' begins at byte %llu of the data, not at %llu: "
                       "tensors overlap or leave a gap", f->path, e->view.name,
                       (unsigned long long)e->begin, (unsigned long long)at);
        at = e->end;
        e->view.storage = data + e->begin;
        CLOZE_TRY(ckpt_add_view(c, &e->view, err));
        size_t bytes = c->tensors[c->n_tensors - 1].bytes;
        if (bytes != e->end - e->begin)
            CLOZE_FAIL(err, MODEL,
                       "%s: tensor '%s' has %llu bytes, but its dtype and shape say %zu", f->path,
                       e->view.name, (unsigned long long)(e->end - e->begin), bytes);
    }
    if (at != data_bytes)
        CLOZE_FAIL(err, MODEL, "%s: %llu bytes of data, but its tensors have %llu", f->path,
                   (unsigned long long)data_bytes, (unsigned long long)at);
    return CLOZE_OK;
}

static cloze_status read_metadata(ckpt *c, const ckpt_file *f, const cJSON *meta, cloze_error *err)
{
    if (!cJSON_IsObject(meta))
        CLOZE_FAIL(err, MODEL, "%s: \"__metadata__\" is not an object", f->path);
    for (const cJSON *item = meta->child; item; item = item->next) {
        if (!cJSON_IsString(item))
            CLOZE_FAIL(err, MODEL, "%s: metadata '%s' is not a string", f->path, item->string);
        CLOZE_TRY(ckpt_add_metadata(c, item->string, item->valuestring, err));
    }
    return CLOZE_OK;
}

static cloze_status read_header(ckpt *c, const ckpt_file *f, const cJSON *root, size_t data_at,
                                cloze_error *err)
{
    if (!cJSON_IsObject(root)) CLOZE_FAIL(err, MODEL, "%s: the header is not an object", f->path);
    uint64_t data_bytes = f->map.size - data_at;
    entry *entries;
    MEM_NEW(err, entries, cJSON_GetArraySize(root));
    size_t n = 0;
    cloze_status status = CLOZE_OK;
    for (const cJSON *item = root->child; item; item = item->next) {
        if (strcmp(item->string, "__metadata__") == 0) {
            CLOZE_TRY_GOTO(status, read_metadata(c, f, item, err), done);
            continue;
        }
        CLOZE_TRY_GOTO(status, read_entry(f, item, data_bytes, &entries[n], err), done);
        n++;
    }
    status = add_entries(c, f, entries, n, f->map.data + data_at, data_bytes, err);
done:
    mem_free(entries);
    return status;
}

cloze_status safetensors_read(ckpt *c, const ckpt_file *f, cloze_error *err)
{
    uint64_t header_bytes = 0;
    if (f->map.size < 8) CLOZE_FAIL(err, MODEL, "%s: the file is cut short", f->path);
    for (int i = 0; i < 8; i++) header_bytes |= (uint64_t)f->map.data[i] << (8 * i);
    if (header_bytes > HEADER_BYTES_MAX)
        CLOZE_FAIL(err, MODEL, "%s: the header claims %llu bytes; at most %llu are possible",
                   f->path, (unsigned long long)header_bytes, (unsigned long long)HEADER_BYTES_MAX);
    if (header_bytes > f->map.size - 8)
        CLOZE_FAIL(err, MODEL,
                   "%s: the header claims %llu bytes, but the file has %zu: it is cut short",
                   f->path, (unsigned long long)header_bytes, f->map.size);
    cJSON *root = NULL;
    CLOZE_TRY(json_parse((const char *)f->map.data + 8, (size_t)header_bytes, f->path,
                         CLOZE_ERR_MODEL, &root, err));
    cloze_status status = read_header(c, f, root, 8 + (size_t)header_bytes, err);
    json_destroy(root);
    return status;
}
