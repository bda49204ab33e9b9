/* Tiny models of every family, made on the spot: their configurations, and directories of them. */
#ifndef CLOZE_TESTS_TINY_MODEL_H
#define CLOZE_TESTS_TINY_MODEL_H

#include "ckpt/checkpoint_write.h"
#include "model/model.h"
#include "unit/unit_support.h"

/* A BERT of 2 layers, hidden 16, 2 heads; initializer_range 0.3 so that outputs differ. */
#define TINY_FIELDS                                                                                \
    "\"hidden_size\": 16, \"num_attention_heads\": 2, \"intermediate_size\": 24, "                 \
    "\"num_hidden_layers\": 2, \"max_position_embeddings\": 24, \"type_vocab_size\": 2, "          \
    "\"initializer_range\": 0.3, \"hidden_dropout_prob\": 0.0, "                                   \
    "\"attention_probs_dropout_prob\": 0.0"
#define TINY_BERT "{\"model_type\": \"bert\", \"vocab_size\": 40, " TINY_FIELDS "}"

static UNUSED model_config tiny_config(const char *text) {
    model_config c;
    MUST(model_config_parse(text, strlen(text), "test config", &c, err));
    return c;
}

static UNUSED model *tiny_model(const char *config_text, model_head head, uint64_t seed) {
    model_config c = tiny_config(config_text);
    model *m = NULL;
    MUST(model_create(&c, head, seed, &m, err));
    model_config_deinit(&c);
    return m;
}

/* config.json and model.safetensors in a new directory. */
static UNUSED void tiny_model_dir(const char *dir, const char *config_text, model_head head,
                                  uint64_t seed) {
    model *m = tiny_model(config_text, head, seed);
    MUST(dir_create(dir, err));
    MUST(model_save(m, dir, DTYPE_F32, err));
    model_destroy(m);
}

static UNUSED param *find_param(model *m, const char *entry_name) {
    const nn_entry *e = nn_state_find(model_get_state(m), entry_name);
    if (!e) fail_msg("the model has no tensor %s", entry_name);
    return e->param;
}

#endif
