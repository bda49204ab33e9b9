/*
 * A model's config.json: Hugging Face's keys, read into plain fields, with the document kept so
 * that what we do not know is written back as it was.
 */
#ifndef CLOZE_MODEL_CONFIG_H
#define CLOZE_MODEL_CONFIG_H

#include "backend/backend.h"
#include "base/json.h"

typedef struct model_config {
    const struct model_def *def; /* from model_type */
    char model_type[32];         /* "bert", "roberta", "ernie", ... */
    int64_t vocab_size, hidden_size, num_hidden_layers, num_attention_heads, intermediate_size;
    int64_t max_position_embeddings, type_vocab_size;
    int64_t task_type_vocab_size; /* ERNIE; used when use_task_id */
    bool use_task_id;
    int64_t pad_token_id;
    activation hidden_act;
    double layer_norm_eps, initializer_range;
    double hidden_dropout_prob, attention_probs_dropout_prob;
    double classifier_dropout; /* < 0: as hidden_dropout_prob */
    int64_t num_labels;        /* 2 when the file names none */
    cJSON *json;               /* owned: the whole document, PaddleNLP's in Hugging Face's form */
} model_config;

/* Reads dir/config.json; where it is not there, PaddleNLP's older dir/model_config.json, or what is
 * known of a published model of dir's name. Every failure is CLOZE_ERR_MODEL with the key in the
 * message. */
cloze_status model_config_read(const char *dir, model_config *out, cloze_error *err);
/* Whether one of the three is there; ERR_MEMORY alone. */
cloze_status model_config_find(const char *dir, bool *found, cloze_error *err);
/* From text (tests, pretrain). */
cloze_status model_config_parse(const char *text, size_t n, const char *what, model_config *out,
                                cloze_error *err);
/* Deep copy. */
cloze_status model_config_copy(const model_config *from, model_config *to, cloze_error *err);
/* Sets num_labels with Hugging Face's id2label and label2id; labels (n) may be NULL: LABEL_0, ...
 */
cloze_status model_config_set_labels(model_config *c, const char *const labels[], int64_t n,
                                     cloze_error *err);
void model_config_deinit(model_config *c);

#endif
