/*
 * Finding parameters under the names that checkpoints really use. Models ask for the canonical
 * Hugging Face name ("bert.encoder.layer.0.attention.self.query.weight"); the map tries the known
 * spellings: with, without or with another base prefix ("bert.", "roberta.", "ernie."...), wrapped
 * ("module.", "model."), gamma/beta of old LayerNorms, decoder bias under either owner, and a tied
 * decoder that is not stored at all. The rules are tables in name_map.c.
 *
 * The map remembers what was found, so that missing and unexpected names can be listed. One thread.
 */
#ifndef CLOZE_CKPT_NAME_MAP_H
#define CLOZE_CKPT_NAME_MAP_H

#include "base/buf.h"
#include "ckpt/checkpoint.h"

typedef struct name_map name_map;

/* base is the canonical base prefix without its dot: "bert", "roberta", "ernie"; may be "". The
 * checkpoint is borrowed and must outlive the map. */
cloze_status name_map_create(const ckpt *c, const char *base, name_map **out, cloze_error *err);
void name_map_destroy(name_map *m); /* NULL is accepted */

/*
 * The tensor that holds the parameter `name`, or NULL (then `name` counts as missing, once). A tied
 * decoder gives the word embedding's tensor: compare pointers to know. Borrowed from the map: it
 * lives until the map and the checkpoint end.
 */
const ckpt_tensor *name_map_find(name_map *m, const char *name);
/* The same without remembering: for optional parameters and for telling what a checkpoint is. */
const ckpt_tensor *name_map_peek(const name_map *m, const char *name);
/* As name_map_find, but absent or of another shape is CLOZE_ERR_MODEL; shape has rank sizes. */
cloze_status name_map_require(name_map *m, const char *name, int rank, const int64_t *shape,
                              const ckpt_tensor **out, cloze_error *err);

size_t name_map_missing_count(const name_map *m);
const char *name_map_missing_at(const name_map *m, size_t i);
/* Tensors that nobody asked for, without those known to be harmless (position_ids buffers, the
 * next-sentence head...). */
size_t name_map_unexpected_count(const name_map *m);
/* A name without what wrapper classes put before it, and with LayerNorms' weight and bias for gamma
 * and beta; into out, cut to fit. */
void name_map_plain_name(const char *name, char *out, size_t n);
/* One line such as "2 missing (a, b); 40 unexpected (c, d, e, ...)"; nothing when all is well. */
void name_map_describe(const name_map *m, buf *out);

#endif
