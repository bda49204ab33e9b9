/* Normalizers, pre-tokenizers and post-processors of tokenizer.json. */
#include <string.h>

#include "base/mem.h"
#include "text/load.h"
#include "text/unicode.h"

#define MAX_STEPS 64 /* steps of a pipeline: nested sequences in a damaged file */

static const char *type_of(const cJSON *item) {
    const cJSON *type = cJSON_GetObjectItemCaseSensitive(item, "type");
    return cJSON_IsString(type) ? type->valuestring : "(no type)";
}

static const char *get_text(const cJSON *object, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsString(item) ? item->valuestring : NULL;
}

/* {"String": "..."} or {"Regex": "..."} under `key`. */
static cloze_status load_pattern(const cJSON *item, const char *key, pattern **out,
                                 cloze_error *err) {
    const cJSON *object = cJSON_GetObjectItemCaseSensitive(item, key);
    const char *literal = get_text(object, "String"), *regex = get_text(object, "Regex");
    if (!literal && !regex) CLOZE_FAIL(err, MODEL, "%s has no \"%s\"", type_of(item), key);
    return pattern_create(regex ? regex : literal, regex != NULL, out, err);
}

static cloze_status load_replace(const cJSON *item, normalizer_step *step, cloze_error *err) {
    const char *content = get_text(item, "content");
    step->kind = NORMALIZER_REPLACE;
    CLOZE_TRY(load_pattern(item, "pattern", &step->match, err));
    step->text = mem_strdup(content ? content : "");
    if (step->text) return CLOZE_OK;
    pattern_destroy(step->match);
    CLOZE_FAIL(err, MEMORY, "out of memory (normalizer)");
}

static void load_bert_normalizer(const cJSON *item, normalizer_step *step) {
    int accents = load_flag(item, "strip_accents");
    step->kind = NORMALIZER_BERT;
    step->bert.clean_text = load_flag(item, "clean_text") != 0;
    step->bert.handle_chinese_chars = load_flag(item, "handle_chinese_chars") != 0;
    step->bert.lowercase = load_flag(item, "lowercase") != 0;
    step->bert.strip_accents = accents < 0 ? step->bert.lowercase : accents;
    step->follows_lower = accents < 0;
}

/* Normalizers that are told by their name alone. */
static bool load_simple_normalizer(const char *type, normalizer_step *step) {
    static const struct {
        const char *type;
        normalizer_kind kind;
        bool compat;
    } known[] = {
        {"NFC", NORMALIZER_COMPOSE, false},
        {"NFD", NORMALIZER_DECOMPOSE, false},
        {"NFKC", NORMALIZER_COMPOSE, true},
        {"NFKD", NORMALIZER_DECOMPOSE, true},
        {"Lowercase", NORMALIZER_LOWERCASE, false},
        {"StripAccents", NORMALIZER_STRIP_ACCENTS, false},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(type, known[i].type)) continue;
        step->kind = known[i].kind;
        step->compat = known[i].compat;
        return true;
    }
    return false;
}

cloze_status load_json_normalizer(tokenizer *tok, const cJSON *item, cloze_error *err) {
    if (!item) return CLOZE_OK;
    const char *type = type_of(item);
    if (!strcmp(type, "Sequence")) {
        const cJSON *child;
        cJSON_ArrayForEach(child, cJSON_GetObjectItemCaseSensitive(item, "normalizers"))
            CLOZE_TRY(load_json_normalizer(tok, child, err));
        return CLOZE_OK;
    }
    normalizer_step step = {0};
    if (tok->normalizer.n == MAX_STEPS)
        CLOZE_FAIL(err, MODEL, "more than %d normalizers", MAX_STEPS);
    if (!strcmp(type, "BertNormalizer")) {
        load_bert_normalizer(item, &step);
    } else if (!strcmp(type, "Replace")) {
        CLOZE_TRY(load_replace(item, &step, err));
    } else if (!strcmp(type, "Strip")) {
        step.kind = NORMALIZER_STRIP;
        step.left = load_flag(item, "strip_left") != 0;
        step.right = load_flag(item, "strip_right") != 0;
    } else if (!strcmp(type, "Prepend")) {
        const char *text = get_text(item, "prepend");
        step.kind = NORMALIZER_PREPEND;
        step.text = mem_strdup(text ? text : "");
        if (!step.text) CLOZE_FAIL(err, MEMORY, "out of memory (normalizer)");
    } else if (!load_simple_normalizer(type, &step)) {
        CLOZE_FAIL(err, MODEL, "the normalizer \"%s\" is not one that cloze reads", type);
    }
    return normalizer_add(&tok->normalizer, &step, err);
}

static cloze_status load_behavior(const cJSON *item, split_behavior fallback, split_behavior *out,
                                  cloze_error *err) {
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    const char *name = get_text(item, "behavior");
    *out = fallback;
    if (!name) return CLOZE_OK;
    for (int i = 0; i < 5; i++) {
        if (strcmp(name, names[i])) continue;
        *out = (split_behavior)i;
        return CLOZE_OK;
    }
    CLOZE_FAIL(err, MODEL, "%s: the behavior \"%s\" is not known", type_of(item), name);
}

static cloze_status load_delimiter(const cJSON *item, pretokenizer_step *step, cloze_error *err) {
    const char *text = get_text(item, "delimiter");
    step->kind = PRETOKENIZER_DELIMITER;
    if (!text || !*text) CLOZE_FAIL(err, MODEL, "CharDelimiterSplit has no \"delimiter\"");
    const uint8_t *bytes = (const uint8_t *)text;
    unicode_next(bytes, bytes + strlen(text), &step->delimiter);
    return CLOZE_OK;
}

static cloze_status load_step(const cJSON *item, pretokenizer_step *step, cloze_error *err) {
    const char *type = type_of(item);
    if (!strcmp(type, "BertPreTokenizer")) {
        step->kind = PRETOKENIZER_BERT;
    } else if (!strcmp(type, "WhitespaceSplit")) {
        step->kind = PRETOKENIZER_SPACES;
    } else if (!strcmp(type, "Whitespace")) {
        step->kind = PRETOKENIZER_WORDS;
    } else if (!strcmp(type, "Punctuation")) {
        step->kind = PRETOKENIZER_PUNCTUATION;
        return load_behavior(item, SPLIT_ISOLATED, &step->behavior, err);
    } else if (!strcmp(type, "Digits")) {
        step->kind = PRETOKENIZER_DIGITS;
        step->individual = load_flag(item, "individual_digits") == 1;
    } else if (!strcmp(type, "CharDelimiterSplit")) {
        return load_delimiter(item, step, err);
    } else if (!strcmp(type, "ByteLevel")) {
        step->kind = PRETOKENIZER_BYTE_LEVEL;
        step->add_prefix_space = load_flag(item, "add_prefix_space") != 0;
        step->use_regex = load_flag(item, "use_regex") != 0;
    } else if (!strcmp(type, "Split")) {
        step->kind = PRETOKENIZER_SPLIT;
        step->invert = load_flag(item, "invert") == 1;
        CLOZE_TRY(load_behavior(item, SPLIT_ISOLATED, &step->behavior, err));
        return load_pattern(item, "pattern", &step->match, err);
    } else {
        CLOZE_FAIL(err, MODEL, "the pre-tokenizer \"%s\" is not one that cloze reads", type);
    }
    return CLOZE_OK;
}

cloze_status load_json_pretokenizer(tokenizer *tok, const cJSON *item, cloze_error *err) {
    if (!item) return CLOZE_OK;
    if (!strcmp(type_of(item), "Sequence")) {
        const cJSON *child;
        cJSON_ArrayForEach(child, cJSON_GetObjectItemCaseSensitive(item, "pretokenizers"))
            CLOZE_TRY(load_json_pretokenizer(tok, child, err));
        return CLOZE_OK;
    }
    pretokenizer_step step = {0};
    if (tok->pretokenizer.n == MAX_STEPS)
        CLOZE_FAIL(err, MODEL, "more than %d pre-tokenizers", MAX_STEPS);
    CLOZE_TRY(load_step(item, &step, err));
    return pretokenizer_add(&tok->pretokenizer, &step, err);
}

static cloze_status push_part(special_layout *layout, int32_t part, int32_t type,
                              cloze_error *err) {
    for (int32_t i = 0; part < 0 && i < layout->n; i++)
        if (layout->parts[i] == part)
            CLOZE_FAIL(err, MODEL, "\"post_processor\": a template names a sequence twice");
    if (layout->n == TOKENIZER_MAX_PARTS)
        CLOZE_FAIL(err, MODEL, "\"post_processor\": a template of more than %d parts",
                   TOKENIZER_MAX_PARTS);
    layout->parts[layout->n] = part;
    layout->types[layout->n++] = type;
    return CLOZE_OK;
}

/* {"SpecialToken": {"id": "[CLS]", "type_id": 0}}, whose ids are in special_tokens["[CLS]"]["ids"].
 */
static cloze_status load_special_part(const cJSON *tokens, const cJSON *special, int32_t type,
                                      special_layout *layout, cloze_error *err) {
    const char *name = get_text(special, "id");
    const cJSON *entry = cJSON_GetObjectItemCaseSensitive(tokens, name ? name : ""), *id;
    const cJSON *ids = cJSON_GetObjectItemCaseSensitive(entry, "ids");
    if (!cJSON_IsArray(ids))
        CLOZE_FAIL(err, MODEL, "\"post_processor\": the special token \"%s\" has no ids",
                   name ? name : "");
    cJSON_ArrayForEach(id, ids) {
        if (!cJSON_IsNumber(id) || id->valuedouble < 0 || id->valuedouble >= VOCAB_MAX_ID)
            CLOZE_FAIL(err, MODEL, "\"post_processor\": \"%s\" has a wrong id", name);
        CLOZE_TRY(push_part(layout, id->valueint, type, err));
    }
    return CLOZE_OK;
}

static cloze_status load_template(const cJSON *item, const char *key, special_layout *layout,
                                  cloze_error *err) {
    const cJSON *tokens = cJSON_GetObjectItemCaseSensitive(item, "special_tokens"), *part;
    layout->n = 0;
    cJSON_ArrayForEach(part, cJSON_GetObjectItemCaseSensitive(item, key)) {
        const cJSON *special = cJSON_GetObjectItemCaseSensitive(part, "SpecialToken");
        const cJSON *sequence = cJSON_GetObjectItemCaseSensitive(part, "Sequence");
        int64_t type = 0;
        CLOZE_TRY(json_get_int(special ? special : sequence, "type_id", 0, 15, &type, err));
        if (special) {
            CLOZE_TRY(load_special_part(tokens, special, (int32_t)type, layout, err));
            continue;
        }
        const char *name = get_text(sequence, "id");
        if (!name || (strcmp(name, "A") && strcmp(name, "B")))
            CLOZE_FAIL(err, MODEL,
                       "\"post_processor\": \"%s\" has a part that is no token and no sequence",
                       key);
        int32_t id = *name == 'A' ? TOKENIZER_PART_A : TOKENIZER_PART_B;
        if (id == TOKENIZER_PART_B && !strcmp(key, "single"))
            CLOZE_FAIL(err, MODEL, "\"post_processor\": \"single\" names the second sequence");
        CLOZE_TRY(push_part(layout, id, (int32_t)type, err));
    }
    return CLOZE_OK;
}

/* ["[SEP]", 102] under "sep", and so for "cls". */
static cloze_status load_pair_id(const cJSON *item, const char *key, int32_t *id,
                                 cloze_error *err) {
    const cJSON *pair = cJSON_GetObjectItemCaseSensitive(item, key);
    const cJSON *number = pair && pair->child ? pair->child->next : NULL;
    if (!cJSON_IsNumber(number) || number->valuedouble < 0 || number->valuedouble >= VOCAB_MAX_ID)
        CLOZE_FAIL(err, MODEL, "\"post_processor\": \"%s\" is not [token, id]", key);
    *id = number->valueint;
    return CLOZE_OK;
}

static cloze_status load_cls_sep(tokenizer *tok, const cJSON *item, bool roberta,
                                 cloze_error *err) {
    int32_t cls = 0, sep = 0;
    CLOZE_TRY(load_pair_id(item, "cls", &cls, err));
    CLOZE_TRY(load_pair_id(item, "sep", &sep, err));
    if (roberta)
        load_roberta_layout(tok, cls, sep);
    else
        load_bert_layout(tok, cls, sep);
    if (!roberta) return CLOZE_OK;
    tok->trim_offsets = load_flag(item, "trim_offsets") != 0;
    tok->trim_keeps_prefix = load_flag(item, "add_prefix_space") != 0;
    return CLOZE_OK;
}

static cloze_status load_processor(tokenizer *tok, const cJSON *item, cloze_error *err) {
    const char *type = type_of(item);
    if (!strcmp(type, "Sequence")) {
        const cJSON *child;
        cJSON_ArrayForEach(child, cJSON_GetObjectItemCaseSensitive(item, "processors"))
            CLOZE_TRY(load_processor(tok, child, err));
        return CLOZE_OK;
    }
    if (!strcmp(type, "BertProcessing")) return load_cls_sep(tok, item, false, err);
    if (!strcmp(type, "RobertaProcessing")) return load_cls_sep(tok, item, true, err);
    if (!strcmp(type, "ByteLevel")) {
        tok->trim_offsets = load_flag(item, "trim_offsets") != 0;
        tok->trim_keeps_prefix = load_flag(item, "add_prefix_space") != 0;
        return CLOZE_OK;
    }
    if (strcmp(type, "TemplateProcessing"))
        CLOZE_FAIL(err, MODEL, "the post-processor \"%s\" is not one that cloze reads", type);
    CLOZE_TRY(load_template(item, "single", &tok->single, err));
    return load_template(item, "pair", &tok->pair, err);
}

cloze_status load_json_postprocessor(tokenizer *tok, const cJSON *item, cloze_error *err) {
    load_plain_layout(tok);
    return item ? load_processor(tok, item, err) : CLOZE_OK;
}
