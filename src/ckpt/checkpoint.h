/*
 * A checkpoint: a read-only, named set of tensors from a model directory or one file (safetensors,
 * torch .bin, Paddle .pdparams; sharded too). Files are memory-mapped and tensors point into the
 * mapping: nothing is copied until somebody reads. No pickle is executed.
 *
 * Everything in the files is untrusted: a lying length, offset, count or name is CLOZE_ERR_MODEL
 * with the file and the tensor in the message. After ckpt_open all functions are safe from any
 * number of threads; what they return is borrowed and lives until ckpt_close.
 */
#ifndef CLOZE_CKPT_CHECKPOINT_H
#define CLOZE_CKPT_CHECKPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "tensor/dtype.h"

#define CKPT_MAX_RANK 8

typedef struct ckpt ckpt;

typedef struct ckpt_tensor {
    const char *name;
    const char *file; /* path of the file it is in, for messages */
    cloze_dtype dtype;
    int rank;                      /* 0 for a scalar */
    int64_t shape[CKPT_MAX_RANK];  /* every size >= 0; 1 beyond rank */
    int64_t stride[CKPT_MAX_RANK]; /* in elements, >= 0; 0 beyond rank */
    int64_t count;                 /* elements: the product of shape */
    const void *data;              /* element [0,0,...]; aligned only where `aligned` says so */
    size_t bytes;                  /* count x element size: what a contiguous copy takes */
    bool contiguous;               /* rows one after another: data[0 .. bytes) is the tensor */
    bool aligned;                  /* data is a multiple of the element size */
    bool mapped;                   /* in a mapped file (else memory: inflated, byte-swapped...) */
} ckpt_tensor;

/*
 * Opens a directory (model.safetensors, model.safetensors.index.json, pytorch_model.bin,
 * pytorch_model.bin.index.json, model_state.pdparams, model_state.pdparams.index.json: the first
 * that is there; else the only NAME.pdparams) or one file, whose format is told by its content.
 * *out is NULL on failure.
 */
cloze_status ckpt_open(const char *path, ckpt **out, cloze_error *err);
/* Whether ckpt_open would find any of these in a directory. */
bool ckpt_dir_has_weights(const char *dir);
/* The same from the bytes of one file, which must outlive the checkpoint; `what` names them. */
cloze_status ckpt_open_memory(const void *data, size_t n, const char *what, ckpt **out,
                              cloze_error *err);
void ckpt_close(ckpt *c); /* NULL is accepted */

const char *ckpt_format(const ckpt *c); /* "safetensors", "torch", "torch (legacy)", "paddle" */
size_t ckpt_count(const ckpt *c);
const ckpt_tensor *ckpt_at(const ckpt *c, size_t i);                /* in the order of the files */
const ckpt_tensor *ckpt_find(const ckpt *c, const char *name);      /* NULL: no such tensor */
const char *ckpt_metadata_get(const ckpt *c, const char *key);      /* NULL: no such key */

/* The tensor as count contiguous floats, whatever its dtype and strides; count must be t->count. */
cloze_status ckpt_read_f32(const ckpt_tensor *t, float *out, size_t count, cloze_error *err);
/* The tensor in its own dtype, made contiguous; bytes must be t->bytes. */
cloze_status ckpt_read_raw(const ckpt_tensor *t, void *out, size_t bytes, cloze_error *err);
/* Turns a matrix, which stays where it is: its shape and strides change places. Tensors of another
 * rank stay as they are. */
void ckpt_transpose(ckpt_tensor *t);
/* Gives the tensor's whole mapped pages back to the kernel: they are read again when touched. */
void ckpt_advise_dontneed(const ckpt_tensor *t);
/* "(768, 30522)" into text, always NUL-terminated; returns text. For messages. */
const char *ckpt_shape_text(const ckpt_tensor *t, char *text, size_t n);

#endif
