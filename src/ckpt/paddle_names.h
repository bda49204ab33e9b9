/*
 * PaddleNLP's parameter names and layout, and Hugging Face's: BERT, ERNIE and RoBERTa. PaddleNLP
 * stores the matrix of a linear layer as (in, out), Hugging Face as (out, in); embeddings and the
 * vocabulary matrix are (rows, hidden) in both. One table serves both directions.
 */
#ifndef CLOZE_CKPT_PADDLE_NAMES_H
#define CLOZE_CKPT_PADDLE_NAMES_H

#include "ckpt/checkpoint.h"

/* True when the names are PaddleNLP's, whatever container they are in. */
bool paddle_names_found(const ckpt *c);

/*
 * Shows such a checkpoint under Hugging Face's names: the tensors are renamed, and matrices of
 * linear layers get exchanged strides (nothing is copied: ckpt_read_* turn them). The head of a
 * soft verbalizer becomes the masked-LM head that it was cut from, and "verbalizer.weight" (C,H),
 * "verbalizer.bias" (C). A checkpoint of other names stays as it is. Before the checkpoint is
 * shared between threads.
 */
cloze_status paddle_names_apply(ckpt *c, cloze_error *err);

/* ckpt_open, then paddle_names_apply: what a model is read through. */
cloze_status ckpt_open_model(const char *path, ckpt **out, cloze_error *err);

/* PaddleNLP's name of a canonical Hugging Face one into out, cut to fit; true when the matrix is
 * stored transposed there. A name that is the same in both is copied. */
bool paddle_name_of(const char *name, char *out, size_t n);

#endif
