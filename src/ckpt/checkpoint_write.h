/*
 * Writers of checkpoints: safetensors (whole and sharded), torch .bin and Paddle's .pdparams. Data
 * stream from memory to the file; nothing is copied but a conversion buffer, or one tensor that
 * comes from another checkpoint. Every file is written beside its place,
 * synced and renamed, so a reader sees the old file or the new one. The same items give the same
 * bytes.
 */
#ifndef CLOZE_CKPT_CHECKPOINT_WRITE_H
#define CLOZE_CKPT_CHECKPOINT_WRITE_H

#include "ckpt/checkpoint.h"

typedef struct ckpt_item {
    const char *name; /* UTF-8, unique among the items */
    cloze_dtype dtype; /* in the file */
    int rank;
    int64_t shape[CKPT_MAX_RANK];
    const void *data; /* contiguous, of dtype; or floats when from_f32 */
    bool from_f32;    /* data are floats, converted to dtype (F32, BF16, F16, F64) on the way out */
    /* Instead of data: a tensor of an open checkpoint of as many elements, read through its strides
     * and, where both are floats, converted to dtype. NULL = data. */
    const ckpt_tensor *source;
} ckpt_item;

typedef struct ckpt_metadata {
    const char *key, *value;
} ckpt_metadata;

/*
 * Names, order and padding are the safetensors library's own. {"format":"pt"} is added to the
 * metadata unless meta has a "format": transformers refuses files without it.
 */
cloze_status safetensors_write(const char *path, const ckpt_item *items, size_t n_items,
                               const ckpt_metadata *meta, size_t n_meta, cloze_error *err);
/*
 * model.safetensors in dir when it all fits max_shard_bytes, else model-00001-of-0000N.safetensors
 * and model.safetensors.index.json, in the order of the items. A tensor larger than the limit gets
 * a shard of its own. The counterpart of an earlier save (index or whole file) is removed.
 */
cloze_status safetensors_write_sharded(const char *dir, const ckpt_item *items, size_t n_items,
                                       const ckpt_metadata *meta, size_t n_meta,
                                       uint64_t max_shard_bytes, cloze_error *err);
/* What torch.save(state_dict) writes, readable by torch.load(weights_only=True). */
cloze_status torch_write(const char *path, const ckpt_item *items, size_t n_items,
                         cloze_error *err);

/* What paddle.save(state_dict) writes; names and layout are the items' own (paddle_names.h). */
cloze_status paddle_write(const char *path, const ckpt_item *items, size_t n_items,
                          cloze_error *err);

#endif
