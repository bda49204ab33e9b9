/*
 * ckpt_copy IN OUT [MAX_SHARD_BYTES]: reads any checkpoint with cloze's reader and writes it with
 * cloze's writers: OUT ending in .bin is torch's format, an existing directory gets safetensors
 * (sharded when MAX_SHARD_BYTES says so), anything else is a safetensors file. The program of
 * tools/compare_checkpoints.py, which builds it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "ckpt/checkpoint.h"
#include "ckpt/checkpoint_write.h"

/* The items of all tensors, made contiguous where they are not; *copies holds what that took. */
static cloze_status make_items(const ckpt *c, ckpt_item *items, void **copies, cloze_error *err)
{
    for (size_t i = 0; i < ckpt_count(c); i++) {
        const ckpt_tensor *t = ckpt_at(c, i);
        items[i] =
            (ckpt_item){.name = t->name, .dtype = t->dtype, .rank = t->rank, .data = t->data};
        memcpy(items[i].shape, t->shape, sizeof t->shape);
        if (t->contiguous) continue;
        copies[i] = mem_alloc(t->bytes);
        if (!copies[i]) CLOZE_FAIL(err, MEMORY, "out of memory (%zu bytes)", t->bytes);
        CLOZE_TRY(ckpt_read_raw(t, copies[i], t->bytes, err));
        items[i].data = copies[i];
    }
    return CLOZE_OK;
}

static cloze_status write_items(const char *out, uint64_t max_shard_bytes, const ckpt_item *items,
                                size_t n, cloze_error *err)
{
    size_t len = strlen(out);
    if (len > 4 && strcmp(out + len - 4, ".bin") == 0) return torch_write(out, items, n, err);
    if (file_is_dir(out))
        return safetensors_write_sharded(out, items, n, NULL, 0, max_shard_bytes, err);
    return safetensors_write(out, items, n, NULL, 0, err);
}

static cloze_status copy(const char *in, const char *out, uint64_t max_shard_bytes,
                         cloze_error *err)
{
    ckpt *c;
    CLOZE_TRY(ckpt_open(in, &c, err));
    size_t n = ckpt_count(c);
    ckpt_item *items = mem_calloc(n, sizeof *items);
    void **copies = mem_calloc(n, sizeof *copies);
    cloze_status status = items && copies ? make_items(c, items, copies, err) : CLOZE_ERR_MEMORY;
    if (status == CLOZE_OK) status = write_items(out, max_shard_bytes, items, n, err);
    if (status == CLOZE_OK) printf("%s, %zu tensors\n", ckpt_format(c), n);
    for (size_t i = 0; copies && i < n; i++) mem_free(copies[i]);
    mem_free(copies);
    mem_free(items);
    ckpt_close(c);
    return status;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: ckpt_copy IN OUT [MAX_SHARD_BYTES]\n");
        return 2;
    }
    cloze_error err = {0};
    uint64_t max_shard_bytes = argc > 3 ? strtoull(argv[3], NULL, 10) : UINT64_MAX;
    cloze_status status = copy(argv[1], argv[2], max_shard_bytes, &err);
    if (status != CLOZE_OK) fprintf(stderr, "%s\n", err.message);
    return (int)status;
}
