/* What the files of pre-training share. */
#ifndef CLOZE_TRAIN_PRETRAIN_INTERNAL_H
#define CLOZE_TRAIN_PRETRAIN_INTERNAL_H

#include "train/masked_batch.h"
#include "train/output_dir.h"
#include "train/train_loop.h"

#define PRETRAIN_WORDS_FILE "words.txt"

typedef struct pretrain {
    options *o;
    const cloze_callbacks *callbacks;
    char *resume;   /* the checkpoint to go on from, or NULL */
    char *base_dir; /* the model to go on from (of a resumed run: that checkpoint), or NULL */
    output_dir out;
    tokenizer *tok;
    segmenter *words;          /* NULL without whole-word masking */
    keyword_prompts *keywords; /* NULL without keyword prompts */
    corpus train, held;
    model *model;
    session session;
    masked_batch batch;
    mask_options mask;       /* of held-out text */
    mask_options train_mask; /* the same, with keyword prompts */
    train_loop loop;
    int64_t max_seq_length; /* as asked for, or what the model takes */
    int64_t tokens_before;  /* of earlier processes of the run */
} pretrain;

/* Held-out sequences, masked once and for all. */
typedef struct held_out {
    double loss, top1, top5; /* means over masked tokens */
    int64_t n;               /* masked tokens */
} held_out;

/* ---- pretrain_model.c: opens tokenizer, model, words, corpus and keywords, in this order ---- */
cloze_status pretrain_open(pretrain *p, cloze_error *err);
/* Model, tokenizer and word list into an existing directory. */
cloze_status pretrain_save_model(const pretrain *p, const char *dir, cloze_dtype dtype,
                                 cloze_error *err);

/* ---- pretrain_eval.c ---- */
/* Logits (M,V) of the masked positions of p->batch, within a tape step that the caller began. */
var *pretrain_batch_logits(pretrain *p);
/* The end of a batch of sequences order[first..): as many as fit into `budget` tokens, at least
 * one. */
int64_t pretrain_batch_end(const corpus *c, const int32_t *order, int64_t first, int64_t budget);
/* Evaluates, logs and tells. */
cloze_status pretrain_evaluate(pretrain *p, held_out *h, cloze_error *err);
/* `"eval_loss": ..` pairs without braces, separated by `separator`. */
void pretrain_put_held_out(const held_out *h, const char *separator, buf *b);

#endif
