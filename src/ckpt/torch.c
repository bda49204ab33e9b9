/*
 * Reader of what torch.save makes of a state dict.
 *
 *   since 1.6   a zip: <name>/data.pkl, <name>/byteorder, <name>/data/<key> with the raw storages
 *   before      five pickles (magic number, protocol, system, the object, list of storage keys),
 *               then for each key: int64 number of elements, the raw elements
 *
 * In both, a tensor is _rebuild_tensor_v2(storage, offset, size, stride, ...) and its storage a
 * persistent id ('storage', type, key, location, number of elements). Several tensors may be views
 * of one storage.
 */
#include <string.h>

#include "ckpt/pickle.h"
#include "ckpt/zip.h"

#define STATE_DICT_DEPTH_MAX 4
#define ENTRY_NAME_MAX 512

enum {
    G_OTHER, /* may occur, has no meaning for tensors */
    G_REBUILD_TENSOR,
    G_REBUILD_PARAMETER,
    G_STORAGE /* + cloze_dtype */
};

static const pickle_global torch_globals[] = {
    {"collections", "OrderedDict", G_OTHER},
    {"torch._utils", "_rebuild_tensor_v2", G_REBUILD_TENSOR},
    {"torch._utils", "_rebuild_tensor", G_REBUILD_TENSOR},
    {"torch._utils", "_rebuild_parameter", G_REBUILD_PARAMETER},
    {"torch._utils", "_rebuild_parameter_with_state", G_REBUILD_PARAMETER},
    {"torch", "FloatStorage", G_STORAGE + DTYPE_F32},
    {"torch", "BFloat16Storage", G_STORAGE + DTYPE_BF16},
    {"torch", "HalfStorage", G_STORAGE + DTYPE_F16},
    {"torch", "DoubleStorage", G_STORAGE + DTYPE_F64},
    {"torch", "CharStorage", G_STORAGE + DTYPE_I8},
    {"torch", "ByteStorage", G_STORAGE + DTYPE_U8},
    {"torch", "ShortStorage", G_STORAGE + DTYPE_I16},
    {"torch", "IntStorage", G_STORAGE + DTYPE_I32},
    {"torch", "LongStorage", G_STORAGE + DTYPE_I64},
    {"torch", "BoolStorage", G_STORAGE + DTYPE_BOOL},
    {"torch", "float32", G_OTHER},
    {"torch", "bfloat16", G_OTHER},
    {"torch", "float16", G_OTHER},
    {"torch", "float64", G_OTHER},
    {"torch", "int8", G_OTHER},
    {"torch", "uint8", G_OTHER},
    {"torch", "int16", G_OTHER},
    {"torch", "int32", G_OTHER},
    {"torch", "int64", G_OTHER},
    {"torch", "bool", G_OTHER},
    {"torch", "device", G_OTHER},
    {"torch", "Size", G_OTHER},
    {"_codecs", "encode", G_OTHER},
};
#define N_TORCH_GLOBALS (sizeof torch_globals / sizeof *torch_globals)

/* A storage of the legacy layout, found while walking the bytes behind the pickles. */
typedef struct legacy_storage {
    cloze_dtype dtype;
    int64_t count;
    const uint8_t *data; /* NULL: named by a tensor, but not in the file */
} legacy_storage;

typedef struct reader {
    ckpt *ckpt;
    const ckpt_file *file;
    pickle pickle;
    /* The zip layout. */
    zip_archive zip;
    char prefix[ENTRY_NAME_MAX]; /* "archive/" */
    bool big_endian;
    /* The legacy layout. */
    bool legacy;
    legacy_storage *storages; /* (index.count) */
    size_t n_storages;
    hash_map index; /* key -> position in storages */
} reader;

/* What a persistent id says of a storage; view_offset counts elements (legacy only). */
typedef struct storage_id {
    cloze_dtype dtype;
    const pickle_node *key;
    int64_t count, view_offset;
} storage_id;

#define READER_FAIL(r, err, node, format, ...)                                                    \
    CLOZE_FAIL(err, MODEL, "%s: pickle byte %zu: " format, (r)->file->path,                       \
               pickle_get(&(r)->pickle, (node))->position, ##__VA_ARGS__)

/* ('storage', FloatStorage, 'key', 'cpu', count[, None or (view key, offset, size)]) */
static cloze_status parse_storage_id(const reader *r, uint32_t persid, storage_id *out,
                                     cloze_error *err)
{
    const pickle *p = &r->pickle;
    uint32_t id = pickle_get(p, persid)->args;
    uint32_t type = pickle_item(p, id, 1), key = pickle_item(p, id, 2);
    uint32_t count = pickle_item(p, id, 4), view = pickle_item(p, id, 5);
    if (!pickle_is(p, id, PICKLE_TUPLE) || !pickle_equals(p, pickle_item(p, id, 0), "storage") ||
        !pickle_is(p, type, PICKLE_GLOBAL) || pickle_get(p, type)->global < G_STORAGE ||
        !pickle_is(p, key, PICKLE_STRING) || !pickle_is(p, count, PICKLE_INT))
        READER_FAIL(r, err, persid, "a persistent id that is no storage of a known type");
    *out = (storage_id){.dtype = (cloze_dtype)(pickle_get(p, type)->global - G_STORAGE),
                        .key = pickle_get(p, key), .count = pickle_get(p, count)->integer};
    if (pickle_is(p, view, PICKLE_TUPLE)) {
        uint32_t offset = pickle_item(p, view, 1);
        if (!pickle_is(p, offset, PICKLE_INT))
            READER_FAIL(r, err, persid, "a storage view without an offset");
        out->view_offset = pickle_get(p, offset)->integer;
    }
    if (out->count < 0 || out->view_offset < 0 || out->view_offset > out->count)
        READER_FAIL(r, err, persid, "a storage of a negative size");
    return CLOZE_OK;
}

/* The bytes of a storage in the zip; big-endian ones are turned once for all their tensors. */
static cloze_status find_zip_storage(reader *r, const storage_id *id, uint32_t persid, ckpt_view *v,
                                     cloze_error *err)
{
    char name[ENTRY_NAME_MAX + 64], shown[64];
    size_t prefix_len = strlen(r->prefix);
    ckpt_printable(id->key->text, id->key->len, shown, sizeof shown);
    if (id->key->len > 32) READER_FAIL(r, err, persid, "storage key '%s' is too long", shown);
    memcpy(name, r->prefix, prefix_len);
    memcpy(name + prefix_len, "data/", 5);
    memcpy(name + prefix_len + 5, id->key->text, id->key->len);
    zip_entry *e = zip_find(&r->zip, name, prefix_len + 5 + id->key->len);
    if (!e) READER_FAIL(r, err, persid, "storage '%s' is not in the file", shown);
    CLOZE_TRY(zip_read(&r->zip, e, err));
    size_t size = dtype_size(id->dtype);
    if ((uint64_t)id->count > e->bytes / size)
        READER_FAIL(r, err, persid, "storage '%s' claims %lld elements of %s, but has %llu bytes",
                    shown, (long long)id->count, dtype_name(id->dtype),
                    (unsigned long long)e->bytes);
    if (r->big_endian && size > 1 && !e->swapped_size) {
        CLOZE_TRY(ckpt_swap_bytes(r->ckpt, e->data, (size_t)e->bytes, size, &e->data, err));
        e->swapped_size = size;
        e->inflated = true;
    }
    if (r->big_endian && size > 1 && e->swapped_size != size)
        READER_FAIL(r, err, persid, "storage '%s' is used with elements of two sizes", shown);
    v->storage = e->data;
    v->mapped = !e->inflated;
    return CLOZE_OK;
}

static cloze_status find_storage(reader *r, uint32_t persid, ckpt_view *v, cloze_error *err)
{
    storage_id id;
    CLOZE_TRY(parse_storage_id(r, persid, &id, err));
    if (r->legacy) {
        int32_t i = hash_map_get(&r->index, id.key->text, id.key->len, -1);
        const legacy_storage *s = i < 0 ? NULL : &r->storages[i];
        if (!s || !s->data || s->dtype != id.dtype || s->count != id.count)
            READER_FAIL(r, err, persid, "a storage is not in the file, or is of another type");
        v->storage = s->data;
        v->mapped = true;
    } else {
        CLOZE_TRY(find_zip_storage(r, &id, persid, v, err));
    }
    v->dtype = id.dtype;
    v->storage += (size_t)id.view_offset * dtype_size(id.dtype);
    v->storage_bytes = (size_t)(id.count - id.view_offset) * dtype_size(id.dtype);
    return CLOZE_OK;
}

/* The tensor in a value: through parameters to _rebuild_tensor_v2; PICKLE_NO_NODE: it is none. */
static uint32_t tensor_in(const pickle *p, uint32_t value)
{
    for (int depth = 0; depth < 4; depth++) { /* a damaged file may nest them without end */
        if (!pickle_is_object(p, value, G_REBUILD_PARAMETER)) break;
        value = pickle_item(p, pickle_get(p, value)->args, 0);
    }
    return pickle_is_object(p, value, G_REBUILD_TENSOR) ? value : PICKLE_NO_NODE;
}

static cloze_status add_tensor(reader *r, uint32_t key, uint32_t tensor, cloze_error *err)
{
    const pickle *p = &r->pickle;
    const pickle_node *name = pickle_get(p, key);
    uint32_t args = pickle_get(p, tensor)->args;
    uint32_t storage = pickle_item(p, args, 0), offset = pickle_item(p, args, 1);
    ckpt_view v = {.name = name->text, .name_len = name->len, .file = r->file, .has_stride = true};
    v.rank = pickle_integers(p, pickle_item(p, args, 2), v.shape, CKPT_MAX_RANK);
    int64_t n_strides = pickle_integers(p, pickle_item(p, args, 3), v.stride, CKPT_MAX_RANK);
    char shown[96];
    if (!pickle_is(p, storage, PICKLE_PERSID) || !pickle_is(p, offset, PICKLE_INT) || v.rank < 0 ||
        n_strides != v.rank)
        READER_FAIL(r, err, tensor, "tensor '%s' has no proper storage, offset, sizes and strides",
                    ckpt_printable(name->text, name->len, shown, sizeof shown));
    v.offset = pickle_get(p, offset)->integer;
    cloze_status status = find_storage(r, storage, &v, err);
    if (status != CLOZE_OK)
        return error_prefix(err, "tensor '%s'",
                            ckpt_printable(name->text, name->len, shown, sizeof shown));
    return ckpt_add_view(r->ckpt, &v, err);
}

static bool is_dict(const pickle *p, uint32_t node)
{
    return pickle_is(p, node, PICKLE_DICT) ||
           (pickle_is_object(p, node, G_OTHER) && pickle_get(p, node)->n_items > 0);
}

/*
 * The dict with the parameters: the object itself, or nested as training scripts do it, such as
 * {"epoch": 3, "state_dict": {...}}. The wrappers' own names win over tensors beside them.
 */
static uint32_t find_state_dict(pickle *p, uint32_t node, int depth)
{
    static const char *const wrappers[] = {"state_dict", "model_state_dict", "model", "module"};
    /* Dicts that share their content would otherwise be walked again on every way to it. */
    if (depth == STATE_DICT_DEPTH_MAX || !is_dict(p, node) || pickle_get(p, node)->visited)
        return PICKLE_NO_NODE;
    pickle_get(p, node)->visited = true;
    uint32_t wrapped = PICKLE_NO_NODE;
    bool has_tensor = false;
    uint32_t cell = pickle_get(p, node)->head;
    while (cell != PICKLE_NO_NODE) {
        uint32_t key = p->cells[cell].node;
        cell = p->cells[cell].next; /* items come in pairs: the machine saw to it */
        uint32_t value = p->cells[cell].node;
        cell = p->cells[cell].next;
        if (tensor_in(p, value) != PICKLE_NO_NODE) has_tensor = true;
        for (size_t i = 0; i < sizeof wrappers / sizeof *wrappers; i++) {
            if (wrapped == PICKLE_NO_NODE && pickle_equals(p, key, wrappers[i]))
                wrapped = find_state_dict(p, value, depth + 1);
        }
    }
    if (wrapped != PICKLE_NO_NODE) return wrapped;
    return has_tensor ? node : PICKLE_NO_NODE;
}

static cloze_status add_tensors(reader *r, cloze_error *err)
{
    pickle *p = &r->pickle;
    uint32_t dict = find_state_dict(p, p->root, 0);
    if (dict == PICKLE_NO_NODE)
        CLOZE_FAIL(err, MODEL, "%s: no state dict (name -> tensor) in it", r->file->path);
    uint32_t cell = pickle_get(p, dict)->head;
    while (cell != PICKLE_NO_NODE) {
        uint32_t key = p->cells[cell].node;
        cell = p->cells[cell].next;
        uint32_t tensor = tensor_in(p, p->cells[cell].node);
        cell = p->cells[cell].next;
        if (tensor == PICKLE_NO_NODE) continue; /* a version number or the like */
        if (!pickle_is(p, key, PICKLE_STRING))
            READER_FAIL(r, err, tensor, "a tensor whose name is not a string");
        CLOZE_TRY(add_tensor(r, key, tensor, err));
    }
    return CLOZE_OK;
}

/* Finds <prefix>data.pkl; TorchScript archives have one too, and are refused by their globals. */
static cloze_status find_pickle_entry(reader *r, zip_entry **out, cloze_error *err)
{
    for (size_t i = 0; i < r->zip.n_entries; i++) {
        zip_entry *e = &r->zip.entries[i];
        size_t len = e->name_len;
        if (len < 9 || memcmp(e->name + len - 9, "/data.pkl", 9) != 0) continue;
        if (len - 8 >= ENTRY_NAME_MAX)
            CLOZE_FAIL(err, MODEL, "%s: the zip entries have overlong names", r->file->path);
        memcpy(r->prefix, e->name, len - 8); /* with its slash; the rest of prefix is zeros */
        *out = e;
        return CLOZE_OK;
    }
    CLOZE_FAIL(err, MODEL, "%s is a zip archive, but not one of torch.save: it has no data.pkl",
               r->file->path);
}

static cloze_status read_byteorder(reader *r, cloze_error *err)
{
    char name[ENTRY_NAME_MAX + 16];
    size_t prefix_len = strlen(r->prefix);
    memcpy(name, r->prefix, prefix_len);
    memcpy(name + prefix_len, "byteorder", 9);
    zip_entry *e = zip_find(&r->zip, name, prefix_len + 9);
    if (!e) return CLOZE_OK; /* before torch 2.1: little-endian */
    CLOZE_TRY(zip_read(&r->zip, e, err));
    if (e->bytes == 3 && memcmp(e->data, "big", 3) == 0) r->big_endian = true;
    else if (e->bytes != 6 || memcmp(e->data, "little", 6) != 0)
        CLOZE_FAIL(err, MODEL, "%s: the byte order is neither little nor big", r->file->path);
    return CLOZE_OK;
}

static cloze_status read_zip(reader *r, cloze_error *err)
{
    zip_entry *pkl;
    CLOZE_TRY(find_pickle_entry(r, &pkl, err));
    CLOZE_TRY(read_byteorder(r, err));
    CLOZE_TRY(zip_read(&r->zip, pkl, err));
    CLOZE_TRY(pickle_init(&r->pickle, pkl->data, (size_t)pkl->bytes, r->file->path, torch_globals,
                          N_TORCH_GLOBALS, err));
    return add_tensors(r, err);
}

cloze_status torch_read_zip(ckpt *c, const ckpt_file *f, cloze_error *err)
{
    reader r = {.ckpt = c, .file = f};
    cloze_status status = zip_init(&r.zip, c, f, err);
    if (status == CLOZE_OK) status = read_zip(&r, err);
    pickle_deinit(&r.pickle);
    zip_deinit(&r.zip);
    return status;
}

/* The first pickle of the legacy layout: the integer 0x1950a86a20f9469cfc6c in protocol 2. */
static const uint8_t legacy_magic[] = {0x80, 2,    0x8a, 10,   0x6c, 0xfc, 0x9c, 0x46,
                                       0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, '.'};

bool torch_is_legacy(const uint8_t *data, size_t n)
{
    return n >= sizeof legacy_magic && memcmp(data, legacy_magic, sizeof legacy_magic) == 0;
}

/* Reads one pickle that only has to be there, and moves *at behind it. */
static cloze_status skip_pickle(const ckpt_file *f, size_t *at, cloze_error *err)
{
    pickle p;
    cloze_status status = pickle_init(&p, f->map.data + *at, f->map.size - *at, f->path,
                                      torch_globals, N_TORCH_GLOBALS, err);
    *at += p.size;
    pickle_deinit(&p);
    return status;
}

/* Lists the storages that the pickle names: their types are told nowhere else. */
static cloze_status list_storages(reader *r, cloze_error *err)
{
    const pickle *p = &r->pickle;
    CLOZE_TRY(hash_map_init(&r->index, 512, err));
    MEM_NEW(err, r->storages, p->n_nodes);
    for (uint32_t i = 1; i < p->n_nodes; i++) {
        if (!pickle_is(p, i, PICKLE_PERSID)) continue;
        storage_id id;
        CLOZE_TRY(parse_storage_id(r, i, &id, err));
        if (hash_map_get(&r->index, id.key->text, id.key->len, -1) >= 0) continue;
        CLOZE_TRY(hash_map_put(&r->index, id.key->text, id.key->len, (int32_t)r->n_storages, err));
        r->storages[r->n_storages++] = (legacy_storage){.dtype = id.dtype, .count = id.count};
    }
    return CLOZE_OK;
}

/* Walks the raw storages from `at`, in the order of `keys`. */
static cloze_status locate_storages(reader *r, const pickle *keys, size_t at, cloze_error *err)
{
    const ckpt_file *f = r->file;
    if (!pickle_is(keys, keys->root, PICKLE_LIST))
        CLOZE_FAIL(err, MODEL, "%s: no list of storages behind the pickle", f->path);
    uint32_t cell = pickle_get(keys, keys->root)->head;
    for (; cell != PICKLE_NO_NODE; cell = keys->cells[cell].next) {
        const pickle_node *key = pickle_get(keys, keys->cells[cell].node);
        int32_t i =
            key->kind == PICKLE_STRING ? hash_map_get(&r->index, key->text, key->len, -1) : -1;
        if (i < 0 || r->storages[i].data)
            CLOZE_FAIL(err, MODEL, "%s: the list of storages does not match the tensors", f->path);
        legacy_storage *s = &r->storages[i];
        uint64_t count = 0;
        if (f->map.size - at < 8) CLOZE_FAIL(err, MODEL, "%s: the file is cut short", f->path);
        for (int k = 0; k < 8; k++) count |= (uint64_t)f->map.data[at + (size_t)k] << (8 * k);
        at += 8;
        if (count != (uint64_t)s->count || count > (f->map.size - at) / dtype_size(s->dtype))
            CLOZE_FAIL(err, MODEL,
                       "%s: a storage has %llu elements where %lld are wanted, or the file "
                       "is cut short",
                       f->path, (unsigned long long)count, (long long)s->count);
        s->data = f->map.data + at;
        at += (size_t)count * dtype_size(s->dtype);
    }
    return CLOZE_OK;
}

static cloze_status read_legacy(reader *r, cloze_error *err)
{
    const ckpt_file *f = r->file;
    size_t at = sizeof legacy_magic;
    CLOZE_TRY(skip_pickle(f, &at, err)); /* protocol version */
    CLOZE_TRY(skip_pickle(f, &at, err)); /* sizes of C types; the data are always little-endian */
    CLOZE_TRY(pickle_init(&r->pickle, f->map.data + at, f->map.size - at, f->path, torch_globals,
                          N_TORCH_GLOBALS, err));
    at += r->pickle.size;
    CLOZE_TRY(list_storages(r, err));
    pickle keys;
    cloze_status status = pickle_init(&keys, f->map.data + at, f->map.size - at, f->path,
                                      torch_globals, N_TORCH_GLOBALS, err);
    if (status == CLOZE_OK) status = locate_storages(r, &keys, at + keys.size, err);
    pickle_deinit(&keys);
    return status == CLOZE_OK ? add_tensors(r, err) : status;
}

cloze_status torch_read_legacy(ckpt *c, const ckpt_file *f, cloze_error *err)
{
    reader r = {.ckpt = c, .file = f, .legacy = true};
    cloze_status status = read_legacy(&r, err);
    pickle_deinit(&r.pickle);
    hash_map_deinit(&r.index);
    mem_free(r.storages);
    return status;
}
