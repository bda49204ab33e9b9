/* What model.c, load.c and save.c share of a model. */
#ifndef CLOZE_MODEL_LOAD_H
#define CLOZE_MODEL_LOAD_H

#include "ckpt/checkpoint.h"
#include "model/model.h"

struct model {
    model_config config;
    model_head head;
    nn_state state;
    void *self;         /* the family's modules */
    ckpt *checkpoint;   /* keeps the mapping that parameters view; NULL for a created model */
    param_block *block; /* once training has begun */
};

/* Modules and empty parameters. */
cloze_status model_build(const model_config *config, model_head head, model **out,
                         cloze_error *err);
/* Random value for parameter `index` of the state. */
cloze_status model_initialize_param(model *m, int index, uint64_t seed, cloze_error *err);

#endif
