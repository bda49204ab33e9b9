/*
 * Writer of Paddle's .pdparams: what paddle.save(state_dict, protocol=4) makes, a pickled dict of
 * names and numpy arrays. bf16 is numpy's uint16, as Paddle keeps it. The dict's last entry is the
 * one by which paddle.load knows a state dict, and gives tensors instead of arrays.
 */
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "ckpt/write_internal.h"

/* _reconstruct(ndarray, (0,), b'b'), and its state: version 1, then the shape. */
#define ARRAY_BEGIN                                                                               \
    "cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\0\x85" "C\x01" "btR(K\x01("
/* No names, fields or alignment; then: not column-major, and a byte string of a 64-bit length. */
#define DTYPE_END "NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb\x89\x8e"

static const char *dtype_code(cloze_dtype dtype)
{
    static const char *const codes[DTYPE_COUNT] = {
        [DTYPE_F32] = "f4", [DTYPE_BF16] = "u2", [DTYPE_F16] = "f2", [DTYPE_F64] = "f8",
        [DTYPE_I8] = "i1",  [DTYPE_U8] = "u1",   [DTYPE_I16] = "i2", [DTYPE_I32] = "i4",
        [DTYPE_I64] = "i8", [DTYPE_BOOL] = "b1"};
    return codes[dtype];
}

static void pickle_string(buf *b, const char *text)
{
    size_t n = strlen(text);
    uint8_t head[5] = {'X', (uint8_t)n, (uint8_t)(n >> 8), (uint8_t)(n >> 16), (uint8_t)(n >> 24)};
    buf_append(b, head, sizeof head);
    buf_append(b, text, n);
}

static void pickle_int64(buf *b, int64_t value)
{
    uint8_t head[10] = {0x8a, 8}; /* LONG1 of eight bytes */
    for (int i = 0; i < 8; i++) head[2 + i] = (uint8_t)((uint64_t)value >> (8 * i));
    buf_append(b, head, sizeof head);
}

/* The name and the array up to where its bytes begin. */
static void pickle_array_begin(buf *b, const ckpt_item *item)
{
    uint64_t n = write_item_bytes(item);
    pickle_string(b, item->name);
    buf_append(b, ARRAY_BEGIN, sizeof ARRAY_BEGIN - 1);
    for (int i = 0; i < item->rank; i++) pickle_int64(b, item->shape[i]);
    buf_puts(b, "tcnumpy\ndtype\n(");
    pickle_string(b, dtype_code(item->dtype));
    buf_puts(b, "\x89\x88tR(K\x03"); /* False, True; then the state: version 3 */
    pickle_string(b, dtype_size(item->dtype) > 1 ? "<" : "|");
    buf_append(b, DTYPE_END, sizeof DTYPE_END - 1);
    for (int i = 0; i < 8; i++) buf_putc(b, (char)(n >> (8 * i)));
}

/* The bytes, and the end of the state. A failed write shows in ferror, which the commit checks. */
static cloze_status write_array(FILE *stream, const ckpt_item *item, cloze_error *err)
{
    buf head;
    buf_init(&head, 1 << 20);
    pickle_array_begin(&head, item);
    cloze_status status = buf_ok(&head)
        ? CLOZE_OK
        : error_set(err, CLOZE_ERR_MEMORY, "out of memory writing tensor '%s'", item->name);
    if (status == CLOZE_OK) {
        (void)write_sink_file(stream, head.data, head.len);
        status = write_item(item, stream, err);
        (void)write_sink_file(stream, "tb", 2);
    }
    buf_deinit(&head);
    return status;
}

/* {"StructuredToParameterName@@": {name: name}}, and the end of the pickle. */
static cloze_status write_names(FILE *stream, const ckpt_item *items, size_t n_items,
                                cloze_error *err)
{
    buf b;
    buf_init(&b, (size_t)1 << 30);
    pickle_string(&b, "StructuredToParameterName@@");
    buf_puts(&b, "}(");
    for (size_t i = 0; i < n_items; i++) {
        pickle_string(&b, items[i].name);
        pickle_string(&b, items[i].name);
    }
    buf_puts(&b, "uu.");
    bool ok = buf_ok(&b);
    if (ok) (void)write_sink_file(stream, b.data, b.len);
    buf_deinit(&b);
    if (!ok) CLOZE_FAIL(err, MEMORY, "out of memory writing the names of tensors");
    return CLOZE_OK;
}

cloze_status paddle_write(const char *path, const ckpt_item *items, size_t n_items,
                          cloze_error *err)
{
    CLOZE_TRY(write_check_items(path, items, n_items, err));
    file_writer w;
    CLOZE_TRY(file_writer_open(&w, path, err));
    (void)write_sink_file(w.stream, "\x80\x04}(", 4);
    cloze_status status = CLOZE_OK;
    for (size_t i = 0; i < n_items && status == CLOZE_OK; i++)
        status = write_array(w.stream, &items[i], err);
    if (status == CLOZE_OK) status = write_names(w.stream, items, n_items, err);
    if (status == CLOZE_OK) return file_writer_commit(&w, err);
    file_writer_abort(&w);
    return status;
}
