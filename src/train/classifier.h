/*
 * A classifier: a model, its tokenizer, labels, and the method that turns hidden states into class
 * logits. What `train` makes, a run directory holds, and `eval` and `predict` use.
 *
 *   prompt    template + verbalizer over the masked-LM head
 *   finetune  [CLS] text [SEP], sequence-classification head
 *
 * An example has one or more views: encodings that differ in their number of masks (a manual
 * verbalizer whose words have several lengths). The logits are a function of all views.
 */
#ifndef CLOZE_TRAIN_CLASSIFIER_H
#define CLOZE_TRAIN_CLASSIFIER_H

#include "prompt/batch.h"
#include "tune/verbalizer.h"

typedef enum classifier_method { METHOD_PROMPT, METHOD_FINETUNE } classifier_method;

typedef struct classifier_options {
    classifier_method method;
    verbalizer_kind verbalizer;
    const char *prompt;     /* NULL or "": {'text': 'text_a'}{'mask'} */
    int32_t max_seq_length; /* tokens, special ones included */
    int do_lower_case;      /* 1, 0, -1 = the tokenizer's own setting */
    bool truncate_left;
    const char *text_field,
        *text_b_field; /* columns that {'text': ...} may name besides text_a, text_b; or NULL */
    bool has_text_b;   /* pairs: fine-tuning encodes both */
    uint64_t seed;     /* of new head parameters */
    int32_t n_layers;  /* create: only the model's first so many; 0 = all */
    const cloze_callbacks *callbacks;
    /* How PaddleNLP's runs were trained; false for our own. */
    bool first_generation;   /* 2.3.5 to 2.4.0: the last [SEP] has the running position, the last part
                                is cut first, hidden states at several masks are averaged */
    bool absolute_positions; /* positions are table rows as they are, RoBERTa's offset left out */
    /* open: a model (directory or name) that lends its configuration to a PaddleNLP run without one.
     * NULL = ernie-3.0-base-zh, as in PaddleNLP's script. */
    const char *base_model;
} classifier_options;

typedef struct classifier classifier;

/* From a pre-trained model directory. labels are copied. */
cloze_status classifier_create(const char *model_dir, const classifier_options *options,
                               const label_set *labels, classifier **out, cloze_error *err);
/* From a run directory or one of its checkpoints. max_seq_length 0 and do_lower_case -1 keep what
 * was trained with; other fields of options but callbacks and base_model are not looked at. A
 * directory that PaddleNLP's few-shot scripts wrote is a run directory too: classifier_paddle.h. */
cloze_status classifier_open(const char *run_dir, const classifier_options *options,
                             classifier **out, cloze_error *err);
void classifier_destroy(classifier *c);
/* True when the directory holds a trained classifier (and not a bare pre-trained model). */
bool classifier_is_run_dir(const char *dir);
bool classifier_has_soft_verbalizer(const classifier *c);

/* Writes model, tokenizer, template_config.json, verbalizer_config.json, prompt.safetensors and
 * classifier.json into an existing directory. */
cloze_status classifier_save(const classifier *c, const char *dir, cloze_error *err);

/* The same without model and tokenizer. */
cloze_status classifier_save_settings(const classifier *c, const char *dir, cloze_error *err);

model *classifier_model(classifier *c);
const tokenizer *classifier_tokenizer(const classifier *c);
const label_set *classifier_labels(const classifier *c);
classifier_method classifier_get_method(const classifier *c);
const classifier_options *classifier_get_options(const classifier *c);
/* True when both texts of a pair take part: then a plain line to predict is text TAB text_b. */
bool classifier_reads_pairs(const classifier *c);
int32_t classifier_n_views(const classifier *c);
const input_encoder *classifier_encoder(const classifier *c, int32_t view);
/* ERR_DATA, with the line, for an example that reaches beyond the model's positions or token types:
 * templates may set both, and may forbid to cut. */
cloze_status classifier_check_encoded(const classifier *c, const encoded_set *set,
                                      const example *examples, cloze_error *err);

/* What to say of scores that are NaN or infinite: ERR_MODEL when the model was opened with such
 * weights, ERR_NONFINITE when training made them so. */
cloze_status classifier_fail_nonfinite(classifier *c, double value, cloze_error *err);

/* Makes everything trainable that the method trains (freeze_plm: only head and verbalizer), in one
 * block that lives as long as the classifier. */
cloze_status classifier_train_begin(classifier *c, bool freeze_plm, param_block **out,
                                    cloze_error *err);

/* How a batch is run: dropout keys are made from example ids, positions and `pass`. */
typedef struct classifier_run {
    bool dropout;       /* training */
    int32_t pass;       /* which of several passes over the same batch (R-Drop) */
    bool checkpointing; /* recompute each layer in backward */
} classifier_run;

/* Class logits (B,C), f32, of a batch given in all its views, within a tape step that the caller
 * began. */
var *classifier_logits(tape *t, classifier *c, const packed_batch *const views[],
                       const classifier_run *run);

#endif
