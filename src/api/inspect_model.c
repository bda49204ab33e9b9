/*
 * inspect --model: what a model directory or a trained run holds. Reads config.json, the list of
 * tensors (no weights), the vocabulary and, in a run, the settings; each may be absent.
 */
#include <string.h>

#include "api/api_internal.h"
#include "base/file.h"
#include "base/json.h"
#include "ckpt/paddle_names.h"
#include "model/config.h"
#include "train/classifier.h"

#define SMALL_FILE_MAX ((size_t)64 << 20)

/* What the list of tensors says. */
typedef struct weights_summary {
    const char *format;
    int64_t n_tensors, n_parameters;
    int64_t bytes; /* of the parameters as they are stored */
    bool by_dtype[DTYPE_COUNT];
    bool masked_lm, classification, pooler, next_sentence;
} weights_summary;

typedef struct summary {
    const char *dir;
    const tokenizer *tok;
    model_config config;
    bool has_config, has_weights, is_run;
    weights_summary weights;
    cJSON *settings; /* classifier.json */
    cJSON *labels;   /* verbalizer_config.json */
    char *prompt;    /* the list of parts of template_config.json, one line */
} summary;

/* ---- reading ---- */

/* A tied decoder is stored a second time by some writers; it is one parameter. */
static bool is_stored_twice(const ckpt *c, const char *name, const summary *s) {
    const char *tail = strstr(name, "decoder.");
    if (!tail || strstr(name, "encoder.")) return false;
    if (strcmp(tail, "decoder.bias") == 0) {
        size_t owner = (size_t)(tail - name);
        for (size_t i = 0; i < ckpt_count(c); i++) {
            const char *other = ckpt_at(c, i)->name;
            if (strncmp(other, name, owner) == 0 && strcmp(other + owner, "bias") == 0) return true;
        }
        return false;
    }
    bool tied = true;
    json_get_bool(s->has_config ? s->config.json : NULL, "tie_word_embeddings", &tied, NULL);
    return strcmp(tail, "decoder.weight") == 0 && tied;
}

static void add_tensor(const ckpt *c, const ckpt_tensor *t, summary *s) {
    weights_summary *w = &s->weights;
    w->n_tensors++;
    if (strstr(t->name, "cls.predictions.") || strstr(t->name, "lm_head.")) w->masked_lm = true;
    if (strstr(t->name, "seq_relationship"))
        w->next_sentence = true;
    else if (strncmp(t->name, "classifier.", 11) == 0)
        w->classification = true;
    if (strstr(t->name, "pooler.")) w->pooler = true;
    if (!dtype_is_float(t->dtype) || is_stored_twice(c, t->name, s)) return;
    w->n_parameters += t->count;
    w->bytes += (int64_t)t->bytes;
    w->by_dtype[t->dtype] = true;
}

static cloze_status read_weights(summary *s, cloze_error *err) {
    ckpt *c;
    s->has_weights = ckpt_dir_has_weights(s->dir);
    if (!s->has_weights) return CLOZE_OK;
    CLOZE_TRY(ckpt_open_model(s->dir, &c, err));
    for (size_t i = 0; i < ckpt_count(c); i++) add_tensor(c, ckpt_at(c, i), s);
    s->weights.format = strcmp(ckpt_format(c), "safetensors") == 0 ? "safetensors"
                        : strcmp(ckpt_format(c), "paddle") == 0    ? "paddle"
                                                                   : "torch";
    ckpt_close(c);
    return CLOZE_OK;
}

/* The first line of template_config.json is the list of parts. */
static cloze_status read_prompt(summary *s, cloze_error *err) {
    char *path = path_join(s->dir, "template_config.json");
    size_t n;
    if (!path) CLOZE_FAIL(err, MEMORY, "out of memory");
    cloze_status status = file_read(path, SMALL_FILE_MAX, CLOZE_ERR_MODEL, &s->prompt, &n, err);
    if (status == CLOZE_OK) s->prompt[strcspn(s->prompt, "\n")] = 0;
    mem_free(path);
    return status;
}

/* verbalizer.json of PaddleNLP up to 2.4.0 has labels and token ids, no words. */
static cloze_status read_first_labels(summary *s, cloze_error *err) {
    cJSON *root = NULL;
    const cJSON *label;
    CLOZE_TRY(json_parse_file_in(s->dir, "verbalizer.json", CLOZE_ERR_MODEL, &root, err));
    s->labels = cJSON_CreateObject();
    cJSON_ArrayForEach(label, cJSON_GetArrayItem(root, 0)) {
        if (cJSON_IsString(label)) cJSON_AddArrayToObject(s->labels, label->valuestring);
    }
    json_destroy(root);
    return CLOZE_OK;
}

static cloze_status read_first_prompt(summary *s, cloze_error *err) {
    cJSON *root = NULL;
    CLOZE_TRY(json_parse_file_in(s->dir, "template.json", CLOZE_ERR_MODEL, &root, err));
    char *text = cJSON_PrintUnformatted(root);
    s->prompt = text ? mem_strdup(text) : NULL;
    cJSON_free(text);
    json_destroy(root);
    if (!s->prompt) CLOZE_FAIL(err, MEMORY, "out of memory for template.json");
    return CLOZE_OK;
}

/* What PaddleNLP's few-shot scripts leave: its settings are not written down. */
static cloze_status read_paddle_run(summary *s, cloze_error *err) {
    s->settings = cJSON_CreateObject();
    cJSON_AddStringToObject(s->settings, "method", "prompt");
    cJSON_AddStringToObject(s->settings, "verbalizer", "soft");
    if (file_exists_in(s->dir, "template.json")) {
        CLOZE_TRY(read_first_labels(s, err));
        return read_first_prompt(s, err);
    }
    CLOZE_TRY(
        json_parse_file_in(s->dir, "verbalizer_config.json", CLOZE_ERR_MODEL, &s->labels, err));
    return read_prompt(s, err);
}

static cloze_status read_all(summary *s, cloze_error *err) {
    CLOZE_TRY(model_config_find(s->dir, &s->has_config, err));
    s->is_run = classifier_is_run_dir(s->dir);
    if (s->has_config) CLOZE_TRY(model_config_read(s->dir, &s->config, err));
    CLOZE_TRY(read_weights(s, err));
    if (!s->is_run) return CLOZE_OK;
    if (!file_exists_in(s->dir, "classifier.json")) return read_paddle_run(s, err);
    CLOZE_TRY(json_parse_file_in(s->dir, "classifier.json", CLOZE_ERR_MODEL, &s->settings, err));
    CLOZE_TRY(
        json_parse_file_in(s->dir, "verbalizer_config.json", CLOZE_ERR_MODEL, &s->labels, err));
    return file_exists_in(s->dir, "template_config.json") ? read_prompt(s, err) : CLOZE_OK;
}

static void summary_deinit(summary *s) {
    if (s->has_config) model_config_deinit(&s->config);
    json_destroy(s->settings);
    json_destroy(s->labels);
    mem_free(s->prompt);
}

/* ---- facts, in the order of both outputs ---- */

static const char *kind_of(const summary *s) {
    return s->is_run ? "run" : s->has_weights ? "model" : "vocabulary";
}

static const char *tokenizer_name(const tokenizer *tok) {
    return tokenizer_get_kind(tok) == TOKENIZER_WORDPIECE ? "wordpiece" : "byte-level bpe";
}

/* The names of the heads that are there, quoted or not. */
static void put_heads(const weights_summary *w, bool quoted, buf *b) {
    const struct {
        bool there;
        const char *name;
    } heads[] = {{w->masked_lm, "masked_lm"},
                 {w->classification, "sequence_classification"},
                 {w->next_sentence, "next_sentence"},
                 {w->pooler, "pooler"}};
    int n = 0;
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        if (!heads[i].there) continue;
        buf_printf(b, quoted ? "%s\"%s\"" : "%s%s", n++ ? ", " : "", heads[i].name);
    }
    if (!quoted && !n) buf_puts(b, "none");
}

static void put_dtypes(const weights_summary *w, const char *separator, buf *b) {
    int n = 0;
    for (int i = 0; i < DTYPE_COUNT; i++)
        if (w->by_dtype[i]) buf_printf(b, "%s%s", n++ ? separator : "", dtype_name((cloze_dtype)i));
}

typedef struct size_row {
    const char *key, *title;
    int64_t value;
} size_row;

#define N_SIZES 7
static void get_sizes(const model_config *c, size_row rows[N_SIZES]) {
    const size_row all[N_SIZES] = {
        {"num_hidden_layers", "layers", c->num_hidden_layers},
        {"hidden_size", "hidden size", c->hidden_size},
        {"num_attention_heads", "attention heads", c->num_attention_heads},
        {"intermediate_size", "feed-forward size", c->intermediate_size},
        {"max_position_embeddings", "positions", c->max_position_embeddings},
        {"type_vocab_size", "token types", c->type_vocab_size},
        {"vocab_size", "embedding rows", c->vocab_size},
    };
    memcpy(rows, all, sizeof all);
}

/* ---- JSON ---- */

static void put_string(buf *b, const char *text) { buf_json_string(b, text, strlen(text)); }

static void json_special(const tokenizer *tok, buf *b) {
    const tokenizer_special_ids *ids = tokenizer_special(tok);
    const struct {
        const char *name;
        int32_t id;
    } all[] = {{"cls", ids->cls}, {"sep", ids->sep}, {"mask", ids->mask}, {"pad", ids->pad},
               {"unk", ids->unk}, {"bos", ids->bos}, {"eos", ids->eos}};
    int n = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (all[i].id < 0) continue;
        buf_printf(b, "%s\"%s\": {\"token\": ", n++ ? ", " : "", all[i].name);
        const char *token = tokenizer_id_to_token(tok, all[i].id);
        put_string(b, token ? token : "");
        buf_printf(b, ", \"id\": %d}", all[i].id);
    }
}

static void json_setting(const summary *s, const char *key, buf *b) {
    char *text = cJSON_PrintUnformatted(cJSON_GetObjectItemCaseSensitive(s->settings, key));
    buf_printf(b, ", \"%s\": %s", key, text ? text : "null");
    cJSON_free(text);
}

static void json_run(const summary *s, buf *b) {
    char *labels = cJSON_PrintUnformatted(s->labels);
    buf_printf(b, ", \"labels\": %s", labels ? labels : "null");
    cJSON_free(labels);
    json_setting(s, "method", b);
    json_setting(s, "verbalizer", b);
    json_setting(s, "max_seq_length", b);
    buf_printf(b, ", \"template\": %s", s->prompt ? s->prompt : "null");
}

static void write_json(const summary *s, buf *b) {
    size_row sizes[N_SIZES];
    buf_puts(b, "{\"path\": ");
    put_string(b, s->dir);
    buf_printf(b, ", \"kind\": \"%s\"", kind_of(s));
    if (s->has_config) {
        buf_puts(b, ", \"model_type\": ");
        put_string(b, s->config.model_type);
        get_sizes(&s->config, sizes);
        for (int i = 0; i < N_SIZES; i++)
            buf_printf(b, ", \"%s\": %lld", sizes[i].key, (long long)sizes[i].value);
    }
    if (s->has_weights) {
        const weights_summary *w = &s->weights;
        buf_printf(b, ", \"format\": \"%s\", \"tensors\": %lld, \"parameters\": %lld", w->format,
                   (long long)w->n_tensors, (long long)w->n_parameters);
        buf_printf(b, ", \"weight_bytes\": %lld, \"dtype\": \"", (long long)w->bytes);
        put_dtypes(w, "+", b);
        buf_puts(b, "\", \"heads\": [");
        put_heads(w, true, b);
        buf_puts(b, "]");
    }
    buf_printf(b, ", \"tokenizer\": {\"kind\": \"%s\", \"vocab_size\": %d, \"max_length\": %d, ",
               tokenizer_name(s->tok), tokenizer_vocab_size(s->tok), tokenizer_max_length(s->tok));
    buf_puts(b, "\"special\": {");
    json_special(s->tok, b);
    buf_puts(b, "}}");
    if (s->is_run) json_run(s, b);
    buf_puts(b, "}\n");
}

/* ---- for people ---- */

static void put_title(buf *b, const char *title) { buf_printf(b, "%-19s", title); }

static void put_megabytes(buf *b, int64_t bytes) {
    buf_printf(b, "%.*f MB", bytes < 100000000 ? 1 : 0, (double)bytes / 1e6);
}

static const char *setting_text(const summary *s, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(s->settings, key);
    return cJSON_IsString(item) ? item->valuestring : "";
}

static void text_labels(const summary *s, buf *b) {
    const cJSON *label;
    put_title(b, "labels");
    buf_printf(b, "%d\n", cJSON_GetArraySize(s->labels));
    cJSON_ArrayForEach(label, s->labels) {
        const cJSON *word;
        int n = 0;
        buf_puts(b, "  ");
        text_pad(b, label->string, strlen(label->string), 24);
        cJSON_ArrayForEach(word, label) {
            if (cJSON_IsString(word)) buf_printf(b, "%s%s", n++ ? ", " : " ", word->valuestring);
        }
        buf_putc(b, '\n');
    }
}

static void text_run(const summary *s, buf *b) {
    const cJSON *length = cJSON_GetObjectItemCaseSensitive(s->settings, "max_seq_length");
    bool prompt = strcmp(setting_text(s, "method"), "prompt") == 0;
    put_title(b, "method");
    buf_puts(b, setting_text(s, "method"));
    if (prompt) buf_printf(b, ", %s verbalizer", setting_text(s, "verbalizer"));
    buf_putc(b, '\n');
    if (s->prompt) {
        put_title(b, "template");
        buf_printf(b, "%s\n", s->prompt);
    }
    if (cJSON_IsNumber(length)) {
        put_title(b, "longest input");
        buf_printf(b, "%.0f tokens\n", length->valuedouble);
    }
    text_labels(s, b);
}

static void text_weights(const summary *s, buf *b) {
    const weights_summary *w = &s->weights;
    put_title(b, "parameters");
    text_count(b, w->n_parameters);
    buf_printf(b, " in %lld tensors\n", (long long)w->n_tensors);
    put_title(b, "weights");
    put_megabytes(b, w->bytes);
    buf_puts(b, " as stored (");
    put_dtypes(w, " and ", b);
    buf_printf(b, ", %s)", w->format);
    if (w->bytes != w->n_parameters * 4) {
        buf_puts(b, ", ");
        put_megabytes(b, w->n_parameters * 4);
        buf_puts(b, " in F32");
    }
    buf_putc(b, '\n');
    put_title(b, "heads");
    put_heads(w, false, b);
    buf_putc(b, '\n');
}

static void write_text(const summary *s, buf *b) {
    size_row sizes[N_SIZES];
    put_title(b, s->is_run ? "trained run" : kind_of(s));
    buf_printf(b, "%s\n", s->dir);
    if (s->has_config) {
        put_title(b, "model type");
        buf_printf(b, "%s\n", s->config.model_type);
        get_sizes(&s->config, sizes);
        for (int i = 0; i < N_SIZES; i++) {
            put_title(b, sizes[i].title);
            buf_printf(b, "%lld\n", (long long)sizes[i].value);
        }
    }
    if (s->has_weights) text_weights(s, b);
    put_title(b, "tokenizer");
    buf_printf(b, "%s, %d tokens\n", tokenizer_name(s->tok), tokenizer_vocab_size(s->tok));
    if (s->is_run) text_run(s, b);
}

cloze_status inspect_model(const char *dir, const tokenizer *tok, bool json, buf *text,
                           cloze_error *err) {
    summary s = {.dir = dir, .tok = tok};
    cloze_status status = read_all(&s, err);
    if (status == CLOZE_OK && json) write_json(&s, text);
    if (status == CLOZE_OK && !json) write_text(&s, text);
    summary_deinit(&s);
    return status;
}
