/* Vocabulary files: vocab.txt for WordPiece, vocab.json + merges.txt for byte-level BPE. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "text/load.h"

static const char *const bert_defaults[ROLE_COUNT] = {
    [ROLE_CLS] = "[CLS]", [ROLE_SEP] = "[SEP]", [ROLE_MASK] = "[MASK]",
    [ROLE_PAD] = "[PAD]", [ROLE_UNK] = "[UNK]",
};
static const char *const roberta_defaults[ROLE_COUNT] = {
    [ROLE_CLS] = "<s>",   [ROLE_SEP] = "</s>", [ROLE_MASK] = "<mask>", [ROLE_PAD] = "<pad>",
    [ROLE_UNK] = "<unk>", [ROLE_BOS] = "<s>",  [ROLE_EOS] = "</s>",
};
static const char *const gpt2_defaults[ROLE_COUNT] = {
    [ROLE_UNK] = "<|endoftext|>",
    [ROLE_BOS] = "<|endoftext|>",
    [ROLE_EOS] = "<|endoftext|>",
};

cloze_status load_vocab_text(tokenizer *tok, const char *text, size_t n, const char *what,
                             cloze_error *err) {
    size_t valid = utf8_valid_prefix(text, n), line = 1;
    for (size_t i = 0; i < valid; i++) line += text[i] == '\n';
    if (valid < n)
        CLOZE_FAIL(err, MODEL, "%s:%zu: not UTF-8: is this a vocabulary of one token a line?", what,
                   line);
    if (memchr(text, '\0', n)) CLOZE_FAIL(err, MODEL, "%s: a NUL byte in a vocabulary", what);
    size_t at = n >= 3 && !memcmp(text, "\xEF\xBB\xBF", 3) ? 3 : 0;
    for (int32_t id = 0; at < n; id++) {
        size_t end = at + strcspn(text + at, "\r\n"); /* as Python reads lines: \n, \r\n and \r */
        cloze_status status = vocab_add(&tok->vocab, text + at, end - at, id, err);
        if (status != CLOZE_OK) return error_prefix(err, "%s, line %d", what, id + 1);
        if (end + 1 < n && text[end] == '\r' && text[end + 1] == '\n') end++;
        at = end + 1;
    }
    if (tok->vocab.count == 0) CLOZE_FAIL(err, MODEL, "%s: there is no token in it", what);
    return CLOZE_OK;
}

/* BERT's never_split: words that are kept whole where they stand between spaces. */
static cloze_status load_never_split(load_state *s, cloze_error *err) {
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(s->config, "never_split"), *item;
    int32_t unk = load_role_id(s->tok, ROLE_UNK);
    cJSON_ArrayForEach(item, list) {
        added_token token;
        if (!load_token_spec(item, &token)) continue;
        if (added_tokens_find(&s->tok->added, token.content, token.len)) continue;
        token.space_bounded = true;
        token.id = vocab_get(&s->tok->vocab, token.content, token.len);
        if (token.id < 0) token.id = unk;
        CLOZE_TRY(added_tokens_put(&s->tok->added, &token, err));
    }
    return CLOZE_OK;
}

/* BertTokenizer's switches, from the configuration and its defaults. */
static void read_switches(load_state *s) {
    bert_switches *on = &s->tok->switches;
    int lower = load_flag(s->config, "do_lower_case");
    int accents = load_flag(s->config, "strip_accents");
    if (s->tok->forced_lower_case >= 0) lower = s->tok->forced_lower_case;
    on->clean_text = true;
    on->lowercase = lower != 0;
    on->strip_accents = accents < 0 ? on->lowercase : accents;
    on->handle_chinese_chars = load_flag(s->config, "tokenize_chinese_chars") != 0;
}

cloze_status load_wordpiece(load_state *s, const char *text, size_t n, cloze_error *err) {
    tokenizer *tok = s->tok;
    char what[600];
    snprintf(what, sizeof what, "%.580s%s", s->dir, *s->dir ? "/vocab.txt" : "vocabulary");
    tok->kind = TOKENIZER_WORDPIECE;
    if (tok->class_name && strstr(tok->class_name, "Japanese"))
        CLOZE_FAIL(err, MODEL, "%s: %s needs a Japanese word splitter, which cloze has not", s->dir,
                   tok->class_name);
    CLOZE_TRY(vocab_init(&tok->vocab, n, 32768, err));
    CLOZE_TRY(load_vocab_text(tok, text, n, what, err));
    CLOZE_TRY(load_special_tokens(s, bert_defaults, err));
    static const int needed[] = {ROLE_CLS, ROLE_SEP, ROLE_UNK};
    for (int i = 0; i < 3; i++)
        if (load_role_id(tok, needed[i]) < 0)
            CLOZE_FAIL(err, MODEL,
                       "%s has no %s: it is not the vocabulary of a BERT model, or "
                       "special_tokens_map.json must name the token",
                       what, bert_defaults[needed[i]]);
    CLOZE_TRY(load_never_split(s, err));
    read_switches(s);
    tok->continuing_prefix = mem_strdup("##");
    if (!tok->continuing_prefix) CLOZE_FAIL(err, MEMORY, "out of memory (tokenizer)");
    tok->decoder_cleanup = true;
    tok->wordpiece = (wordpiece_model){&tok->vocab, load_role_id(tok, ROLE_UNK), 100};
    int32_t cls = load_role_id(tok, ROLE_CLS), sep = load_role_id(tok, ROLE_SEP);
    if (tok->class_name && !strncmp(tok->class_name, "MPNet", 5))
        load_roberta_layout(tok, cls, sep);
    else
        load_bert_layout(tok, cls, sep);
    normalizer_step normalize = {.kind = NORMALIZER_BERT, .bert = tok->switches};
    pretokenizer_step split = {.kind = PRETOKENIZER_BERT};
    if (load_flag(s->config, "do_basic_tokenize") == 0) {
        split.kind = PRETOKENIZER_SPACES;
        return pretokenizer_add(&tok->pretokenizer, &split, err);
    }
    CLOZE_TRY(normalizer_add(&tok->normalizer, &normalize, err));
    return pretokenizer_add(&tok->pretokenizer, &split, err);
}

cloze_status load_vocab_object(tokenizer *tok, const cJSON *object, cloze_error *err) {
    const cJSON *item;
    if (!cJSON_IsObject(object))
        CLOZE_FAIL(err, MODEL, "the vocabulary is not an object of token: id");
    CLOZE_TRY(vocab_init(&tok->vocab, 0, 32768, err));
    cJSON_ArrayForEach(item, object) {
        if (!item->string || !cJSON_IsNumber(item) || item->valuedouble < 0 ||
            item->valuedouble >= VOCAB_MAX_ID || item->valuedouble != (double)item->valueint)
            CLOZE_FAIL(err, MODEL, "the vocabulary's entry \"%s\" is not a token id from 0 to %d",
                       item->string ? item->string : "", VOCAB_MAX_ID - 1);
        CLOZE_TRY(vocab_add(&tok->vocab, item->string, strlen(item->string), item->valueint, err));
    }
    if (!tok->vocab.count) CLOZE_FAIL(err, MODEL, "the vocabulary is empty");
    return CLOZE_OK;
}

/* "#version" in the first line, then "left right" a line. */
static cloze_status load_merges(tokenizer *tok, const source_file *file, cloze_error *err) {
    const char *at = file->data, *end = file->data + file->n;
    for (int line = 1; at < end; line++) {
        size_t n = strcspn(at, "\r\n");
        const char *space = memchr(at, ' ', n);
        bool version = line == 1 && n >= 8 && !memcmp(at, "#version", 8);
        if (n && !version) {
            if (!space || space == at || space + 1 == at + n)
                CLOZE_FAIL(err, MODEL, "line %d is not two tokens with a space between them", line);
            size_t left = (size_t)(space - at);
            CLOZE_TRY(bpe_add_merge(&tok->bpe, at, left, space + 1, n - left - 1, err));
        }
        at += n;
        if (at < end && *at == '\r' && at + 1 < end && at[1] == '\n') at++;
        if (at < end)
            at++;
        else
            break;
    }
    return CLOZE_OK;
}

typedef enum bpe_family { FAMILY_UNKNOWN, FAMILY_ROBERTA, FAMILY_GPT2, FAMILY_OTHER } bpe_family;

/* Which model's rules a vocab.json goes by: tokenizer_class, then config.json, then the tokens. */
static bpe_family find_family(const load_state *s) {
    static const struct {
        const char *prefix;
        bpe_family family;
    } known[] = {
        {"roberta", FAMILY_ROBERTA}, {"longformer", FAMILY_ROBERTA},
        {"bart", FAMILY_ROBERTA},    {"led", FAMILY_ROBERTA},
        {"mvp", FAMILY_ROBERTA},     {"blenderbottok", FAMILY_ROBERTA},
        {"gpt2", FAMILY_GPT2},       {"gpt_neo", FAMILY_GPT2},
        {"gptneo", FAMILY_GPT2},     {"gptj", FAMILY_GPT2},
        {"codegen", FAMILY_GPT2},    {"opt", FAMILY_OTHER},
        {"xlm", FAMILY_OTHER},
    };
    const cJSON *type = cJSON_GetObjectItemCaseSensitive(s->model_config, "model_type");
    const char *names[] = {s->tok->class_name, cJSON_IsString(type) ? type->valuestring : NULL};
    for (int i = 0; i < 2; i++) {
        if (!names[i] || !strcmp(names[i], "PreTrainedTokenizerFast")) continue;
        for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
            size_t n = strlen(known[k].prefix);
            size_t j = 0;
            while (j < n && names[i][j] && (names[i][j] | 0x20) == (known[k].prefix[j] | 0x20)) j++;
            if (j == n) return known[k].family;
        }
        return FAMILY_OTHER;
    }
    if (vocab_get(&s->tok->vocab, "<s>", 3) >= 0 && vocab_get(&s->tok->vocab, "<mask>", 6) >= 0)
        return FAMILY_ROBERTA;
    return vocab_get(&s->tok->vocab, "<|endoftext|>", 13) >= 0 ? FAMILY_GPT2 : FAMILY_UNKNOWN;
}

static cloze_status load_vocab_json(load_state *s, const source_file *vocab, cloze_error *err) {
    cJSON *root = NULL;
    CLOZE_TRY(json_parse(vocab->data, vocab->n, "vocab.json", CLOZE_ERR_MODEL, &root, err));
    cloze_status status = load_vocab_object(s->tok, root, err);
    json_destroy(root);
    return status == CLOZE_OK ? status : error_prefix(err, "%s/vocab.json", s->dir);
}

cloze_status load_byte_bpe(load_state *s, const source_file *vocab, const source_file *merges,
                           cloze_error *err) {
    tokenizer *tok = s->tok;
    tok->kind = TOKENIZER_BYTE_BPE;
    CLOZE_TRY(load_vocab_json(s, vocab, err));
    CLOZE_TRY(bpe_init(&tok->bpe, &tok->vocab, 50000, err));
    if (load_merges(tok, merges, err) != CLOZE_OK)
        return error_prefix(err, "%s/merges.txt", s->dir);
    bpe_family family = find_family(s);
    if (family == FAMILY_UNKNOWN || family == FAMILY_OTHER)
        CLOZE_FAIL(err, MODEL,
                   "%s: vocab.json and merges.txt are read as RoBERTa's or GPT-2's, and "
                   "these are of %s: put its tokenizer.json there",
                   s->dir, tok->class_name ? tok->class_name : "another model");
    bool roberta = family == FAMILY_ROBERTA;
    CLOZE_TRY(load_special_tokens(s, roberta ? roberta_defaults : gpt2_defaults, err));
    int32_t cls = load_role_id(tok, ROLE_CLS), sep = load_role_id(tok, ROLE_SEP);
    if (roberta && (cls < 0 || sep < 0))
        CLOZE_FAIL(err, MODEL,
                   "%s/vocab.json has no <s> or </s>: it is not the vocabulary of a RoBERTa "
                   "model",
                   s->dir);
    if (roberta)
        load_roberta_layout(tok, cls, sep);
    else
        load_plain_layout(tok);
    tok->add_prefix_space = load_flag(s->config, "add_prefix_space") == 1;
    tok->trim_offsets = roberta && load_flag(s->config, "trim_offsets") != 0;
    tok->trim_keeps_prefix = tok->add_prefix_space;
    pretokenizer_step split = {.kind = PRETOKENIZER_BYTE_LEVEL,
                               .use_regex = true,
                               .add_prefix_space = tok->add_prefix_space};
    return pretokenizer_add(&tok->pretokenizer, &split, err);
}
