/*
 * Opening a tokenizer: which files a directory has, what they say, and the parts that are derived
 * from them once they are read.
 */
#include "text/load.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "text/unicode.h"

#define MAX_CONFIG (16u << 20)

/* The file `in_dir` of the directory, kept (and saved later) under the name `name`. */
static cloze_status keep_file_as(load_state *s, const char *in_dir, const char *name,
                                 source_file **out, cloze_error *err) {
    tokenizer *tok = s->tok;
    *out = NULL;
    char *path = path_join(s->dir, in_dir);
    if (!path) CLOZE_FAIL(err, MEMORY, "out of memory (path)");
    cloze_status status = CLOZE_OK;
    if (file_exists(path)) {
        source_file *file = &tok->files[tok->n_files];
        status = file_read(path, LOAD_MAX_FILE, CLOZE_ERR_MODEL, &file->data, &file->n, err);
        file->name = name;
        if (status == CLOZE_OK) {
            tok->n_files++;
            *out = file;
        }
    }
    mem_free(path);
    return status;
}

cloze_status load_keep_file(load_state *s, const char *name, source_file **out, cloze_error *err) {
    return keep_file_as(s, name, name, out, err);
}

/* vocab.txt, or the one NAME_vocab.txt that PaddleNLP's cache has instead (ernie_3.0_base_zh_...).
 */
static cloze_status load_vocab_txt(load_state *s, source_file **out, cloze_error *err) {
    static const char END[] = "_vocab.txt";
    char **names = NULL;
    const char *found = NULL;
    size_t n = 0, n_found = 0;
    CLOZE_TRY(load_keep_file(s, "vocab.txt", out, err));
    if (*out || dir_list(s->dir, &names, &n, NULL) != CLOZE_OK) return CLOZE_OK;
    for (size_t i = 0; i < n; i++) {
        size_t len = strlen(names[i]);
        if (len < sizeof END || strcmp(names[i] + len - sizeof END + 1, END) != 0) continue;
        found = names[i];
        n_found++;
    }
    cloze_status status = n_found == 1 ? keep_file_as(s, found, "vocab.txt", out, err) : CLOZE_OK;
    dir_list_free(names, n);
    return status;
}

/* A JSON file that may be missing. */
static cloze_status load_config_file(load_state *s, const char *name, cJSON **out,
                                     cloze_error *err) {
    source_file *file;
    CLOZE_TRY(load_keep_file(s, name, &file, err));
    if (!file) return CLOZE_OK;
    if (file->n > MAX_CONFIG) CLOZE_FAIL(err, MODEL, "%s/%s is larger than 16 MB", s->dir, name);
    char what[600];
    snprintf(what, sizeof what, "%.500s/%.90s", s->dir, name);
    CLOZE_TRY(json_parse(file->data, file->n, what, CLOZE_ERR_MODEL, out, err));
    if (!cJSON_IsObject(*out)) CLOZE_FAIL(err, MODEL, "%s is not a JSON object", what);
    return CLOZE_OK;
}

/* config.json is the model's: only read for model_type. */
static cloze_status load_model_config(load_state *s, cloze_error *err) {
    char *path = path_join(s->dir, "config.json");
    if (!path) CLOZE_FAIL(err, MEMORY, "out of memory (path)");
    cloze_status status = CLOZE_OK;
    if (file_exists(path))
        status = json_parse_file(path, MAX_CONFIG, CLOZE_ERR_MODEL, &s->model_config, err);
    mem_free(path);
    return status;
}

static cloze_status load_configs(load_state *s, cloze_error *err) {
    tokenizer *tok = s->tok;
    CLOZE_TRY(load_config_file(s, "tokenizer_config.json", &s->config, err));
    CLOZE_TRY(load_config_file(s, "special_tokens_map.json", &s->special_map, err));
    CLOZE_TRY(load_config_file(s, "added_tokens.json", &s->added, err));
    CLOZE_TRY(load_model_config(s, err));
    const cJSON *class = cJSON_GetObjectItemCaseSensitive(s->config, "tokenizer_class");
    if (cJSON_IsString(class)) {
        tok->class_name = mem_strdup(class->valuestring);
        if (!tok->class_name) CLOZE_FAIL(err, MEMORY, "out of memory (tokenizer)");
    }
    const cJSON *max = cJSON_GetObjectItemCaseSensitive(s->config, "model_max_length");
    /* transformers writes 1e30 for "none" */
    if (cJSON_IsNumber(max) && max->valuedouble >= 1 && max->valuedouble < 1e9)
        tok->max_length = (int32_t)max->valuedouble;
    tok->clean_up_spaces = load_flag(s->config, "clean_up_tokenization_spaces") == 1;
    return CLOZE_OK;
}

static cloze_status load_directory(load_state *s, cloze_error *err) {
    source_file *json, *vocab_txt, *vocab_json, *merges;
    CLOZE_TRY(load_configs(s, err));
    CLOZE_TRY(load_keep_file(s, "tokenizer.json", &json, err));
    CLOZE_TRY(load_vocab_txt(s, &vocab_txt, err));
    CLOZE_TRY(load_keep_file(s, "vocab.json", &vocab_json, err));
    CLOZE_TRY(load_keep_file(s, "merges.txt", &merges, err));
    if (json) return load_tokenizer_json(s, json, err);
    if (vocab_txt) return load_wordpiece(s, vocab_txt->data, vocab_txt->n, err);
    if (vocab_json && merges) return load_byte_bpe(s, vocab_json, merges, err);
    if (vocab_json || merges)
        CLOZE_FAIL(err, MODEL, "%s has %s but not %s: a RoBERTa or GPT-2 tokenizer needs both",
                   s->dir, vocab_json ? "vocab.json" : "merges.txt",
                   vocab_json ? "merges.txt" : "vocab.json");
    CLOZE_FAIL(err, MODEL,
               "%s has no tokenizer: put vocab.txt (BERT, ERNIE), or tokenizer.json, or "
               "vocab.json and merges.txt (RoBERTa, GPT-2) there",
               s->dir);
}

static void load_state_deinit(load_state *s) {
    json_destroy(s->config);
    json_destroy(s->special_map);
    json_destroy(s->added);
    json_destroy(s->model_config);
}

cloze_status tokenizer_open(const char *dir, const tokenizer_options *opts, tokenizer **out,
                            cloze_error *err) {
    *out = NULL;
    if (!file_is_dir(dir))
        CLOZE_FAIL(err, MODEL,
                   "%s is not a directory: a tokenizer is a directory with vocab.txt, or "
                   "tokenizer.json, or vocab.json and merges.txt",
                   dir);
    tokenizer *tok;
    MEM_NEW(err, tok, 1);
    tok->forced_lower_case = opts ? opts->do_lower_case : -1;
    load_state s = {.tok = tok, .dir = dir};
    cloze_status status = load_directory(&s, err);
    if (status == CLOZE_OK) status = tokenizer_finish(tok, err);
    load_state_deinit(&s);
    if (status == CLOZE_OK)
        *out = tok;
    else
        tokenizer_destroy(tok);
    return status;
}

/* The settings as the tokenizer_config.json that they stand for. */
static cJSON *settings_config(const wordpiece_settings *settings) {
    cJSON *config = cJSON_CreateObject();
    bool ok =
        config && cJSON_AddBoolToObject(config, "do_lower_case", settings->do_lower_case) &&
        cJSON_AddBoolToObject(config, "tokenize_chinese_chars", settings->tokenize_chinese_chars);
    if (ok && settings->strip_accents >= 0)
        ok = cJSON_AddBoolToObject(config, "strip_accents", settings->strip_accents) != NULL;
    if (ok) return config;
    cJSON_Delete(config);
    return NULL;
}

static cloze_status create_wordpiece(load_state *s, const char *vocab, size_t n, cloze_error *err) {
    source_file *file = &s->tok->files[0];
    file->data = mem_strndup(vocab, n);
    if (!file->data) CLOZE_FAIL(err, MEMORY, "out of memory (vocabulary of %zu bytes)", n);
    file->name = "vocab.txt";
    file->n = n;
    s->tok->n_files = 1;
    CLOZE_TRY(load_wordpiece(s, file->data, n, err));
    return tokenizer_finish(s->tok, err);
}

cloze_status tokenizer_create_wordpiece(const char *vocab, size_t n,
                                        const wordpiece_settings *settings, tokenizer **out,
                                        cloze_error *err) {
    *out = NULL;
    tokenizer *tok;
    MEM_NEW(err, tok, 1);
    tok->forced_lower_case = -1;
    tok->max_length = settings->model_max_length;
    load_state s = {.tok = tok, .dir = "", .config = settings_config(settings)};
    cloze_status status = s.config ? create_wordpiece(&s, vocab, n, err)
                                   : error_set(err, CLOZE_ERR_MEMORY, "out of memory (tokenizer)");
    load_state_deinit(&s);
    if (status == CLOZE_OK)
        *out = tok;
    else
        tokenizer_destroy(tok);
    return status;
}

/* Added tokens that are looked for in normalised text are themselves normalised first. Without a
 * normalizer both searches are one, in the text as it is. */
static cloze_status make_searches(tokenizer *tok, cloze_error *err) {
    if (!tok->normalizer.n)
        for (int32_t i = 0; i < tok->added.n; i++) tok->added.items[i].normalized = false;
    CLOZE_TRY(added_search_init(&tok->raw_search, &tok->added, false, err));
    CLOZE_TRY(added_search_init(&tok->normalized_search, &tok->added, true, err));
    added_search *search = &tok->normalized_search;
    for (int32_t i = 0; i < search->n; i++) {
        norm_text t = {0};
        buf key;
        buf_init(&key, LOAD_MAX_FILE);
        cloze_status status = norm_text_set(&t, search->keys[i], search->key_lens[i], 0, err);
        if (status == CLOZE_OK) status = normalizer_apply(&tok->normalizer, &t, err);
        for (int32_t k = 0; k < t.n; k++) {
            uint8_t bytes[4];
            buf_append(&key, bytes, (size_t)unicode_put(t.cp[k], bytes));
        }
        if (status == CLOZE_OK && !buf_ok(&key))
            status = error_set(err, CLOZE_ERR_MEMORY, "out of memory (added token)");
        if (status == CLOZE_OK)
            status = added_search_set_key(search, i, key.data ? key.data : "", key.len, err);
        norm_text_deinit(&t);
        buf_deinit(&key);
        CLOZE_TRY(status);
    }
    added_search_finish(search);
    return CLOZE_OK;
}

static cloze_status make_flags(tokenizer *tok, cloze_error *err) {
    tok->n_ids = tok->vocab.n_ids;
    for (int32_t i = 0; i < tok->added.n; i++)
        if (tok->added.items[i].id >= tok->n_ids) tok->n_ids = tok->added.items[i].id + 1;
    MEM_NEW(err, tok->flags, tok->n_ids);
    size_t prefix_n = tok->continuing_prefix ? strlen(tok->continuing_prefix) : 0;
    for (int32_t id = 0; id < tok->vocab.n_ids; id++) {
        const char *text = vocab_text(&tok->vocab, id, NULL);
        bool by_prefix = tok->kind == TOKENIZER_WORDPIECE;
        if (!text) continue;
        bool continues = by_prefix ? prefix_n && !strncmp(text, tok->continuing_prefix, prefix_n)
                                   : strncmp(text, "\xC4\xA0", 2) != 0; /* no byte-level space */
        if (continues) tok->flags[id] |= TOKEN_CONTINUES;
    }
    for (int32_t i = 0; i < tok->added.n; i++) {
        uint8_t *flags = &tok->flags[tok->added.items[i].id];
        *flags = tok->added.items[i].special ? TOKEN_SPECIAL : 0;
    }
    return CLOZE_OK;
}

/* Whether one of the scans does all that the pipeline asks for. */
static cloze_status make_one_pass(tokenizer *tok, cloze_error *err) {
    const pretokenizer *split = &tok->pretokenizer;
    if (tok->kind == TOKENIZER_WORDPIECE)
        CLOZE_TRY(vocab_index_continuations(&tok->vocab, tok->continuing_prefix, err));
    if (tok->normalized_search.n || split->n != 1) return CLOZE_OK;
    if (tok->kind == TOKENIZER_BYTE_BPE) {
        tok->one_pass = !tok->normalizer.n && split->steps[0].use_regex;
        return CLOZE_OK;
    }
    tok->one_pass = tok->normalizer.n == 1 && tok->normalizer.steps[0].kind == NORMALIZER_BERT &&
                    split->steps[0].kind == PRETOKENIZER_BERT &&
                    tok->wordpiece.max_chars <= WORDPIECE_WORD_CHARS;
    if (!tok->one_pass) return CLOZE_OK;
    return bert_scanner_init(&tok->bert, &tok->wordpiece, &tok->normalizer.steps[0].bert, err);
}

/* A special id that a layout names must be one that a model can look up. */
static cloze_status check_layout(const tokenizer *tok, const special_layout *layout,
                                 cloze_error *err) {
    for (int32_t i = 0; i < layout->n; i++)
        if (layout->parts[i] >= tok->n_ids)
            CLOZE_FAIL(err, MODEL,
                       "the tokenizer's template names id %d, but the vocabulary has %d ids",
                       layout->parts[i], tok->n_ids);
    return CLOZE_OK;
}

cloze_status tokenizer_finish(tokenizer *tok, cloze_error *err) {
    CLOZE_TRY(make_searches(tok, err));
    CLOZE_TRY(make_flags(tok, err));
    CLOZE_TRY(make_one_pass(tok, err));
    CLOZE_TRY(check_layout(tok, &tok->single, err));
    CLOZE_TRY(check_layout(tok, &tok->pair, err));
    int32_t *ids[ROLE_COUNT] = {&tok->special.cls, &tok->special.sep, &tok->special.mask,
                                &tok->special.pad, &tok->special.unk, &tok->special.bos,
                                &tok->special.eos};
    for (int role = 0; role < ROLE_COUNT; role++) *ids[role] = load_role_id(tok, role);
    return CLOZE_OK;
}
