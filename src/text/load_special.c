/*
 * Special and added tokens from tokenizer_config.json, special_tokens_map.json and
 * added_tokens.json, and the layouts that place them around a text.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/load.h"

#define MAX_ADDED 16384

int load_flag(const cJSON *config, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(config, key);
    if (cJSON_IsTrue(item)) return 1;
    return cJSON_IsFalse(item) ? 0 : -1;
}

bool load_token_spec(const cJSON *item, added_token *out) {
    const cJSON *content = item;
    memset(out, 0, sizeof *out);
    out->id = -1;
    if (cJSON_IsObject(item)) {
        content = cJSON_GetObjectItemCaseSensitive(item, "content");
        out->lstrip = load_flag(item, "lstrip") == 1;
        out->rstrip = load_flag(item, "rstrip") == 1;
        out->single_word = load_flag(item, "single_word") == 1;
        out->special = load_flag(item, "special") == 1;
        out->normalized = load_flag(item, "normalized") == 1;
    }
    if (!cJSON_IsString(content)) return false;
    out->content = content->valuestring;
    out->len = (uint32_t)strlen(content->valuestring);
    return out->len > 0;
}

static int32_t next_id(const tokenizer *tok) {
    int32_t id = tok->vocab.n_ids;
    for (int32_t i = 0; i < tok->added.n; i++)
        if (tok->added.items[i].id >= id) id = tok->added.items[i].id + 1;
    return id;
}

cloze_status load_add_token(tokenizer *tok, added_token token, int32_t id, cloze_error *err) {
    const added_token *old = added_tokens_find(&tok->added, token.content, token.len);
    int32_t known = old ? old->id : vocab_get(&tok->vocab, token.content, token.len);
    token.id = known >= 0 ? known : id >= 0 ? id : next_id(tok);
    if (token.id >= VOCAB_MAX_ID)
        CLOZE_FAIL(err, MODEL, "the id of the added token \"%s\" is too large", token.content);
    if (tok->added.n >= MAX_ADDED) CLOZE_FAIL(err, MODEL, "more than %d added tokens", MAX_ADDED);
    return added_tokens_put(&tok->added, &token, err);
}

int32_t load_role_id(const tokenizer *tok, int role) {
    const char *content = tok->roles[role];
    return content ? tokenizer_token_to_id(tok, content, strlen(content)) : -1;
}

/* Sets a role's content and makes its token an added special one. */
static cloze_status set_role(load_state *s, int role, const char *fallback, cloze_error *err) {
    tokenizer *tok = s->tok;
    added_token token;
    bool stated =
        load_token_spec(cJSON_GetObjectItemCaseSensitive(s->special_map, tokenizer_role_keys[role]),
                        &token) ||
        load_token_spec(cJSON_GetObjectItemCaseSensitive(s->config, tokenizer_role_keys[role]),
                        &token);
    if (!stated) {
        if (!fallback) return CLOZE_OK;
        token =
            (added_token){.content = (char *)fallback, .len = (uint32_t)strlen(fallback), .id = -1};
        if (tokenizer_token_to_id(tok, fallback, token.len) < 0) return CLOZE_OK;
    }
    tok->roles[role] = mem_strdup(token.content);
    if (!tok->roles[role]) CLOZE_FAIL(err, MEMORY, "out of memory (special token)");
    added_token *old = (added_token *)added_tokens_find(&tok->added, token.content, token.len);
    if (old) { /* the file's flags stay */
        old->special = true;
        return CLOZE_OK;
    }
    /* RoBERTa's mask takes the space before it along, whether the files say so or not. */
    if (role == ROLE_MASK && tok->kind == TOKENIZER_BYTE_BPE) token.lstrip = true;
    token.special = true;
    return load_add_token(tok, token, -1, err);
}

/* {"128": {"content": ...}, ...} */
static cloze_status load_decoder_entries(load_state *s, cloze_error *err) {
    const cJSON *entries = cJSON_GetObjectItemCaseSensitive(s->config, "added_tokens_decoder"),
                *item;
    cJSON_ArrayForEach(item, entries) {
        added_token token;
        char *end = NULL;
        long id = item->string ? strtol(item->string, &end, 10) : -1;
        if (!load_token_spec(item, &token) || !end || *end || id < 0 || id >= VOCAB_MAX_ID)
            CLOZE_FAIL(err, MODEL,
                       "%s/tokenizer_config.json: \"added_tokens_decoder\" has a wrong entry"
                       " \"%s\"",
                       s->dir, item->string ? item->string : "");
        if (!added_tokens_find(&s->tok->added, token.content, token.len))
            CLOZE_TRY(load_add_token(s->tok, token, (int32_t)id, err));
    }
    return CLOZE_OK;
}

/* {"token": id, ...} */
static cloze_status load_added_file(load_state *s, cloze_error *err) {
    const cJSON *item;
    cJSON_ArrayForEach(item, s->added) {
        if (!item->string || !cJSON_IsNumber(item) || item->valuedouble < 0 ||
            item->valuedouble >= VOCAB_MAX_ID)
            CLOZE_FAIL(err, MODEL, "%s/added_tokens.json: \"%s\" has no token id", s->dir,
                       item->string ? item->string : "");
        added_token token = {.content = item->string, .len = (uint32_t)strlen(item->string)};
        token.normalized = true;
        if (!added_tokens_find(&s->tok->added, token.content, token.len))
            CLOZE_TRY(load_add_token(s->tok, token, (int32_t)item->valuedouble, err));
    }
    return CLOZE_OK;
}

static cloze_status load_extra_specials(tokenizer *tok, const cJSON *list, cloze_error *err) {
    const cJSON *item;
    cJSON_ArrayForEach(item, list) {
        added_token token;
        if (!load_token_spec(item, &token)) continue;
        token.special = true;
        added_token *old = (added_token *)added_tokens_find(&tok->added, token.content, token.len);
        if (old)
            old->special = true;
        else
            CLOZE_TRY(load_add_token(tok, token, -1, err));
    }
    return CLOZE_OK;
}

cloze_status load_special_tokens(load_state *s, const char *const defaults[ROLE_COUNT],
                                 cloze_error *err) {
    CLOZE_TRY(load_decoder_entries(s, err));
    for (int role = 0; role < ROLE_COUNT; role++)
        CLOZE_TRY(set_role(s, role, defaults ? defaults[role] : NULL, err));
    static const char *const lists[] = {"additional_special_tokens", "extra_special_tokens"};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        CLOZE_TRY(load_extra_specials(s->tok, cJSON_GetObjectItemCaseSensitive(s->config, lists[i]),
                                      err));
        CLOZE_TRY(load_extra_specials(
            s->tok, cJSON_GetObjectItemCaseSensitive(s->special_map, lists[i]), err));
    }
    return load_added_file(s, err);
}

static void add_part(special_layout *layout, int32_t part, int32_t type) {
    layout->parts[layout->n] = part;
    layout->types[layout->n++] = type;
}

void load_bert_layout(tokenizer *tok, int32_t cls, int32_t sep) {
    special_layout *layouts[] = {&tok->single, &tok->pair};
    for (int i = 0; i < 2; i++) {
        layouts[i]->n = 0;
        add_part(layouts[i], cls, 0);
        add_part(layouts[i], TOKENIZER_PART_A, 0);
        add_part(layouts[i], sep, 0);
    }
    add_part(&tok->pair, TOKENIZER_PART_B, 1);
    add_part(&tok->pair, sep, 1);
}

void load_roberta_layout(tokenizer *tok, int32_t cls, int32_t sep) {
    load_bert_layout(tok, cls, sep);
    special_layout *pair = &tok->pair;
    pair->n = 3;
    add_part(pair, sep, 0);
    add_part(pair, TOKENIZER_PART_B, 0);
    add_part(pair, sep, 0);
}

void load_plain_layout(tokenizer *tok) {
    tok->single.n = tok->pair.n = 0;
    add_part(&tok->single, TOKENIZER_PART_A, 0);
    add_part(&tok->pair, TOKENIZER_PART_A, 0);
    add_part(&tok->pair, TOKENIZER_PART_B, 1);
}
