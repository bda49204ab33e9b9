/*
 * Reader of Paddle's .pdparams: a pickled dict of names and numpy arrays (protocol 2 to 5).
 *
 *   array   = numpy.core.multiarray._reconstruct(ndarray, (0,), b'b') with the state
 *             (version, shape, dtype, is column-major, bytes), or
 *             numpy.core.numeric._frombuffer(bytes, dtype, shape, 'C' or 'F')
 *   value   = array, or tuple((name, array)) as newer versions write it
 *   dtype   = numpy.dtype('f4', ...) with the state (version, '<' or '>', ...)
 *
 * Protocol 2 has no bytes: there they are a string of Latin-1 characters in UTF-8, which is decoded
 * into memory of the checkpoint. bf16 is stored as numpy's uint16, the only use Paddle makes of it.
 */
#include <string.h>

#include "base/utf8.h"
#include "ckpt/ckpt_internal.h"
#include "ckpt/pickle.h"

enum { G_OTHER, G_RECONSTRUCT, G_NDARRAY, G_DTYPE, G_ENCODE, G_TUPLE, G_FROMBUFFER };

static const pickle_global paddle_globals[] = {
    {"collections", "OrderedDict", G_OTHER},
    {"numpy", "ndarray", G_NDARRAY},
    {"numpy", "dtype", G_DTYPE},
    {"numpy.core.multiarray", "_reconstruct", G_RECONSTRUCT},
    {"numpy._core.multiarray", "_reconstruct", G_RECONSTRUCT},
    {"numpy.core.multiarray", "scalar", G_OTHER},
    {"numpy._core.multiarray", "scalar", G_OTHER},
    {"numpy.core.numeric", "_frombuffer", G_FROMBUFFER},
    {"numpy._core.numeric", "_frombuffer", G_FROMBUFFER},
    {"_codecs", "encode", G_ENCODE},
    {"builtins", "tuple", G_TUPLE},
    {"__builtin__", "tuple", G_TUPLE},
};
#define N_PADDLE_GLOBALS (sizeof paddle_globals / sizeof *paddle_globals)
#define COPY_RATIO_MAX 8 /* tied names may copy an array again; more is an attack on memory */

typedef struct reader {
    ckpt *ckpt;
    const ckpt_file *file;
    pickle pickle;
    size_t copied; /* bytes decoded or swapped so far */
} reader;

/* The parts of an array, wherever its pickle keeps them. */
typedef struct array_parts {
    uint32_t shape, dtype, bytes;
    bool column_major;
} array_parts;

/* The array in a value; false: it holds none. */
static bool find_array(const pickle *p, uint32_t value, array_parts *out)
{
    if (pickle_is_object(p, value, G_TUPLE)) /* tuple((name, array)) */
        value = pickle_item(p, pickle_item(p, pickle_get(p, value)->args, 0), 1);
    else if (pickle_is(p, value, PICKLE_TUPLE)) /* the same, as a plain tuple */
        value = pickle_item(p, value, 1);
    if (pickle_is_object(p, value, G_RECONSTRUCT)) {
        uint32_t state = pickle_get(p, value)->state;
        uint32_t order = pickle_item(p, state, 3);
        *out = (array_parts){pickle_item(p, state, 1), pickle_item(p, state, 2),
                             pickle_item(p, state, 4), false};
        out->column_major = order != PICKLE_NO_NODE && pickle_get(p, order)->integer != 0;
        return true;
    }
    if (pickle_is_object(p, value, G_FROMBUFFER)) {
        uint32_t args = pickle_get(p, value)->args;
        *out = (array_parts){pickle_item(p, args, 2), pickle_item(p, args, 1),
                             pickle_item(p, args, 0),
                             pickle_equals(p, pickle_item(p, args, 3), "F")};
        return true;
    }
    return false;
}

/* numpy.dtype('f4', False, True) with the state (3, '<', ...) */
static bool parse_dtype(const pickle *p, uint32_t node, cloze_dtype *dtype, bool *big_endian)
{
    static const struct { const char *code; cloze_dtype dtype; } codes[] = {
        {"f4", DTYPE_F32}, {"u2", DTYPE_BF16}, {"f2", DTYPE_F16}, {"f8", DTYPE_F64},
        {"i1", DTYPE_I8},  {"u1", DTYPE_U8},   {"i2", DTYPE_I16}, {"i4", DTYPE_I32},
        {"i8", DTYPE_I64}, {"b1", DTYPE_BOOL},
    };
    if (!pickle_is_object(p, node, G_DTYPE)) return false;
    uint32_t code = pickle_item(p, pickle_get(p, node)->args, 0);
    *big_endian = pickle_equals(p, pickle_item(p, pickle_get(p, node)->state, 1), ">");
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        if (!pickle_equals(p, code, codes[i].code)) continue;
        *dtype = codes[i].dtype;
        return true;
    }
    return false;
}

static cloze_status count_copy(reader *r, size_t bytes, cloze_error *err)
{
    r->copied += bytes;
    if (r->copied / COPY_RATIO_MAX > r->file->map.size)
        CLOZE_FAIL(err, MODEL, "%s: too many arrays share their bytes", r->file->path);
    return CLOZE_OK;
}

/* Characters U+0000..U+00FF of UTF-8 to one byte each: protocol 2's spelling of bytes. */
static cloze_status decode_latin1(reader *r, const pickle_node *text, ckpt_view *v,
                                  cloze_error *err)
{
    void *block;
    CLOZE_TRY(count_copy(r, text->len, err));
    CLOZE_TRY(ckpt_alloc_owned(r->ckpt, text->len, &block, err));
    uint8_t *bytes = block;
    size_t n = 0;
    for (size_t at = 0; at < text->len;) {
        uint32_t code;
        int used = utf8_decode(text->text + at, text->len - at, &code);
        if (used == 0 || code > 0xff)
            CLOZE_FAIL(err, MODEL, "%s: pickle byte %zu: a text that should be raw bytes",
                       r->file->path, text->position);
        bytes[n++] = (uint8_t)code;
        at += (size_t)used;
    }
    v->storage = bytes;
    v->storage_bytes = n;
    v->mapped = false;
    return CLOZE_OK;
}

/* The raw bytes of an array: in the file, or decoded. */
static cloze_status find_bytes(reader *r, uint32_t node, ckpt_view *v, cloze_error *err)
{
    const pickle *p = &r->pickle;
    if (pickle_is_object(p, node, G_ENCODE)) /* _codecs.encode(text, 'latin1') */
        node = pickle_item(p, pickle_get(p, node)->args, 0);
    if (pickle_is(p, node, PICKLE_STRING)) return decode_latin1(r, pickle_get(p, node), v, err);
    if (!pickle_is(p, node, PICKLE_BYTES))
        CLOZE_FAIL(err, MODEL, "%s: an array of Python objects instead of numbers", r->file->path);
    v->storage = (const uint8_t *)pickle_get(p, node)->text;
    v->storage_bytes = pickle_get(p, node)->len;
    v->mapped = true;
    return CLOZE_OK;
}

/* Strides of a column-major array; sizes are checked later, so products saturate here. */
static void set_column_major(ckpt_view *v)
{
    int64_t step = 1;
    v->has_stride = true;
    for (int64_t i = 0; i < v->rank; i++) {
        v->stride[i] = step;
        if (__builtin_mul_overflow(step, v->shape[i], &step)) step = INT64_MAX;
    }
}

static cloze_status add_array(reader *r, uint32_t key, const array_parts *parts, cloze_error *err)
{
    const pickle *p = &r->pickle;
    const pickle_node *name = pickle_get(p, key);
    char shown[96];
    ckpt_printable(name->text, name->len, shown, sizeof shown);
    ckpt_view v = {.name = name->text, .name_len = name->len, .file = r->file};
    bool big_endian = false;
    v.rank = pickle_integers(p, parts->shape, v.shape, CKPT_MAX_RANK);
    if (v.rank < 0 || !parse_dtype(p, parts->dtype, &v.dtype, &big_endian))
        CLOZE_FAIL(err, MODEL, "%s: tensor '%s' is no array of numbers with at most %d dimensions",
                   r->file->path, shown, CKPT_MAX_RANK);
    cloze_status status = find_bytes(r, parts->bytes, &v, err);
    if (status != CLOZE_OK) return error_prefix(err, "tensor '%s'", shown);
    size_t size = dtype_size(v.dtype);
    if (big_endian && size > 1) {
        CLOZE_TRY(count_copy(r, v.storage_bytes, err));
        CLOZE_TRY(ckpt_swap_bytes(r->ckpt, v.storage, v.storage_bytes, size, &v.storage, err));
        v.mapped = false;
    }
    if (parts->column_major) set_column_major(&v);
    CLOZE_TRY(ckpt_add_view(r->ckpt, &v, err));
    size_t bytes = r->ckpt->tensors[r->ckpt->n_tensors - 1].bytes;
    if (bytes != v.storage_bytes)
        CLOZE_FAIL(err, MODEL, "%s: tensor '%s' has %zu bytes, but its dtype and shape say %zu",
                   r->file->path, shown, v.storage_bytes, bytes);
    return CLOZE_OK;
}

static cloze_status add_arrays(reader *r, cloze_error *err)
{
    const pickle *p = &r->pickle;
    uint32_t root = p->root;
    if (!pickle_is(p, root, PICKLE_DICT) && !pickle_is_object(p, root, G_OTHER))
        CLOZE_FAIL(err, MODEL, "%s: the pickle is no dict of names and arrays", r->file->path);
    uint32_t cell = pickle_get(p, root)->head;
    while (cell != PICKLE_NO_NODE) {
        uint32_t key = p->cells[cell].node;
        cell = p->cells[cell].next; /* items come in pairs: the machine saw to it */
        uint32_t value = p->cells[cell].node;
        cell = p->cells[cell].next;
        array_parts parts;
        if (pickle_equals(p, key, "UnpackBigParamInfor@@"))
            CLOZE_FAIL(err, MODEL, "%s: parameters over 1 GB are stored in slices; save it with "
                       "paddle.save(..., protocol=4)", r->file->path);
        if (!find_array(p, value, &parts)) continue; /* such as "StructuredToParameterName@@" */
        if (!pickle_is(p, key, PICKLE_STRING))
            CLOZE_FAIL(err, MODEL, "%s: a tensor whose name is not a string", r->file->path);
        CLOZE_TRY(add_array(r, key, &parts, err));
    }
    if (r->ckpt->n_tensors == 0) CLOZE_FAIL(err, MODEL, "%s: no arrays in it", r->file->path);
    return CLOZE_OK;
}

cloze_status paddle_read(ckpt *c, const ckpt_file *f, cloze_error *err)
{
    reader r = {.ckpt = c, .file = f};
    cloze_status status = pickle_init(&r.pickle, f->map.data, f->map.size, f->path, paddle_globals,
                                      N_PADDLE_GLOBALS, err);
    if (status == CLOZE_OK) status = add_arrays(&r, err);
    pickle_deinit(&r.pickle);
    return status;
}
