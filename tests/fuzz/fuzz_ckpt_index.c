/* covers: src/ckpt/ckpt_open.c */
/* dictionary: model.dict */
/*
 * The index of a sharded checkpoint from anywhere: refused with a message, or the tensors that it
 * promises. Input: the index, a NUL, the header of the shard "a.safetensors"; "b.safetensors" is
 * always there, and so is a third shard where no name in an index may lead.
 */
#include "ckpt/checkpoint.h"
#include "ckpt/checkpoint_write.h"
#include "fuzz_files.h"

#define SHARD_BYTES 64 /* of data */

static void put_shard(const char *header, size_t n) {
    uint8_t *bytes = calloc(1, 8 + n + SHARD_BYTES);
    if (!bytes) abort();
    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)((uint64_t)n >> (8 * i));
    memcpy(bytes + 8, header, n);
    fuzz_put("sharded/a.safetensors", bytes, 8 + n + SHARD_BYTES);
    free(bytes);
}

static void put_constant_shards(void) {
    static const float zeros[4];
    const ckpt_item b = {"b", DTYPE_F32, 2, {2, 2}, zeros, false};
    const ckpt_item outside = {"outside", DTYPE_F32, 1, {3}, zeros, false};
    cloze_error err = {0};
    if (dir_create(fuzz_path("sharded"), &err) != CLOZE_OK ||
        safetensors_write(fuzz_path("sharded/b.safetensors"), &b, 1, NULL, 0, &err) != CLOZE_OK ||
        safetensors_write(fuzz_path("outside.safetensors"), &outside, 1, NULL, 0, &err) != CLOZE_OK)
        abort();
}

static void check(const ckpt *c) {
    for (size_t i = 0; i < ckpt_count(c); i++) {
        const ckpt_tensor *t = ckpt_at(c, i);
        float value[64];
        if (strcmp(t->name, "outside") == 0 || ckpt_find(c, t->name) != t) abort();
        if (t->count <= 64 && ckpt_read_f32(t, value, (size_t)t->count, NULL) != CLOZE_OK) abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bool is_ready;
    size_t n;
    ckpt *c = NULL;
    cloze_error err = {0};
    if (!is_ready) put_constant_shards();
    is_ready = true;
    fuzz_put_part("sharded/model.safetensors.index.json", &data, &size);
    const char *header = fuzz_part(&data, &size, &n);
    put_shard(header, n);
    cloze_status status = ckpt_open(fuzz_path("sharded"), &c, &err);
    if (status == CLOZE_OK)
        check(c);
    else if (c || status != CLOZE_ERR_MODEL || !err.message[0])
        abort();
    ckpt_close(c);
    return 0;
}
