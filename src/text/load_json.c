/*
 * tokenizer.json: { "added_tokens": [..], "normalizer": {..}, "pre_tokenizer": {..}, "model": {..},
 * "post_processor": {..}, "decoder": {..} }. Every part is an object with a "type"; a type that is
 * not known here fails with its name, never in silence.
 */
#include <string.h>

#include "base/mem.h"
#include "text/load.h"

#define MAX_WORD_CHARS (1 << 14) /* the search is quadratic in it; models have 100 to 200 */

static const cJSON *get(const cJSON *object, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return item && !cJSON_IsNull(item) ? item : NULL;
}

static const char *get_text(const cJSON *object, const char *key) {
    const cJSON *item = get(object, key);
    return cJSON_IsString(item) ? item->valuestring : NULL;
}

static cloze_status load_model_wordpiece(tokenizer *tok, const cJSON *model, cloze_error *err) {
    const char *unk = get_text(model, "unk_token"),
               *prefix = get_text(model, "continuing_subword_prefix");
    int64_t max_chars = 100;
    CLOZE_TRY(json_get_int(model, "max_input_chars_per_word", 1, MAX_WORD_CHARS, &max_chars, err));
    tok->kind = TOKENIZER_WORDPIECE;
    tok->continuing_prefix = mem_strdup(prefix ? prefix : "##");
    if (!tok->continuing_prefix) CLOZE_FAIL(err, MEMORY, "out of memory (tokenizer)");
    tok->wordpiece = (wordpiece_model){&tok->vocab, -1, (int32_t)max_chars};
    if (unk) tok->wordpiece.unk = vocab_get(&tok->vocab, unk, strlen(unk));
    if (tok->wordpiece.unk < 0)
        CLOZE_FAIL(err, MODEL, "\"unk_token\" %s is not in the vocabulary", unk ? unk : "null");
    return CLOZE_OK;
}

/* A merge is "left right" or ["left", "right"]. */
static cloze_status load_merge(tokenizer *tok, const cJSON *item, cloze_error *err) {
    if (cJSON_IsString(item)) {
        const char *text = item->valuestring, *space = strchr(text, ' ');
        if (space)
            return bpe_add_merge(&tok->bpe, text, (size_t)(space - text), space + 1,
                                 strlen(space + 1), err);
    }
    const cJSON *left = cJSON_IsArray(item) ? item->child : NULL, *right = left ? left->next : NULL;
    if (!cJSON_IsString(left) || !cJSON_IsString(right) || right->next)
        CLOZE_FAIL(err, MODEL, "merge %zu is neither \"left right\" nor [left, right]",
                   tok->bpe.n_merges + 1);
    return bpe_add_merge(&tok->bpe, left->valuestring, strlen(left->valuestring),
                         right->valuestring, strlen(right->valuestring), err);
}

static cloze_status load_model_bpe(tokenizer *tok, const cJSON *model, cloze_error *err) {
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (int i = 0; i < 2; i++) {
        const char *affix = get_text(model, affixes[i]);
        if (affix && *affix)
            CLOZE_FAIL(err, MODEL, "BPE with \"%s\" is not one that cloze reads", affixes[i]);
    }
    double dropout = 0.0;
    CLOZE_TRY(json_get_double(model, "dropout", &dropout, err));
    if (dropout != 0.0) CLOZE_FAIL(err, MODEL, "BPE with \"dropout\" is not one that cloze reads");
    tok->kind = TOKENIZER_BYTE_BPE;
    CLOZE_TRY(bpe_init(&tok->bpe, &tok->vocab, 50000, err));
    const cJSON *item;
    cJSON_ArrayForEach(item, get(model, "merges")) CLOZE_TRY(load_merge(tok, item, err));
    const char *unk = get_text(model, "unk_token");
    if (unk) tok->bpe.unk = vocab_get(&tok->vocab, unk, strlen(unk));
    tok->bpe.ignore_merges = load_flag(model, "ignore_merges") == 1;
    return CLOZE_OK;
}

static cloze_status load_model(tokenizer *tok, const cJSON *model, cloze_error *err) {
    if (!cJSON_IsObject(model)) CLOZE_FAIL(err, MODEL, "there is no \"model\"");
    const char *type = get_text(model, "type");
    if (!type) type = get(model, "merges") ? "BPE" : "WordPiece"; /* files of old versions */
    bool is_bpe = !strcmp(type, "BPE");
    if (!is_bpe && strcmp(type, "WordPiece"))
        CLOZE_FAIL(err, MODEL,
                   "a \"%s\" model is not one that cloze reads (WordPiece, byte-level BPE)", type);
    CLOZE_TRY(load_vocab_object(tok, get(model, "vocab"), err));
    return is_bpe ? load_model_bpe(tok, model, err) : load_model_wordpiece(tok, model, err);
}

static cloze_status load_added(tokenizer *tok, const cJSON *list, cloze_error *err) {
    const cJSON *item;
    cJSON_ArrayForEach(item, list) {
        added_token token;
        int64_t id = -1;
        if (!cJSON_IsObject(item) || !load_token_spec(item, &token))
            CLOZE_FAIL(err, MODEL, "\"added_tokens\" has an entry without \"content\"");
        CLOZE_TRY(json_get_int(item, "id", 0, VOCAB_MAX_ID - 1, &id, err));
        CLOZE_TRY(load_add_token(tok, token, (int32_t)id, err));
    }
    return CLOZE_OK;
}

/* The pipeline must end in a ByteLevel step for byte-level BPE, and have none for WordPiece. */
static cloze_status check_pipeline(const tokenizer *tok, cloze_error *err) {
    const pretokenizer *z = &tok->pretokenizer;
    bool byte_level = z->n && z->steps[z->n - 1].kind == PRETOKENIZER_BYTE_LEVEL;
    for (int32_t i = 0; i + 1 < z->n; i++)
        if (z->steps[i].kind == PRETOKENIZER_BYTE_LEVEL)
            CLOZE_FAIL(err, MODEL, "\"pre_tokenizer\": ByteLevel must be the last step");
    if (tok->kind == TOKENIZER_BYTE_BPE && !byte_level)
        CLOZE_FAIL(err, MODEL,
                   "a BPE model without a ByteLevel pre-tokenizer is not one that cloze reads");
    if (tok->kind == TOKENIZER_WORDPIECE && byte_level)
        CLOZE_FAIL(err, MODEL,
                   "a WordPiece model with a ByteLevel pre-tokenizer is not one that cloze reads");
    return CLOZE_OK;
}

/* What tokenizer_config.json states overrides the file's normalizer, as transformers does it. */
static void override_switches(load_state *s) {
    tokenizer *tok = s->tok;
    int lower = tok->forced_lower_case >= 0 ? tok->forced_lower_case
                                            : load_flag(s->config, "do_lower_case");
    int chinese = load_flag(s->config, "tokenize_chinese_chars");
    int accents = load_flag(s->config, "strip_accents");
    for (int32_t i = 0; i < tok->normalizer.n; i++) {
        normalizer_step *step = &tok->normalizer.steps[i];
        if (step->kind != NORMALIZER_BERT) continue;
        if (lower >= 0) {
            step->bert.lowercase = lower;
            if (step->follows_lower) step->bert.strip_accents = lower;
        }
        if (accents >= 0) step->bert.strip_accents = accents;
        if (chinese >= 0) step->bert.handle_chinese_chars = chinese;
        tok->switches = step->bert;
    }
}

/* Names for the roles that no configuration file states. */
static void guess_roles(const tokenizer *tok, const cJSON *model,
                        const char *defaults[ROLE_COUNT]) {
    static const char *const names[ROLE_COUNT][2] = {
        [ROLE_CLS] = {"[CLS]", "<s>"},          [ROLE_SEP] = {"[SEP]", "</s>"},
        [ROLE_MASK] = {"[MASK]", "<mask>"},     [ROLE_PAD] = {"[PAD]", "<pad>"},
        [ROLE_UNK] = {"[UNK]", "<unk>"},        [ROLE_BOS] = {"<s>", "<|endoftext|>"},
        [ROLE_EOS] = {"</s>", "<|endoftext|>"},
    };
    for (int role = 0; role < ROLE_COUNT; role++) {
        defaults[role] = NULL;
        for (int i = 0; i < 2 && !defaults[role]; i++) {
            const added_token *added =
                added_tokens_find(&tok->added, names[role][i], strlen(names[role][i]));
            if (added && added->special) defaults[role] = names[role][i];
        }
    }
    const char *unk = get_text(model, "unk_token");
    if (unk) defaults[ROLE_UNK] = unk;
}

static cloze_status load_parts(load_state *s, const cJSON *root, cloze_error *err) {
    tokenizer *tok = s->tok;
    const cJSON *model = get(root, "model"), *decoder = get(root, "decoder");
    if (load_model(tok, model, err) != CLOZE_OK) return error_prefix(err, "\"model\"");
    CLOZE_TRY(load_added(tok, get(root, "added_tokens"), err));
    CLOZE_TRY(load_json_normalizer(tok, get(root, "normalizer"), err));
    CLOZE_TRY(load_json_pretokenizer(tok, get(root, "pre_tokenizer"), err));
    CLOZE_TRY(check_pipeline(tok, err));
    override_switches(s);
    int prefix = load_flag(s->config, "add_prefix_space");
    if (tok->kind == TOKENIZER_BYTE_BPE) {
        bool *on = &tok->pretokenizer.steps[tok->pretokenizer.n - 1].add_prefix_space;
        if (prefix >= 0) *on = prefix;
        tok->add_prefix_space = *on;
    }
    const char *defaults[ROLE_COUNT];
    guess_roles(tok, model, defaults);
    CLOZE_TRY(load_special_tokens(s, defaults, err));
    tok->decoder_cleanup = tok->kind == TOKENIZER_WORDPIECE && load_flag(decoder, "cleanup") != 0;
    return load_json_postprocessor(tok, get(root, "post_processor"), err);
}

cloze_status load_tokenizer_json(load_state *s, const source_file *file, cloze_error *err) {
    cJSON *root = NULL;
    CLOZE_TRY(json_parse(file->data, file->n, "tokenizer.json", CLOZE_ERR_MODEL, &root, err));
    cloze_status status = load_parts(s, root, err);
    json_destroy(root);
    return status == CLOZE_OK ? status : error_prefix(err, "%s/tokenizer.json", s->dir);
}
