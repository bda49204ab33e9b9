/*
 * PaddleNLP's configurations and Hugging Face's. PaddleNLP writes config.json since 2.5 (Hugging
 * Face's keys, "paddlenlp_version", other defaults) and wrote model_config.json before (the
 * arguments of constructors: "init_args", "init_class"). Both are shown as the Hugging Face
 * configuration that computes the same.
 */
#ifndef CLOZE_MODEL_PADDLE_CONFIG_H
#define CLOZE_MODEL_PADDLE_CONFIG_H

#include "base/json.h"

/* True when PaddleNLP wrote it. */
bool paddle_config_is_one(const cJSON *json);

/* Rewrites the document in place. What would change the mathematics (pool_act, task_id) and cannot
 * be expressed is CLOZE_ERR_MODEL; `what` names the source. */
cloze_status paddle_config_to_hugging_face(cJSON *json, const char *what, cloze_error *err);

/* The configuration of a model that PaddleNLP knows by its name alone and whose cache directory has
 * no configuration ("ernie-3.0-base-zh"), as a heap string (mem_free) into *out; NULL: no such
 * name. */
cloze_status paddle_config_of_name(const char *name, char **out, cloze_error *err);

/* The other way, in place: a Hugging Face document becomes PaddleNLP's config.json for weights of
 * dtype_name. A model that PaddleNLP computes otherwise or not at all is CLOZE_ERR_MODEL. */
cloze_status paddle_config_from_hugging_face(cJSON *json, const char *what, const char *dtype_name,
                                             cloze_error *err);

#endif
