/* Which tensors a conversion writes, and whether the written ones are the same. */
#ifndef CLOZE_DEPLOY_CONVERT_TENSORS_H
#define CLOZE_DEPLOY_CONVERT_TENSORS_H

#include "base/mem.h"
#include "ckpt/checkpoint_write.h"
#include "model/config.h"

typedef enum convert_format { CONVERT_SAFETENSORS, CONVERT_TORCH, CONVERT_PADDLE } convert_format;

/* One tensor of a target. */
typedef struct convert_entry {
    const char *written;         /* its name in the target */
    const char *name;            /* Hugging Face's, by which it is found again */
    const ckpt_tensor *original; /* of the source */
    ckpt_tensor view;            /* the same, turned where the target's layout is the other */
    cloze_dtype dtype;           /* in the target */
} convert_entry;

typedef struct convert_plan {
    convert_entry *entries; /* (n) in the order of their written names, whatever the source's */
    ckpt_item *items;       /* (n) the same for a writer */
    size_t n;
    arena memory; /* names */
} convert_plan;

typedef struct convert_target {
    convert_format format;
    bool keep_dtype;
    cloze_dtype dtype; /* of floats, unless keep_dtype */
    bool soft_run;     /* Paddle: a run whose soft verbalizer took the masked-LM head with it */
} convert_target;

/*
 * source is seen under Hugging Face's names (ckpt_open_model); prompt has the verbalizer's tensors
 * of a soft run. Both outlive the plan. Wrappers'
 * prefixes and gamma/beta are made plain. A tied decoder, stored a second time by some, is left out
 * for Hugging Face and put in for PaddleNLP, as each writes it; so is a decoder's bias. A soft
 * verbalizer's own tensors are only part of a Paddle run's. End with convert_plan_deinit, after a
 * failure too.
 */
cloze_status convert_plan_make(const ckpt *source, const ckpt *prompt, const model_config *config,
                               const convert_target *target, convert_plan *out, cloze_error *err);
void convert_plan_deinit(convert_plan *p);

/* Opens what was written in dir and compares every tensor with its source, converted: a difference
 * is ERR_INTERNAL; a number that became infinite in float16 is ERR_MODEL. */
cloze_status convert_plan_verify(const convert_plan *p, const char *dir, cloze_error *err);

#endif
