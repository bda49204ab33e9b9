/* Templates: keys and values of parts, completion, the saved form, and what can be run. */
#include "prompt/template.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "prompt/line_reader.h"
#include "prompt/template_literal.h"

#define TEMPLATE_FILE_MAX ((size_t)1 << 20)

const char *template_kind_name(template_kind kind) {
    static const char *const names[] = {"text", "hard", "soft", "prefix",
                                        "mask", "sep",  "cls",  "options"};
    return names[kind];
}

/* ---- keys ---- */

typedef enum part_key {
    KEY_TEXT,
    KEY_HARD,
    KEY_SOFT,
    KEY_PREFIX,
    KEY_MASK,
    KEY_SEP,
    KEY_CLS,
    KEY_OPTIONS, /* = kinds */
    KEY_SOFT_ID, /* the last keyword */
    KEY_LENGTH,
    KEY_ENCODER,
    KEY_HIDDEN_SIZE,
    KEY_POSITION,
    KEY_TOKEN_TYPE,
    KEY_TRUNCATE,
    KEY_ADD_OMASK,
    KEY_ADD_PROMPT,
    KEY_ADD_SPACE,
    N_KEYS
} part_key;

static const char *const KEY_NAMES[N_KEYS] = {
    "text",     "hard",       "soft",     "prefix",    "mask",       "sep",
    "cls",      "options",    "soft_id",  "length",    "encoder",    "hidden_size",
    "position", "token_type", "truncate", "add_omask", "add_prompt", "add_space",
};

void part_builder_init(part_builder *b) {
    *b = (part_builder){.part = {.position = -1, .token_type = -1, .truncate = -1, .soft_id = -1}};
}

static bool refuse(char *message, size_t bytes, const char *key, const char *wanted) {
    snprintf(message, bytes, "'%s' wants %s", key, wanted);
    return false;
}

static bool set_keyword(part_builder *b, part_key key, char *message, size_t bytes) {
    template_kind kind = key == KEY_SOFT_ID ? TEMPLATE_SOFT : (template_kind)key;
    if (b->has_keyword && !(kind == TEMPLATE_SOFT && b->part.kind == TEMPLATE_SOFT)) {
        snprintf(message, bytes, "one part cannot be both '%s' and '%s'; give each its own { }",
                 template_kind_name(b->part.kind), KEY_NAMES[key]);
        return false;
    }
    b->has_keyword = true;
    b->part.kind = kind;
    return true;
}

static bool set_int(int32_t *out, const char *key, const literal *v, int64_t min, int64_t max,
                    char *message, size_t bytes) {
    char wanted[80];
    if (v->kind == LITERAL_INT && v->number >= min && v->number <= max) {
        *out = (int32_t)v->number;
        return true;
    }
    snprintf(wanted, sizeof wanted, "a whole number from %lld to %lld", (long long)min,
             (long long)max);
    return refuse(message, bytes, key, wanted);
}

/* A switch that PaddleNLP turns on by its presence, with any value; False still means no. */
static bool switch_value(const literal *v) { return !(v->kind == LITERAL_BOOL && v->number == 0); }

static bool set_keyword_value(part_builder *b, part_key key, const literal *v, char *message,
                              size_t bytes) {
    template_part *p = &b->part;
    const char *name = KEY_NAMES[key];
    if (!set_keyword(b, key, message, bytes)) return false;
    switch (key) {
    case KEY_TEXT:
        if (v->kind != LITERAL_STRING || !*v->text)
            return refuse(message, bytes, name, "the name of a field, as in {'text': 'text_a'}");
        p->value = v->text;
        return true;
    case KEY_HARD:
        if (v->kind != LITERAL_STRING) return refuse(message, bytes, name, "a string");
        p->value = v->text;
        return true;
    case KEY_SOFT:
    case KEY_PREFIX:
        if (v->kind == LITERAL_LIST)
            p->length = v->n_items; /* saved by PaddleNLP: one [UNK] a token */
        else if (v->kind == LITERAL_STRING)
            p->value = v->text;
        else if (v->kind != LITERAL_NONE)
            return refuse(message, bytes, name, "a string or None");
        return true;
    case KEY_OPTIONS:
        if (v->kind == LITERAL_LIST && v->n_items > 0) {
            p->options = v->items;
            p->n_options = v->n_items;
        } else if (v->kind == LITERAL_STRING)
            p->value = v->text;
        else
            return refuse(message, bytes, name, "a list of strings, a file or a field");
        return true;
    case KEY_SOFT_ID: return set_int(&p->soft_id, name, v, 0, INT32_MAX, message, bytes);
    default: /* mask, sep, cls */
        if (v->kind == LITERAL_NONE || (v->kind == LITERAL_BOOL && v->number) ||
            (v->kind == LITERAL_STRING && !*v->text))
            return true;
        return refuse(message, bytes, name,
                      key == KEY_MASK ? "no value; its count is 'length'" : "no value");
    }
}

static bool set_attribute(part_builder *b, part_key key, const literal *v, char *message,
                          size_t bytes) {
    template_part *p = &b->part;
    const char *name = KEY_NAMES[key];
    switch (key) {
    case KEY_LENGTH: return set_int(&p->length, name, v, 1, TEMPLATE_MAX_LENGTH, message, bytes);
    case KEY_HIDDEN_SIZE:
        return set_int(&p->hidden_size, name, v, 1, TEMPLATE_MAX_LENGTH, message, bytes);
    case KEY_POSITION:
        return set_int(&p->position, name, v, 0, TEMPLATE_MAX_LENGTH, message, bytes);
    case KEY_TOKEN_TYPE: return set_int(&p->token_type, name, v, 0, 1, message, bytes);
    case KEY_TRUNCATE:
        if (v->kind != LITERAL_BOOL &&
            !(v->kind == LITERAL_INT && (v->number == 0 || v->number == 1)))
            return refuse(message, bytes, name, "True or False");
        p->truncate = (int32_t)v->number;
        return true;
    case KEY_ENCODER:
        if (v->kind == LITERAL_STRING &&
            (strcmp(v->text, "lstm") == 0 || strcmp(v->text, "mlp") == 0))
            p->encoder = v->text;
        else if (v->kind != LITERAL_NONE)
            return refuse(message, bytes, name, "'lstm', 'mlp' or None");
        p->encoder_given = true;
        return true;
    case KEY_ADD_PROMPT:
        if (v->kind != LITERAL_STRING || !strstr(v->text, "[OPT]"))
            return refuse(message, bytes, name, "a string with [OPT] in it");
        p->add_prompt = v->text;
        return true;
    case KEY_ADD_OMASK: p->add_omask = switch_value(v); return true;
    default: p->add_space = switch_value(v); return true;
    }
}

bool part_builder_set(part_builder *b, const char *key, const literal *value, char *message,
                      size_t message_bytes) {
    part_key k = 0;
    while (k < N_KEYS && strcmp(KEY_NAMES[k], key) != 0) k++;
    if (k == N_KEYS) {
        snprintf(
            message, message_bytes,
            "there is no '%.60s'; a part is text, hard, soft, soft_id, prefix, mask, sep, cls or "
            "options, with length, encoder, hidden_size, position, token_type, truncate, "
            "add_omask, add_prompt, add_space",
            key);
        return false;
    }
    if (b->seen >> k & 1) {
        snprintf(message, message_bytes, "'%s' is given twice", key);
        return false;
    }
    b->seen |= 1u << k;
    return k <= KEY_SOFT_ID ? set_keyword_value(b, k, value, message, message_bytes)
                            : set_attribute(b, k, value, message, message_bytes);
}

bool part_builder_finish(const part_builder *b, template_part *out) {
    *out = b->part;
    return b->has_keyword;
}

cloze_status template_complete(template_t *t, const template_part *parts, int32_t n,
                               cloze_status code, cloze_error *err) {
    bool has_text = false, has_mask = false;
    for (int32_t i = 0; i < n; i++) {
        has_text = has_text || parts[i].kind == TEMPLATE_TEXT;
        has_mask = has_mask || parts[i].kind == TEMPLATE_MASK;
    }
    if (n > TEMPLATE_TYPED_PARTS)
        return error_set(err, code, "the template has more than %d parts", TEMPLATE_TYPED_PARTS);
    template_part blank = {.position = -1, .token_type = -1, .truncate = -1, .soft_id = -1};
    t->parts = arena_alloc(&t->memory, ((size_t)n + 2) * sizeof *t->parts);
    if (!t->parts) CLOZE_FAIL(err, MEMORY, "out of memory (template)");
    if (!has_text) {
        blank.value = "text_a";
        t->parts[t->n_parts++] = blank;
    }
    for (int32_t i = 0; i < n; i++) t->parts[t->n_parts++] = parts[i];
    if (!has_text && !has_mask) {
        blank.kind = TEMPLATE_MASK;
        blank.value = NULL;
        t->parts[t->n_parts++] = blank;
    }
    return CLOZE_OK;
}

void template_deinit(template_t *t) {
    arena_deinit(&t->memory);
    *t = (template_t){0};
}

/* ---- template_config.json ---- */

static bool literal_from_json(const cJSON *item, arena *a, literal *out) {
    *out = (literal){0};
    if (cJSON_IsNull(item)) return true;
    if (cJSON_IsBool(item)) *out = (literal){.kind = LITERAL_BOOL, .number = cJSON_IsTrue(item)};
    if (cJSON_IsNumber(item)) {
        double d = item->valuedouble;
        *out = (literal){.kind = LITERAL_INT, .number = d >= -1e9 && d <= 1e9 ? (int64_t)d : -1};
        if (d != (double)out->number) out->number = -1; /* no attribute takes it */
    }
    if (cJSON_IsString(item))
        *out = (literal){.kind = LITERAL_STRING, .text = arena_strdup(a, item->valuestring)};
    if (!cJSON_IsArray(item))
        return out->kind != LITERAL_NONE && (out->kind != LITERAL_STRING || out->text);
    out->kind = LITERAL_LIST;
    out->items = arena_alloc(a, sizeof *out->items * ((size_t)cJSON_GetArraySize(item) + 1));
    for (const cJSON *child = item->child; child && out->items; child = child->next) {
        const char *text = cJSON_IsString(child) ? arena_strdup(a, child->valuestring) : NULL;
        if (!text) return false;
        out->items[out->n_items++] = text;
    }
    return out->items != NULL;
}

static cloze_status part_from_json(const cJSON *object, arena *a, const char *what, int32_t index,
                                   template_part *out, cloze_error *err) {
    part_builder b;
    char message[400] = "";
    part_builder_init(&b);
    if (!cJSON_IsObject(object))
        CLOZE_FAIL(err, MODEL, "%s: part %d of the template is not an object", what,
                   (int)index + 1);
    for (const cJSON *item = object->child; item; item = item->next) {
        literal value;
        if (!literal_from_json(item, a, &value))
            CLOZE_FAIL(err, MODEL,
                       "%s: part %d of the template: '%.60s' has a value of a wrong kind", what,
                       (int)index + 1, item->string);
        if (!part_builder_set(&b, item->string, &value, message, sizeof message))
            CLOZE_FAIL(err, MODEL, "%s: part %d of the template: %s", what, (int)index + 1,
                       message);
    }
    if (!part_builder_finish(&b, out))
        CLOZE_FAIL(err, MODEL, "%s: part %d of the template has no keyword such as text or mask",
                   what, (int)index + 1);
    return CLOZE_OK;
}

static cloze_status parts_from_json(const cJSON *list, const char *what, template_t *out,
                                    cloze_error *err) {
    int32_t n = 0;
    if (!cJSON_IsArray(list))
        CLOZE_FAIL(err, MODEL, "%s: line 1 must be a JSON list of parts", what);
    int size = cJSON_GetArraySize(list);
    if (size > TEMPLATE_TYPED_PARTS)
        CLOZE_FAIL(err, MODEL, "%s: the template has more than %d parts", what,
                   TEMPLATE_TYPED_PARTS);
    template_part *parts = arena_alloc(&out->memory, sizeof *parts * ((size_t)size + 1));
    if (!parts) CLOZE_FAIL(err, MEMORY, "out of memory (template)");
    for (const cJSON *item = list->child; item; item = item->next, n++)
        CLOZE_TRY(part_from_json(item, &out->memory, what, n, &parts[n], err));
    return template_complete(out, parts, n, CLOZE_ERR_MODEL, err);
}

/* Line 2: {"class": ...}. PaddleNLP saves the prefix of a PrefixTemplate as a soft part. */
static cloze_status apply_class(const char *line, size_t n, const char *what, template_t *t,
                                cloze_error *err) {
    cJSON *root = NULL;
    const char *name = NULL;
    cloze_status status = json_parse(line, n, what, CLOZE_ERR_MODEL, &root, err);
    if (status == CLOZE_OK && !cJSON_IsObject(root))
        status = error_set(err, CLOZE_ERR_MODEL, "%s: line 2 must be {\"class\": ...}", what);
    if (status == CLOZE_OK) status = json_get_string(root, "class", &name, err);
    if (status == CLOZE_OK && name && strcmp(name, "PrefixTemplate") == 0 && t->n_parts > 0 &&
        t->parts[0].kind == TEMPLATE_SOFT)
        t->parts[0].kind = TEMPLATE_PREFIX;
    json_destroy(root);
    return status;
}

cloze_status template_parse_config(const char *text, size_t n, const char *what, template_t *out,
                                   cloze_error *err) {
    cJSON *root = NULL;
    *out = (template_t){0};
    arena_init(&out->memory, 1 << 12);
    const char *newline = memchr(text, '\n', n);
    size_t first = newline ? (size_t)(newline - text) : n;
    size_t rest = newline ? n - first - 1 : 0;
    cloze_status status = json_parse(text, first, what, CLOZE_ERR_MODEL, &root, err);
    if (status == CLOZE_OK) status = parts_from_json(root, what, out, err);
    if (status == CLOZE_OK && rest > 0 && !text_is_blank(newline + 1, rest))
        status = apply_class(newline + 1, rest, what, out, err);
    json_destroy(root);
    if (status != CLOZE_OK) template_deinit(out);
    return status;
}

cloze_status template_read(const char *path, template_t *out, cloze_error *err) {
    char *text = NULL;
    size_t n = 0;
    *out = (template_t){0};
    CLOZE_TRY(file_read(path, TEMPLATE_FILE_MAX, CLOZE_ERR_MODEL, &text, &n, err));
    cloze_status status = template_parse_config(text, n, path, out, err);
    mem_free(text);
    return status;
}

static void write_string(buf *out, const char *key, const char *value) {
    buf_printf(out, "\"%s\": ", key);
    if (value)
        buf_json_string(out, value, strlen(value));
    else
        buf_puts(out, "null");
}

static void write_keyword(const template_part *p, buf *out) {
    if (p->kind == TEMPLATE_SOFT && p->soft_id >= 0) {
        if (p->value) {
            write_string(out, "soft", p->value);
            buf_puts(out, ", ");
        }
        buf_printf(out, "\"soft_id\": %d", (int)p->soft_id);
    } else if (p->n_options > 0) {
        buf_puts(out, "\"options\": [");
        for (int32_t i = 0; i < p->n_options; i++) {
            if (i > 0) buf_puts(out, ", ");
            buf_json_string(out, p->options[i], strlen(p->options[i]));
        }
        buf_puts(out, "]");
    } else {
        write_string(out, template_kind_name(p->kind), p->value);
    }
}

static void write_part(const template_part *p, buf *out) {
    buf_puts(out, p->add_space ? "{\"add_space\": \" \", " : "{");
    write_keyword(p, out);
    if (p->length > 0) buf_printf(out, ", \"length\": %d", (int)p->length);
    if (p->encoder_given) {
        buf_puts(out, ", ");
        write_string(out, "encoder", p->encoder);
    }
    if (p->hidden_size > 0) buf_printf(out, ", \"hidden_size\": %d", (int)p->hidden_size);
    if (p->position >= 0) buf_printf(out, ", \"position\": %d", (int)p->position);
    if (p->token_type >= 0) buf_printf(out, ", \"token_type\": %d", (int)p->token_type);
    if (p->truncate >= 0) buf_printf(out, ", \"truncate\": %s", p->truncate ? "true" : "false");
    if (p->add_omask) buf_puts(out, ", \"add_omask\": true");
    if (p->add_prompt) {
        buf_puts(out, ", ");
        write_string(out, "add_prompt", p->add_prompt);
    }
    buf_puts(out, "}");
}

static bool has_kind(const template_t *t, template_kind kind) {
    for (int32_t i = 0; i < t->n_parts; i++)
        if (t->parts[i].kind == kind) return true;
    return false;
}

static const char *class_name(const template_t *t) {
    if (has_kind(t, TEMPLATE_PREFIX)) return "PrefixTemplate";
    if (has_kind(t, TEMPLATE_SOFT)) return "SoftTemplate";
    if (has_kind(t, TEMPLATE_OPTIONS) || has_kind(t, TEMPLATE_CLS)) return "UTCTemplate";
    return "ManualTemplate";
}

void template_write_config(const template_t *t, buf *out) {
    for (int32_t i = 0; i < t->n_parts; i++) {
        buf_puts(out, i == 0 ? "[" : ", ");
        write_part(&t->parts[i], out);
    }
    buf_printf(out, "%s\n{\"class\": \"%s\"}\n", t->n_parts ? "]" : "[]", class_name(t));
}

/* ---- what can be run ---- */

/* Parts whose learning is not built; the one place that says so. */
static bool is_built(template_kind kind) {
    return kind == TEMPLATE_TEXT || kind == TEMPLATE_HARD || kind == TEMPLATE_MASK ||
           kind == TEMPLATE_SEP || kind == TEMPLATE_CLS;
}

/* A hard part may spell the mask token out; only the tokenizer knows its name for certain. */
static bool spells_mask(const template_part *p) {
    return p->kind == TEMPLATE_HARD && (strstr(p->value, "[MASK]") || strstr(p->value, "<mask>"));
}

cloze_status template_check(const template_t *t, cloze_status code, cloze_error *err) {
    bool has_mask = false;
    for (int32_t i = 0; i < t->n_parts; i++) {
        const template_part *p = &t->parts[i];
        const char *name = p->kind == TEMPLATE_SOFT && p->soft_id >= 0 && !p->value
                               ? "soft_id"
                               : template_kind_name(p->kind);
        if (!is_built(p->kind))
            return error_set(err, code, "part %d of the template: %s parts are not built yet",
                             (int)i + 1, name);
        if (p->kind == TEMPLATE_MASK && p->truncate == 1)
            return error_set(err, code,
                             "part %d of the template: a mask cannot be cut; drop its 'truncate'",
                             (int)i + 1);
        has_mask = has_mask || p->kind == TEMPLATE_MASK || spells_mask(p);
    }
    if (!has_mask)
        return error_set(err, code,
                         "the template has no mask; put {'mask'} where the label word belongs");
    return CLOZE_OK;
}

int32_t template_fixed_masks(const template_t *t) {
    int64_t total = 0;
    int32_t n_mask_parts = 0, n_fixed = 0;
    for (int32_t i = 0; i < t->n_parts; i++) {
        const template_part *p = &t->parts[i];
        if (spells_mask(p)) n_fixed++;
        if (p->kind != TEMPLATE_MASK) continue;
        n_mask_parts++;
        n_fixed += p->length > 0;
        total += p->length > 0 ? p->length : 1;
    }
    if (n_mask_parts == 1 && n_fixed == 0) return 0;
    return total < INT32_MAX ? (int32_t)total : INT32_MAX;
}

bool template_uses_field(const template_t *t, const char *field) {
    for (int32_t i = 0; i < t->n_parts; i++)
        if (t->parts[i].kind == TEMPLATE_TEXT && strcmp(t->parts[i].value, field) == 0) return true;
    return false;
}
