/* Opening what PaddleNLP's few-shot scripts wrote. */
#include "train/classifier_paddle.h"

#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "ckpt/name_map.h"
#include "ckpt/paddle_names.h"
#include "model/locate.h"
#include "model/paddle_config.h"
#include "train/classifier_internal.h"

#define SMALL_FILE_MAX ((size_t)64 << 20)
#define DEFAULT_MODEL "ernie-3.0-base-zh"

static bool is_first_generation(const char *dir) {
    return file_exists_in(dir, "template.json") && file_exists_in(dir, "verbalizer.json");
}

bool classifier_paddle_is_run(const char *dir) {
    bool later = file_exists_in(dir, "template_config.json") &&
                 file_exists_in(dir, "verbalizer_config.json");
    return file_exists_in(dir, "model_state.pdparams") && (later || is_first_generation(dir));
}

/* ---- the first generation's files ---- */

static bool rename_key(cJSON *part, const char *from, const char *to) {
    cJSON *value = cJSON_DetachItemFromObjectCaseSensitive(part, from);
    if (!value) return true;
    bool is_empty = cJSON_IsString(value) && value->valuestring[0] == 0;
    if (is_empty || cJSON_AddItemToObject(part, to, value)) {
        if (is_empty) cJSON_Delete(value);
        return true;
    }
    cJSON_Delete(value);
    return false;
}

/* template.json with the attributes' later names. */
static cloze_status read_first_template(classifier *c, const char *dir, cloze_error *err) {
    cJSON *parts = NULL, *part;
    bool ok = true;
    CLOZE_TRY(json_parse_file_in(dir, "template.json", CLOZE_ERR_MODEL, &parts, err));
    cJSON_ArrayForEach(part, parts) {
        ok = ok && rename_key(part, "add_prefix_space", "add_space") &&
             rename_key(part, "shortenable", "truncate");
    }
    char *text = ok ? cJSON_PrintUnformatted(parts) : NULL;
    cJSON_Delete(parts);
    if (!text) CLOZE_FAIL(err, MEMORY, "out of memory for template.json");
    cloze_status status =
        template_parse_config(text, strlen(text), "template.json", &c->tmpl, err);
    cJSON_free(text);
    return status;
}

/* A label's token ids (one word's, or a list of words') as {"label": ["word", ...]}. Padding is 0. */
static cloze_status put_words(const classifier *c, const char *label, const cJSON *ids, buf *out,
                              cloze_error *err) {
    const cJSON *first = cJSON_GetArrayItem(ids, 0);
    bool one_word = cJSON_IsNumber(first);
    const cJSON *word = one_word ? ids : first;
    if (!cJSON_IsArray(word))
        CLOZE_FAIL(err, MODEL, "verbalizer.json: the token ids of label \"%.80s\" are no lists",
                   label);
    buf_printf(out, "%s", out->len > 1 ? ", " : "");
    buf_json_string(out, label, strlen(label));
    buf_puts(out, ": [");
    for (bool more = false; word; word = one_word ? NULL : word->next, more = true) {
        int32_t tokens[TEMPLATE_MAX_MASKS], n = 0;
        const cJSON *id;
        cJSON_ArrayForEach(id, word) {
            if (cJSON_IsNumber(id) && id->valueint > 0 && n < TEMPLATE_MAX_MASKS)
                tokens[n++] = id->valueint;
        }
        if (n == 0) continue; /* a word that only fills the table */
        buf text;
        buf_init(&text, 1 << 16);
        cloze_status status =
            tokenizer_decode(c->tokenizer, tokens, (size_t)n, false, &text, err);
        if (more) buf_puts(out, ", ");
        if (status == CLOZE_OK) buf_json_string(out, text.data, text.len);
        buf_deinit(&text);
        CLOZE_TRY(status);
    }
    buf_puts(out, "]");
    return CLOZE_OK;
}

static cloze_status parse_first_labels(classifier *c, const cJSON *root, bool *has_words,
                                       cloze_error *err) {
    const cJSON *labels = cJSON_GetArrayItem(root, 0), *all = cJSON_GetArrayItem(root, 1);
    const cJSON *ids = cJSON_GetArrayItem(all, 0), *label;
    if (!cJSON_IsArray(labels) || cJSON_GetArraySize(labels) != cJSON_GetArraySize(all))
        CLOZE_FAIL(err, MODEL, "verbalizer.json is not [labels, token ids of each label]");
    *has_words = cJSON_IsArray(cJSON_GetArrayItem(ids, 0)); /* a manual verbalizer's */
    buf text;
    buf_init(&text, SMALL_FILE_MAX);
    buf_putc(&text, '{');
    cloze_status status = CLOZE_OK;
    cJSON_ArrayForEach(label, labels) {
        if (!cJSON_IsString(label))
            status = error_set(err, CLOZE_ERR_MODEL, "verbalizer.json: a label is not a string");
        if (status == CLOZE_OK) status = put_words(c, label->valuestring, ids, &text, err);
        if (status != CLOZE_OK) break;
        ids = ids->next;
    }
    buf_putc(&text, '}');
    if (status == CLOZE_OK && !buf_ok(&text))
        status = error_set(err, CLOZE_ERR_MEMORY, "out of memory for the labels");
    if (status == CLOZE_OK)
        status = label_set_parse_json(text.data, text.len, "verbalizer.json", CLOZE_ERR_MODEL,
                                      &c->labels, NULL, err);
    buf_deinit(&text);
    return status;
}

static cloze_status read_first_labels(classifier *c, const char *dir, bool *has_words,
                                      cloze_error *err) {
    cJSON *root = NULL;
    CLOZE_TRY(json_parse_file_in(dir, "verbalizer.json", CLOZE_ERR_MODEL, &root, err));
    cloze_status status = parse_first_labels(c, root, has_words, err);
    json_destroy(root);
    return status;
}

/* ---- the later generation's files ---- */

static cloze_status read_later(classifier *c, const char *dir, cloze_error *err) {
    char *labels = path_join(dir, "verbalizer_config.json"), *text = NULL;
    char *tmpl = path_join(dir, "template_config.json");
    size_t n = 0;
    cloze_status status = labels && tmpl
                              ? file_read(labels, SMALL_FILE_MAX, CLOZE_ERR_MODEL, &text, &n, err)
                              : error_set(err, CLOZE_ERR_MEMORY, "out of memory");
    if (status == CLOZE_OK)
        status = label_set_parse_json(text, n, labels, CLOZE_ERR_MODEL, &c->labels, NULL, err);
    if (status == CLOZE_OK) status = template_read(tmpl, &c->tmpl, err);
    mem_free(text);
    mem_free(labels);
    mem_free(tmpl);
    return status;
}

/* ---- the model ---- */

static cloze_status read_lent_config(classifier *c, const char *dir, model_config *out,
                                     cloze_error *err) {
    const char *name = c->options.base_model ? c->options.base_model : DEFAULT_MODEL;
    char *base = NULL, *text = NULL;
    cloze_status status = model_locate(name, &base, NULL);
    if (status == CLOZE_OK) {
        status = model_config_read(base, out, err);
    } else {
        status = paddle_config_of_name(name, &text, err);
        if (status == CLOZE_OK && !text)
            status = error_set(err, CLOZE_ERR_MODEL,
                               "%s: PaddleNLP's run has no config.json, and the model %.100s that "
                               "would lend it is not there; name the pre-trained model with "
                               "--base_model (train: --model_name_or_path), or copy its "
                               "config.json into the directory",
                               dir, name);
        if (status == CLOZE_OK) status = model_config_parse(text, strlen(text), name, out, err);
    }
    if (status == CLOZE_OK)
        log_line(c->options.callbacks, CLOZE_LOG_INFO,
                 "%s has no config.json: %s lends its own ", dir, name);
    mem_free(base);
    mem_free(text);
    return status;
}

/* The directory's, plm/'s, or the pre-trained model's. */
static cloze_status find_config(classifier *c, const char *dir, model_config *out,
                                cloze_error *err) {
    bool found;
    CLOZE_TRY(model_config_find(dir, &found, err));
    if (found) return model_config_read(dir, out, err);
    char *plm = path_join(dir, "plm");
    if (!plm) CLOZE_FAIL(err, MEMORY, "out of memory");
    cloze_status status = file_is_dir(plm) ? model_config_find(plm, &found, err) : CLOZE_OK;
    if (status == CLOZE_OK)
        status = found ? model_config_read(plm, out, err) : read_lent_config(c, dir, out, err);
    mem_free(plm);
    return status;
}

static cloze_status open_model(classifier *c, const char *dir, cloze_error *err) {
    model_config config = {0};
    CLOZE_TRY(find_config(c, dir, &config, err));
    model_open_options o = {.head = MODEL_HEAD_MASKED_LM,
                            .config = &config}; /* the head is there: check_weights */
    cloze_status status = model_open(dir, &o, &c->model, err);
    model_config_deinit(&config);
    return status;
}

/* PaddleNLP's templates say the positions themselves, from 0; the first generation's left them to
 * RoBERTa, which began behind the padding where [CLS] was token 0. */
static bool has_absolute_positions(const classifier *c) {
    return !c->options.first_generation || tokenizer_special(c->tokenizer)->cls != 0;
}

/* The vocabulary's bias may be missing, as the first generation left it out: nothing reads it. */
static cloze_status check_weights(classifier *c, const ckpt *weights, bool has_words,
                                  const char *dir, cloze_error *err) {
    bool soft = ckpt_find(weights, "verbalizer.weight") != NULL && !has_words;
    c->options.verbalizer = soft ? VERBALIZER_SOFT : VERBALIZER_MANUAL;
    if (soft && !ckpt_find(weights, "cls.predictions.transform.dense.weight") &&
        !ckpt_find(weights, "lm_head.dense.weight"))
        CLOZE_FAIL(err, MODEL, "%s: model_state.pdparams has no verbalizer.head.transform", dir);
    if (!soft)
        CLOZE_FAIL(err, MODEL,
                   "%s: the run has no soft verbalizer in model_state.pdparams; PaddleNLP's other "
                   "verbalizers have no weights: give its plm to --model_name_or_path and train "
                   "with --verbalizer manual",
                   dir);
    return CLOZE_OK;
}

static cloze_status finish(classifier *c, const ckpt *weights, const char *dir,
                           cloze_error *err) {
    bool own_length = c->options.max_seq_length > 0; /* then a wrong one is the caller's */
    cloze_status status = classifier_check_length(c, err);
    if (status == CLOZE_OK) status = classifier_make_verbalizer(c, err);
    if (status == CLOZE_OK) status = classifier_make_encoders(c, err);
    if (status != CLOZE_ERR_USAGE || !own_length)
        CLOZE_TRY(classifier_blame_run(status, dir, err));
    CLOZE_TRY(status);
    return classifier_read_verbalizer(c, weights, dir, err);
}

static cloze_status open_parts(classifier *c, const ckpt *weights, const char *dir,
                               cloze_error *err) {
    bool has_words = false;
    tokenizer_options t = {c->options.do_lower_case};
    CLOZE_TRY(tokenizer_open(dir, &t, &c->tokenizer, err));
    if (c->options.first_generation) {
        CLOZE_TRY(read_first_labels(c, dir, &has_words, err));
        CLOZE_TRY(read_first_template(c, dir, err));
    } else {
        CLOZE_TRY(read_later(c, dir, err));
    }
    CLOZE_TRY(classifier_blame_run(template_check(&c->tmpl, CLOZE_ERR_MODEL, err), dir, err));
    CLOZE_TRY(check_weights(c, weights, has_words, dir, err));
    c->options.absolute_positions = has_absolute_positions(c);
    CLOZE_TRY(open_model(c, dir, err));
    return finish(c, weights, dir, err);
}

cloze_status classifier_paddle_open(classifier *c, const char *dir, cloze_error *err) {
    ckpt *weights;
    c->options.method = METHOD_PROMPT;
    c->options.first_generation = is_first_generation(dir);
    CLOZE_TRY(ckpt_open_model(dir, &weights, err));
    cloze_status status = open_parts(c, weights, dir, err);
    ckpt_close(weights);
    return status;
}
