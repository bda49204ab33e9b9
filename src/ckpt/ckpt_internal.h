/*
 * What the readers of the single formats share: the checkpoint under construction, and the one
 * place (ckpt_add_view) where a tensor's shape, strides and offset are checked against the bytes
 * that are really there.
 */
#ifndef CLOZE_CKPT_CKPT_INTERNAL_H
#define CLOZE_CKPT_CKPT_INTERNAL_H

#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "ckpt/checkpoint.h"

typedef struct ckpt_file {
    const char *path; /* in the arena */
    file_map map;
    bool mapped; /* else the bytes are the caller's memory */
} ckpt_file;

typedef struct ckpt_pair {
    const char *key, *value; /* in the arena */
} ckpt_pair;

struct ckpt {
    arena arena;
    const char *format;
    ckpt_file **files; /* (n_files) */
    size_t n_files, cap_files;
    void **owned; /* (n_owned) heap blocks: inflated, byte-swapped or decoded storages */
    size_t n_owned, cap_owned;
    ckpt_tensor *tensors; /* (n_tensors), in the order of the files */
    size_t n_tensors, cap_tensors;
    ckpt_pair *pairs; /* (n_pairs) metadata */
    size_t n_pairs, cap_pairs;
    hash_map index; /* name -> position in tensors */
};

/* A tensor as a file describes it: nothing in it is trusted but storage and storage_bytes. */
typedef struct ckpt_view {
    const char *name; /* name_len bytes, not NUL-terminated */
    size_t name_len;
    const ckpt_file *file;
    cloze_dtype dtype;
    int64_t rank;
    int64_t shape[CKPT_MAX_RANK];
    bool has_stride; /* else row-major */
    int64_t stride[CKPT_MAX_RANK];
    int64_t offset; /* elements into storage */
    const uint8_t *storage;
    size_t storage_bytes;
    bool mapped;
} ckpt_view;

/* Checks v and adds it; a wrong view or a second tensor of that name is CLOZE_ERR_MODEL. */
cloze_status ckpt_add_view(ckpt *c, const ckpt_view *v, cloze_error *err);
/* A heap block that lives as long as the checkpoint. */
cloze_status ckpt_alloc_owned(ckpt *c, size_t bytes, void **out, cloze_error *err);
cloze_status ckpt_add_metadata(ckpt *c, const char *key, const char *value, cloze_error *err);

/* Reverses the bytes of every `size`-byte element in a copy owned by c: big-endian files. */
cloze_status ckpt_swap_bytes(ckpt *c, const uint8_t *data, size_t bytes, size_t size,
                             const uint8_t **out, cloze_error *err);
/* text with what a terminal should not see replaced by '?', cut to fit; returns out. */
const char *ckpt_printable(const char *text, size_t len, char *out, size_t out_size);

/* Readers: add every tensor of a mapped file. */
cloze_status safetensors_read(ckpt *c, const ckpt_file *f, cloze_error *err);
cloze_status torch_read_zip(ckpt *c, const ckpt_file *f, cloze_error *err);
bool torch_is_legacy(const uint8_t *data, size_t n);
cloze_status torch_read_legacy(ckpt *c, const ckpt_file *f, cloze_error *err);
cloze_status paddle_read(ckpt *c, const ckpt_file *f, cloze_error *err);

#endif
