/* Reading and keeping config.json. Keys, defaults and activation names are Hugging Face's. */
#include "model/config.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "model/model.h"
#include "model/paddle_config.h"

#define CONFIG_MAX_BYTES (16 << 20)
#define LABELS_MAX 100000

static const struct {
    const char *name;
    activation act;
} ACTIVATIONS[] = {
    {"gelu", ACT_GELU_ERF},       {"gelu_new", ACT_GELU_TANH}, {"gelu_pytorch_tanh", ACT_GELU_TANH},
    {"gelu_fast", ACT_GELU_TANH}, {"relu", ACT_RELU},          {"silu", ACT_SILU},
    {"swish", ACT_SILU},          {"tanh", ACT_TANH},          {"linear", ACT_NONE},
};

static cloze_status read_activation(const cJSON *json, const char *what, activation *out,
                                    cloze_error *err) {
    const char *name = "gelu";
    CLOZE_TRY(json_get_string(json, "hidden_act", &name, err));
    for (size_t i = 0; i < sizeof ACTIVATIONS / sizeof *ACTIVATIONS; i++) {
        if (strcmp(name, ACTIVATIONS[i].name) == 0) {
            *out = ACTIVATIONS[i].act;
            return CLOZE_OK;
        }
    }
    CLOZE_FAIL(err, MODEL,
               "%s: hidden_act \"%s\" is not known (known: gelu, gelu_new, relu, silu, tanh)", what,
               name);
}

static cloze_status read_sizes(model_config *c, cloze_error *err) {
    const struct {
        const char *key;
        int64_t min, max;
        int64_t *out;
    } sizes[] = {
        {"vocab_size", 1, 10000000, &c->vocab_size},
        {"hidden_size", 1, 65536, &c->hidden_size},
        {"num_hidden_layers", 0, 1000, &c->num_hidden_layers},
        {"num_attention_heads", 1, 1024, &c->num_attention_heads},
        {"intermediate_size", 1, 1 << 20, &c->intermediate_size},
        {"max_position_embeddings", 1, 1 << 20, &c->max_position_embeddings},
        {"type_vocab_size", 0, 1024, &c->type_vocab_size},
        {"task_type_vocab_size", 1, 1024, &c->task_type_vocab_size},
        {"pad_token_id", 0, 10000000, &c->pad_token_id},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        CLOZE_TRY(
            json_get_int(c->json, sizes[i].key, sizes[i].min, sizes[i].max, sizes[i].out, err));
    const cJSON *labels = cJSON_GetObjectItemCaseSensitive(c->json, "id2label");
    if (cJSON_IsObject(labels)) c->num_labels = cJSON_GetArraySize(labels);
    if (c->num_labels < 1) CLOZE_FAIL(err, MODEL, "\"id2label\" is empty: there are no labels");
    return json_get_int(c->json, "num_labels", 1, LABELS_MAX, &c->num_labels, err);
}

static cloze_status read_numbers(model_config *c, cloze_error *err) {
    const struct {
        const char *key;
        double *out;
    } numbers[] = {
        {"layer_norm_eps", &c->layer_norm_eps},
        {"initializer_range", &c->initializer_range},
        {"hidden_dropout_prob", &c->hidden_dropout_prob},
        {"attention_probs_dropout_prob", &c->attention_probs_dropout_prob},
        {"classifier_dropout", &c->classifier_dropout},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        CLOZE_TRY(json_get_double(c->json, numbers[i].key, numbers[i].out, err));
    return json_get_bool(c->json, "use_task_id", &c->use_task_id, err);
}

/* What would change the mathematics and is not built: refused, never ignored. */
static cloze_status check_variant(const model_config *c, const char *what, cloze_error *err) {
    const char *positions = "absolute";
    bool decoder = false;
    CLOZE_TRY(json_get_string(c->json, "position_embedding_type", &positions, err));
    CLOZE_TRY(json_get_bool(c->json, "is_decoder", &decoder, err));
    if (strcmp(positions, "absolute") != 0)
        CLOZE_FAIL(err, MODEL,
                   "%s: position_embedding_type \"%s\" cannot be computed (only absolute)", what,
                   positions);
    if (decoder)
        CLOZE_FAIL(err, MODEL, "%s: is_decoder models cannot be computed (only encoders)", what);
    return CLOZE_OK;
}

static cloze_status check(const model_config *c, const char *what, cloze_error *err) {
    CLOZE_TRY(check_variant(c, what, err));
    if (c->hidden_size % c->num_attention_heads != 0)
        CLOZE_FAIL(err, MODEL, "%s: hidden_size %lld is not a multiple of num_attention_heads %lld",
                   what, (long long)c->hidden_size, (long long)c->num_attention_heads);
    const struct {
        const char *key;
        double rate, none; /* none stands for a key that is not there */
    } rates[] = {
        {"hidden_dropout_prob", c->hidden_dropout_prob, 0},
        {"attention_probs_dropout_prob", c->attention_probs_dropout_prob, 0},
        {"classifier_dropout", c->classifier_dropout, -1},
    };
    for (int i = 0; i < 3; i++)
        if (!(rates[i].rate < 1.0) || (rates[i].rate < 0 && rates[i].rate != rates[i].none))
            CLOZE_FAIL(err, MODEL, "%s: \"%s\" is %g; a dropout probability is from 0 to below 1",
                       what, rates[i].key, rates[i].rate);
    if (c->initializer_range < 0)
        CLOZE_FAIL(err, MODEL, "%s: initializer_range must not be below 0", what);
    if (c->def->max_length(c) < 1)
        CLOZE_FAIL(err, MODEL,
                   "%s: max_position_embeddings %lld leaves no position behind pad_token_id %lld",
                   what, (long long)c->max_position_embeddings, (long long)c->pad_token_id);
    if (!(c->layer_norm_eps > 0))
        CLOZE_FAIL(err, MODEL, "%s: layer_norm_eps must be above 0", what);
    return CLOZE_OK;
}

static cloze_status fill(model_config *c, const char *what, cloze_error *err) {
    const char *type = NULL;
    if (paddle_config_is_one(c->json))
        CLOZE_TRY(paddle_config_to_hugging_face(c->json, what, err));
    CLOZE_TRY(json_get_string(c->json, "model_type", &type, err));
    if (!type) CLOZE_FAIL(err, MODEL, "%s: no \"model_type\" (bert, roberta, ernie, ...)", what);
    snprintf(c->model_type, sizeof c->model_type, "%s", type);
    CLOZE_TRY(model_def_find(type, what, &c->def, err));
    CLOZE_TRY(read_sizes(c, err));
    CLOZE_TRY(read_numbers(c, err));
    CLOZE_TRY(read_activation(c->json, what, &c->hidden_act, err));
    return check(c, what, err);
}

cloze_status model_config_parse(const char *text, size_t n, const char *what, model_config *out,
                                cloze_error *err) {
    /* BertConfig's defaults, which are RoBERTa's and ERNIE's too but for what their files state. */
    *out = (model_config){
        .vocab_size = 30522,
        .hidden_size = 768,
        .num_hidden_layers = 12,
        .num_attention_heads = 12,
        .intermediate_size = 3072,
        .max_position_embeddings = 512,
        .type_vocab_size = 2,
        .task_type_vocab_size = 3,
        .pad_token_id = 0,
        .hidden_act = ACT_GELU_ERF,
        .layer_norm_eps = 1e-12,
        .initializer_range = 0.02,
        .hidden_dropout_prob = 0.1,
        .attention_probs_dropout_prob = 0.1,
        .classifier_dropout = -1.0,
        .num_labels = 2,
    };
    CLOZE_TRY(json_parse(text, n, what, CLOZE_ERR_MODEL, &out->json, err));
    cloze_status status = fill(out, what, err);
    if (status != CLOZE_OK) {
        if (err && err->code == CLOZE_ERR_MODEL && !strstr(err->message, what))
            error_prefix(err, "%s", what);
        model_config_deinit(out);
    }
    return status;
}

/* dir/config.json, or dir/model_config.json of older PaddleNLP when only that is there: a heap
 * string, or NULL without memory. */
static char *config_path(const char *dir) {
    char *path = path_join(dir, "config.json"), *old = path_join(dir, "model_config.json");
    bool use_old = path && old && !file_exists(path) && file_exists(old);
    mem_free(use_old ? path : old);
    return use_old ? old : path;
}

static cloze_status find_pdparams(const char *dir, bool *found, cloze_error *err) {
    char **names = NULL;
    size_t n = 0;
    *found = false;
    cloze_status status = dir_list(dir, &names, &n, err);
    if (status != CLOZE_OK) return status == CLOZE_ERR_MEMORY ? status : CLOZE_OK;
    for (size_t i = 0; i < n && !*found; i++) {
        const char *dot = strrchr(names[i], '.');
        *found = dot && strcmp(dot, ".pdparams") == 0;
    }
    dir_list_free(names, n);
    return CLOZE_OK;
}

/* What PaddleNLP's cache leaves out: the configuration of a model known by its directory's name, a
 * heap string, NULL for another name or one without weights. */
static cloze_status known_config(const char *dir, char **out, cloze_error *err) {
    bool found = false;
    *out = NULL;
    CLOZE_TRY(find_pdparams(dir, &found, err));
    if (!found) return CLOZE_OK;
    char *name = mem_strdup(dir);
    if (!name) CLOZE_FAIL(err, MEMORY, "out of memory");
    size_t n = strlen(name);
    while (n > 1 && name[n - 1] == '/') name[--n] = 0;
    cloze_status status = paddle_config_of_name(path_base(name), out, err);
    mem_free(name);
    return status;
}

/* The file that is there (*path) or else what is known (*text); heap strings, both may be NULL. */
static cloze_status find_config(const char *dir, char **path, char **text, cloze_error *err) {
    *text = NULL;
    *path = config_path(dir);
    if (!*path) CLOZE_FAIL(err, MEMORY, "out of memory");
    return file_exists(*path) ? CLOZE_OK : known_config(dir, text, err);
}

cloze_status model_config_find(const char *dir, bool *found, cloze_error *err) {
    char *path, *text;
    cloze_status status = find_config(dir, &path, &text, err);
    *found = status == CLOZE_OK && (text || file_exists(path));
    mem_free(text);
    mem_free(path);
    return status;
}

cloze_status model_config_read(const char *dir, model_config *out, cloze_error *err) {
    char *path, *text;
    cloze_status status = find_config(dir, &path, &text, err);
    size_t n = text ? strlen(text) : 0;
    if (status == CLOZE_OK && !text)
        status = file_read(path, CONFIG_MAX_BYTES, CLOZE_ERR_MODEL, &text, &n, err);
    if (status == CLOZE_OK) status = model_config_parse(text, n, path, out, err);
    mem_free(text);
    mem_free(path);
    return status;
}

cloze_status model_config_copy(const model_config *from, model_config *to, cloze_error *err) {
    *to = *from;
    to->json = cJSON_Duplicate(from->json, 1);
    if (!to->json) CLOZE_FAIL(err, MEMORY, "out of memory for the model configuration");
    return CLOZE_OK;
}

cloze_status model_config_set_labels(model_config *c, const char *const labels[], int64_t n,
                                     cloze_error *err) {
    cJSON *id2label = cJSON_CreateObject(), *label2id = cJSON_CreateObject();
    for (int64_t i = 0; i < n && id2label && label2id; i++) {
        char id[24], fallback[32];
        snprintf(id, sizeof id, "%lld", (long long)i);
        snprintf(fallback, sizeof fallback, "LABEL_%lld", (long long)i);
        const char *label = labels ? labels[i] : fallback;
        cJSON_AddStringToObject(id2label, id, label);
        cJSON_AddNumberToObject(label2id, label, (double)i);
    }
    if (!id2label || !label2id || cJSON_GetArraySize(label2id) != n) {
        cJSON_Delete(id2label);
        cJSON_Delete(label2id);
        CLOZE_FAIL(err, MEMORY, "out of memory for %lld labels", (long long)n);
    }
    cJSON_DeleteItemFromObjectCaseSensitive(c->json, "id2label");
    cJSON_DeleteItemFromObjectCaseSensitive(c->json, "label2id");
    cJSON_DeleteItemFromObjectCaseSensitive(c->json, "num_labels");
    cJSON_AddItemToObject(c->json, "id2label", id2label);
    cJSON_AddItemToObject(c->json, "label2id", label2id);
    c->num_labels = n;
    return CLOZE_OK;
}

void model_config_deinit(model_config *c) {
    json_destroy(c->json);
    c->json = NULL;
}
