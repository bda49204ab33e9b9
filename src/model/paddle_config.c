/* PaddleNLP's configurations to Hugging Face's and back, as rules over the JSON document. */
#include "model/paddle_config.h"

#include <string.h>

/* PaddleNLP's own epsilon of ERNIE's norms: it sets this one whatever the file says. */
#define ERNIE_LAYER_NORM_EPS 1e-12
#define ARGUMENTS_MAX 1000 /* each is looked for among all others; real files have some thirty */
#define TYPE_VOCAB_SIZE 16 /* PaddleNLP's default; Hugging Face's is 2 */

static const struct {
    const char *class_prefix, *model_type;
} FAMILIES[] = {{"Bert", "bert"}, {"Ernie", "ernie"}, {"Roberta", "roberta"}};
#define N_FAMILIES (sizeof FAMILIES / sizeof *FAMILIES)

static cJSON *item_of(const cJSON *json, const char *key) {
    return cJSON_GetObjectItemCaseSensitive(json, key);
}

/* A key that is there and says something. */
static cJSON *value_of(const cJSON *json, const char *key) {
    cJSON *item = item_of(json, key);
    return cJSON_IsNull(item) ? NULL : item;
}

static void drop(cJSON *json, const char *key) {
    cJSON_DeleteItemFromObjectCaseSensitive(json, key);
}

/* Puts value (owned, NULL for want of memory) in place of what is there. */
static cloze_status put(cJSON *json, const char *key, cJSON *value, cloze_error *err) {
    drop(json, key);
    if (value && cJSON_AddItemToObject(json, key, value)) return CLOZE_OK;
    cJSON_Delete(value);
    CLOZE_FAIL(err, MEMORY, "out of memory for the model configuration");
}

static cloze_status put_default(cJSON *json, const char *key, cJSON *value, cloze_error *err) {
    if (!value_of(json, key)) return put(json, key, value, err);
    cJSON_Delete(value);
    return CLOZE_OK;
}

/* Moves a value to another name unless that one is taken. */
static cloze_status rename_key(cJSON *json, const char *from, const char *to, cloze_error *err) {
    cJSON *value = cJSON_DetachItemFromObjectCaseSensitive(json, from);
    if (!value || cJSON_IsNull(value) || value_of(json, to)) {
        cJSON_Delete(value);
        return CLOZE_OK;
    }
    return put(json, to, value, err);
}

static cloze_status put_architecture(cJSON *json, const char *name, cloze_error *err) {
    return put(json, "architectures", cJSON_CreateStringArray(&name, 1), err);
}

bool paddle_config_is_one(const cJSON *json) {
    return item_of(json, "paddlenlp_version") || item_of(json, "init_args") ||
           item_of(json, "init_class");
}

/* ---- to Hugging Face ---- */

/* {"init_args": [{arguments of the encoder}], more arguments, "init_class": class} to one level;
 * what stands further out wins. */
static cloze_status flatten(cJSON *json, const char *what, cloze_error *err) {
    int n = 0;
    cJSON *args = cJSON_DetachItemFromObjectCaseSensitive(json, "init_args");
    cloze_status status = CLOZE_OK;
    for (cJSON *one = args ? args->child : NULL; one && status == CLOZE_OK; one = one->next) {
        cJSON *item = cJSON_IsObject(one) ? one->child : NULL;
        while (item && status == CLOZE_OK) {
            cJSON *next = item->next;
            if (++n > ARGUMENTS_MAX)
                status = error_set(err, CLOZE_ERR_MODEL,
                                   "%s: \"init_args\" has more than %d arguments", what,
                                   ARGUMENTS_MAX);
            else if (!item_of(json, item->string)) {
                cJSON *copy = cJSON_Duplicate(item, 1);
                status = put(json, item->string, copy, err);
            }
            item = next;
        }
    }
    cJSON_Delete(args);
    return status;
}

/* The class's name says the family: "ErnieForMaskedLM" and "ErnieModel", but not "ErnieMModel". */
static const char *family_of(const char *class_name) {
    for (size_t i = 0; i < N_FAMILIES; i++) {
        size_t n = strlen(FAMILIES[i].class_prefix);
        if (strncmp(class_name, FAMILIES[i].class_prefix, n) != 0) continue;
        if (strncmp(class_name + n, "For", 3) == 0 || strcmp(class_name + n, "Model") == 0)
            return FAMILIES[i].model_type;
    }
    return NULL;
}

static const char *architecture_of(const cJSON *json) {
    const cJSON *first = cJSON_GetArrayItem(item_of(json, "architectures"), 0);
    return cJSON_IsString(first) ? first->valuestring : NULL;
}

static cloze_status put_model_type(cJSON *json, const char *what, cloze_error *err) {
    const char *class_name = architecture_of(json);
    if (value_of(json, "model_type")) return CLOZE_OK;
    if (!class_name)
        CLOZE_FAIL(err, MODEL, "%s: neither \"model_type\" nor \"init_class\" says what it is",
                   what);
    const char *type = family_of(class_name);
    if (!type)
        CLOZE_FAIL(err, MODEL,
                   "%s: class \"%.80s\" is not one that is known (Ernie, Bert and Roberta models)",
                   what, class_name);
    return put(json, "model_type", cJSON_CreateString(type), err);
}

static cloze_status check_variant(const cJSON *json, const char *what, cloze_error *err) {
    const char *pool_act = "tanh";
    int64_t task_id = 0;
    CLOZE_TRY(json_get_string(json, "pool_act", &pool_act, err));
    CLOZE_TRY(json_get_int(json, "task_id", 0, 1 << 20, &task_id, err));
    if (strcmp(pool_act, "tanh") != 0)
        CLOZE_FAIL(err, MODEL, "%s: pool_act \"%.40s\" cannot be computed (only tanh)", what,
                   pool_act);
    if (task_id != 0)
        CLOZE_FAIL(err, MODEL, "%s: task_id %lld cannot be computed (only task 0)", what,
                   (long long)task_id);
    return CLOZE_OK;
}

static bool is_type(const cJSON *json, const char *model_type) {
    const cJSON *type = item_of(json, "model_type");
    return cJSON_IsString(type) && strcmp(type->valuestring, model_type) == 0;
}

cloze_status paddle_config_to_hugging_face(cJSON *json, const char *what, cloze_error *err) {
    static const char *const OWN_KEYS[] = {"paddlenlp_version", "init_class", "pool_act",
                                           "task_id",           "fuse",       "enable_recompute",
                                           "dtype"};
    bool legacy = item_of(json, "init_class") || item_of(json, "init_args");
    CLOZE_TRY(flatten(json, what, err));
    const cJSON *class_item = item_of(json, "init_class");
    if (cJSON_IsString(class_item))
        CLOZE_TRY(put_architecture(json, class_item->valuestring, err));
    CLOZE_TRY(put_model_type(json, what, err));
    CLOZE_TRY(check_variant(json, what, err));
    CLOZE_TRY(rename_key(json, "num_classes", "num_labels", err));
    CLOZE_TRY(rename_key(json, "dropout", "classifier_dropout", err));
    CLOZE_TRY(put_default(json, "type_vocab_size", cJSON_CreateNumber(TYPE_VOCAB_SIZE), err));
    if (is_type(json, "ernie"))
        CLOZE_TRY(
            put(json, "layer_norm_eps", cJSON_CreateNumber(ERNIE_LAYER_NORM_EPS), err));
    const char *architecture = architecture_of(json);
    if (legacy && architecture && strcmp(architecture, "RobertaForMaskedLM") == 0)
        CLOZE_TRY(put_default(json, "tie_word_embeddings", cJSON_CreateFalse(), err));
    for (size_t i = 0; i < sizeof OWN_KEYS / sizeof *OWN_KEYS; i++) drop(json, OWN_KEYS[i]);
    return CLOZE_OK;
}

/* ---- from Hugging Face ---- */

cloze_status paddle_config_from_hugging_face(cJSON *json, const char *what, const char *dtype_name,
                                             cloze_error *err) {
    static const char *const OTHER_KEYS[] = {"torch_dtype", "transformers_version"};
    const cJSON *type = item_of(json, "model_type");
    bool known = false;
    for (size_t i = 0; i < N_FAMILIES; i++) known = known || is_type(json, FAMILIES[i].model_type);
    if (!known)
        CLOZE_FAIL(err, MODEL, "%s: PaddleNLP has no model for model_type \"%.40s\"", what,
                   cJSON_IsString(type) ? type->valuestring : "");
    for (size_t i = 0; i < sizeof OTHER_KEYS / sizeof *OTHER_KEYS; i++) drop(json, OTHER_KEYS[i]);
    CLOZE_TRY(put_default(json, "type_vocab_size", cJSON_CreateNumber(2), err));
    if (is_type(json, "roberta")) /* says to old versions that positions start behind the padding */
        CLOZE_TRY(put_default(json, "cls_token_id", cJSON_CreateNumber(0), err));
    else
        CLOZE_TRY(put(json, "pool_act", cJSON_CreateString("tanh"), err));
    if (is_type(json, "ernie")) CLOZE_TRY(put(json, "task_id", cJSON_CreateNumber(0), err));
    CLOZE_TRY(put(json, "dtype", cJSON_CreateString(dtype_name), err));
    return put(json, "paddlenlp_version", cJSON_CreateNull(), err);
}
