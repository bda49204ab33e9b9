/*
 * Models: a config, parameters, a forward pass and the names that checkpoints give its tensors. A
 * new model family is one file and one line in registry.c.
 *
 * A loaded model is immutable while predicting and may be shared by threads, each with its own
 * tape. Training belongs to one thread. Parameters of an opened model are views of the mapped
 * checkpoint (a fused QKV and vectors that need converting are copied); model_train_begin copies
 * the trainable ones into one block.
 */
#ifndef CLOZE_MODEL_MODEL_H
#define CLOZE_MODEL_MODEL_H

#include "model/config.h"
#include "nn/nn.h"

typedef struct model model;

typedef enum model_head {
    MODEL_HEAD_NONE,
    MODEL_HEAD_MASKED_LM,
    MODEL_HEAD_SEQUENCE_CLASSIFICATION
} model_head;

/* A model family. `self` is the family's own state, made by build. */
typedef struct model_def {
    const char *const *model_types;   /* config.json's model_type values, NULL-terminated */
    const char *base;                 /* checkpoint prefix of the encoder: "bert" */
    const char *const *architectures; /* Hugging Face class names by model_head */
    cloze_status (*build)(const model_config *c, model_head head, nn_state *state, void **self,
                          cloze_error *err);
    void (*destroy)(void *self);
    /* (N,H), or (R,H) with rows; see model_encode_rows */
    var *(*encode)(tape *t, void *self, const nn_batch *batch, const nn_rows *rows,
                   bool checkpointing);
    var *(*masked_lm_transform)(tape *t, void *self, var *rows);
    void (*masked_lm_decoder)(void *self, param **weight, param **bias);
    var *(*classify)(tape *t, void *self, var *first);
    void (*set_dropout)(void *self, double hidden, double attention, double classifier);
    int64_t (*max_length)(const model_config *c);
    /* Visits every module slot that a tuning method may fill. */
    void (*visit_linears)(void *self, void (*visit)(void *ctx, const char *name, nn_linear *l),
                          void *ctx);
    void (*visit_attentions)(void *self, void (*visit)(void *ctx, nn_attention *a), void *ctx);
    nn_embeddings *(*embeddings)(void *self);
} model_def;

/* ERR_MODEL naming the known types when there is none; what names the source. */
cloze_status model_def_find(const char *model_type, const char *what, const model_def **out,
                            cloze_error *err);

typedef struct model_open_options {
    model_head head;
    const char *const
        *labels;        /* classification: (num_labels) names, or NULL to keep config.json's */
    int64_t num_labels; /* 0 = as config.json says */
    const model_config *config; /* instead of dir's own; NULL = that */
    uint64_t seed;      /* for head parameters that the checkpoint lacks */
    int32_t n_layers;   /* only the first so many; 0 = all (a probe of the others' cost) */
    bool require_head;  /* a head that the checkpoint lacks is an error, not initialised */
    const cloze_callbacks *callbacks; /* says which parameters were initialised; may be NULL */
} model_open_options;

/* Opens a Hugging Face model directory. ERR_MODEL names file and tensor. */
cloze_status model_open(const char *dir, const model_open_options *options, model **out,
                        cloze_error *err);
/* A fresh model with random parameters (a function of seed and names); config is copied. */
cloze_status model_create(const model_config *config, model_head head, uint64_t seed, model **out,
                          cloze_error *err);
void model_destroy(model *m);

const model_config *model_get_config(const model *m);
model_head model_get_head(const model *m);
nn_state *model_get_state(model *m);
int64_t model_max_length(const model *m); /* longest sequence its position table allows */
int64_t model_param_count(const model *m);
bool model_has_tied_decoder(const model *m);
nn_embeddings *model_embeddings(model *m);
const model_def *model_get_def(const model *m);
void *model_get_self(model *m);

/* Dropout probabilities of all modules: < 0 keeps config.json's. */
void model_set_dropout(model *m, double hidden, double attention);

/* Hidden states of the last layer (N,H). checkpointing: recompute each layer in backward. */
var *model_encode(tape *t, model *m, const nn_batch *batch, bool checkpointing);
/* Those of the rows rows[0..n_rows) (host, borrowed for the step) only: (R,H). The last layer spares
 * itself the others, which is exact. Rows of one sequence stand together, in the batch's order of
 * sequences; a row may repeat. */
var *model_encode_rows(tape *t, model *m, const nn_batch *batch, const int32_t *rows,
                       int64_t n_rows, bool checkpointing);
/* What precedes the vocabulary product: rows (R,H) -> (R,H). */
var *model_masked_lm_transform(tape *t, model *m, var *rows);
/* Vocabulary logits (R,V) of transformed rows, or (R,n) of the given vocabulary rows only. */
var *model_masked_lm_logits(tape *t, model *m, var *transformed, const int32_t *vocab_rows,
                            int64_t n);
/* The vocabulary matrix (V,H) and its bias (1,V). */
void model_masked_lm_decoder(model *m, param **weight, param **bias);
/* Class logits (B,C) from the first token's hidden states (B,H). */
var *model_classify(tape *t, model *m, var *first);
/* Row index of each sequence's first token. out (B). */
void model_first_rows(const nn_batch *batch, int32_t *out);

/* ERR_MODEL with name and place when a weight is NaN or infinite. Reads all of them: for when results
 * are not finite. */
cloze_status model_check_finite(const model *m, cloze_error *err);

/* Makes parameters trainable (requires_grad must be set on each) and copies them, with `extra` ones
 * (prompt parameters), into one block. Trainable embeddings are row-lazy. Ended by model_destroy.
 */
cloze_status model_train_begin(model *m, param *const extra[], int n_extra, param_block **out,
                               cloze_error *err);
/* Sets requires_grad of every parameter. */
void model_set_requires_grad(model *m, bool on);

/* Writes config.json and model.safetensors in Hugging Face's names into an existing directory.
 * dtype F32, BF16 or F16; extra tensors may be left out with skip_head (a bare encoder). */
cloze_status model_save(const model *m, const char *dir, cloze_dtype dtype, cloze_error *err);

#endif
