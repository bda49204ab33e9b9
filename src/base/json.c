/*
 * JSON over cJSON. cJSON is handed only text that was scanned here first: valid UTF-8, bounded
 * nesting, no NUL inside (its strings are C strings) and a NUL behind (cJSON 1.7.15 looks one byte
 * past the end of a text that breaks off).
 */
#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/utf8.h"

#define JSON_MAX_DEPTH 500 /* below cJSON's own limit, and far above any real file */
#define SMALL_FILE_MAX ((size_t)64 << 20)
#define JSON_MAX_VALUES ((size_t)1 << 24) /* far above any real file; cJSON takes some 80 bytes each */
#define JSON_PRINT_MAX ((size_t)1 << 31)
#define JSON_INTEGER_MAX 9007199254740992.0 /* 2^53: whole numbers are exact below it */

void json_place(const char *text, size_t at, size_t *line, size_t *column) {
    size_t start = 0;
    *line = 1;
    for (size_t i = 0; i < at; i++) {
        if (text[i] == '\n') {
            ++*line;
            start = i + 1;
        }
    }
    *column = utf8_count(text + start, at - start) + 1;
}

size_t json_member_offset(const char *text, int index) {
    size_t i = 0, key = 0;
    int depth = 0;
    for (bool string = false; text[i]; i++) {
        if (text[i] == '\\') {
            i++; /* only strings hold one */
        } else if (text[i] == '"') {
            if (!string) key = i;
            string = !string;
        } else if (!string) {
            depth += (text[i] == '{' || text[i] == '[') - (text[i] == '}' || text[i] == ']');
            if (depth == 1 && text[i] == ':' && index-- == 0) break;
        }
    }
    return key;
}

/* Fails with "what:line:column: reason"; columns count characters. */
static cloze_status fail_at(const char *text, size_t at, const char *what, cloze_status code,
                            const char *reason, cloze_error *err) {
    size_t line, column;
    json_place(text, at, &line, &column);
    return error_set(err, code, "%s:%zu:%zu: %s", what, line, column, reason);
}

/* Checks what cJSON does not: nesting, and NULs that would cut its strings short. */
static cloze_status check_text(const char *text, size_t n, const char *what, cloze_status code,
                               cloze_error *err) {
    size_t valid = utf8_valid_prefix(text, n);
    if (valid < n) return fail_at(text, valid, what, code, "not valid UTF-8", err);
    bool in_string = false;
    int depth = 0;
    size_t values = 0; /* by the commas and brackets between them */
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        if (c == '\0') return fail_at(text, i, what, code, "a NUL byte is not valid JSON", err);
        if (c == '"') in_string = !in_string;
        if (in_string && c == '\\') {
            if (n - i > 5 && memcmp(text + i + 1, "u0000", 5) == 0) {
                return fail_at(text, i, what, code, "a string must not hold the NUL character",
                               err);
            }
            i++;
        }
        if (in_string) continue;
        if ((c == '{' || c == '[') && ++depth > JSON_MAX_DEPTH) {
            return fail_at(text, i, what, code, "nested too deep", err);
        }
        if (c == '}' || c == ']') depth--;
        values += c == ',' || c == '{' || c == '[';
        if (values > JSON_MAX_VALUES) {
            return fail_at(text, i, what, code, "more than 16 million values", err);
        }
    }
    return CLOZE_OK;
}

/* The last character before text[at] that is no blank; 0 = there is none. */
static char before(const char *text, size_t at) {
    while (at > 0 && strchr(" \t\r\n", text[at - 1])) at--;
    return at > 0 ? text[at - 1] : 0;
}

/* True when a string that opened before text[at] is still open there. */
static bool in_string_at(const char *text, size_t at) {
    bool in_string = false;
    for (size_t i = 0; i < at; i++) {
        if (text[i] == '"') in_string = !in_string;
        if (in_string && text[i] == '\\') i++;
    }
    return in_string;
}

/* What people get wrong in JSON, told from where the parser stopped; *at moves to the culprit. */
static const char *find_reason(const char *text, size_t n, size_t *at) {
    static const struct {
        const char *found, *reason;
    } starts[] = {
        {"'", "not valid JSON: strings want double quotes"},
        {"\xE2\x80\x9C", "not valid JSON: a typographic quote; strings want \""},
        {"\xE2\x80\x9D", "not valid JSON: a typographic quote; strings want \""},
        {"\xEF\xBC\x8C", "not valid JSON: a full-width comma"},
        {"\xEF\xBC\x9A", "not valid JSON: a full-width colon"},
        {"None", "not valid JSON: None is written null"},
        {"NaN", "not valid JSON: NaN is not a JSON number"},
        {"True", "not valid JSON: True is written true"},
        {"False", "not valid JSON: False is written false"},
    };
    if (n == 0) return "empty, not JSON";
    while (*at < n && strchr(" \t\r\n", text[*at])) ++*at;
    /* cJSON stops behind the first character of a string, or of what should be one */
    if (in_string_at(text, *at) && !memchr(text + *at, '"', n - *at)) {
        while (text[*at] != '"') --*at;
        return "not valid JSON: the string that begins here never ends";
    }
    if (*at > 0 && strchr("{,", before(text, *at - 1)) && !strchr("\"}] \t\r\n{,", text[*at - 1]))
        --*at;
    if (*at + 1 >= n && (*at == n || !strchr("}]", text[*at])))
        return "not valid JSON: it breaks off";
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
        if (strncmp(text + *at, starts[i].found, strlen(starts[i].found)) == 0)
            return starts[i].reason;
    char last = before(text, *at), c = text[*at];
    if (c == '\\') return "not valid JSON: no known escape; a backslash itself is written twice";
    if (last == ',' && (c == '}' || c == ']')) return "not valid JSON: a comma too many before it";
    if (last == '{') return "not valid JSON: a key in double quotes is wanted";
    if (strchr("\"{[", c) && last && strchr("\"}]0123456789el", last))
        return "not valid JSON: a comma is missing before it";
    return "not valid JSON";
}

/* text[n] must be NUL. */
static cloze_status parse_terminated(const char *text, size_t n, const char *what,
                                     cloze_status code, cJSON **out, cloze_error *err) {
    CLOZE_TRY(check_text(text, n, what, code, err));
    const char *end = text;
    cJSON *root = cJSON_ParseWithLengthOpts(text, n, &end, 0);
    if (!root) {
        size_t at = end >= text && (size_t)(end - text) < n ? (size_t)(end - text) : n;
        const char *reason = find_reason(text, n, &at);
        return fail_at(text, at, what, code, reason, err);
    }
    end += strspn(end, " \t\r\n");
    if (end < text + n) {
        cJSON_Delete(root);
        return fail_at(text, (size_t)(end - text), what, code, "something follows the JSON value",
                       err);
    }
    *out = root;
    return CLOZE_OK;
}

cloze_status json_parse(const char *text, size_t n, const char *what, cloze_status code,
                        cJSON **out, cloze_error *err) {
    *out = NULL;
    char *copy = mem_strndup(text, n);
    if (!copy) CLOZE_FAIL(err, MEMORY, "%s: out of memory (%zu bytes)", what, n);
    cloze_status status = parse_terminated(copy, n, what, code, out, err);
    mem_free(copy);
    return status;
}

cloze_status json_parse_file(const char *path, size_t max_bytes, cloze_status code, cJSON **out,
                             cloze_error *err) {
    char *text;
    size_t n;
    *out = NULL;
    CLOZE_TRY(file_read(path, max_bytes, code, &text, &n, err));
    cloze_status status = parse_terminated(text, n, path, code, out, err);
    mem_free(text);
    return status;
}

cloze_status json_parse_file_in(const char *dir, const char *name, cloze_status code, cJSON **out,
                                cloze_error *err) {
    char *path = path_join(dir, name);
    *out = NULL;
    if (!path) CLOZE_FAIL(err, MEMORY, "out of memory for %s/%s", dir, name);
    cloze_status status = json_parse_file(path, SMALL_FILE_MAX, code, out, err);
    mem_free(path);
    return status;
}

void json_destroy(cJSON *root) { cJSON_Delete(root); }

/* ---- typed getters ---- */

/* The value of a key, NULL when it is missing or null. */
static const cJSON *get_value(const cJSON *obj, const char *key) {
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(obj, key);
    return value && !cJSON_IsNull(value) ? value : NULL;
}

/* Adapters, configurations and checkpoints are what typed keys come from: hence MODEL. */
static cloze_status fail_type(const char *key, const char *wanted, const cJSON *value,
                              cloze_error *err) {
    char *text = json_print(value);
    size_t n = text ? strcspn(text, "\n") : 0;
    bool cut = n > 40;
    if (cut) n = 40;
    error_set(err, CLOZE_ERR_MODEL, "\"%s\" must be %s, not %.*s%s", key, wanted, (int)n,
              text ? text : "", cut ? "..." : "");
    mem_free(text);
    return CLOZE_ERR_MODEL;
}

cloze_status json_get_int(const cJSON *obj, const char *key, int64_t min, int64_t max, int64_t *out,
                          cloze_error *err) {
    const cJSON *value = get_value(obj, key);
    if (!value) return CLOZE_OK;
    double number = value->valuedouble;
    if (!cJSON_IsNumber(value) || number != floor(number) || fabs(number) > JSON_INTEGER_MAX) {
        return fail_type(key, "a whole number", value, err);
    }
    if ((int64_t)number < min || (int64_t)number > max) {
        char range[80];
        snprintf(range, sizeof range, "from %lld to %lld", (long long)min, (long long)max);
        return fail_type(key, range, value, err);
    }
    *out = (int64_t)number;
    return CLOZE_OK;
}

cloze_status json_get_double(const cJSON *obj, const char *key, double *out, cloze_error *err) {
    const cJSON *value = get_value(obj, key);
    if (!value) return CLOZE_OK;
    if (!cJSON_IsNumber(value) || !isfinite(value->valuedouble)) {
        return fail_type(key, "a number", value, err);
    }
    *out = value->valuedouble;
    return CLOZE_OK;
}

cloze_status json_get_bool(const cJSON *obj, const char *key, bool *out, cloze_error *err) {
    const cJSON *value = get_value(obj, key);
    if (!value) return CLOZE_OK;
    if (!cJSON_IsBool(value)) return fail_type(key, "true or false", value, err);
    *out = cJSON_IsTrue(value);
    return CLOZE_OK;
}

cloze_status json_get_string(const cJSON *obj, const char *key, const char **out,
                             cloze_error *err) {
    const cJSON *value = get_value(obj, key);
    if (!value) return CLOZE_OK;
    if (!cJSON_IsString(value)) return fail_type(key, "a string", value, err);
    *out = value->valuestring;
    return CLOZE_OK;
}

/* ---- printing ---- */

static void print_string(buf *b, const char *text) {
    if (text) {
        buf_json_string(b, text, strlen(text));
    } else {
        buf_puts(b, "null");
    }
}

/* cJSON knows no integers: a whole number is printed as one, as config files have them. */
static void print_number(buf *b, double value) {
    if (value == floor(value) && fabs(value) < JSON_INTEGER_MAX) {
        buf_printf(b, "%.0f", value == 0.0 ? 0.0 : value);
    } else {
        buf_json_double(b, value);
    }
}

static void print_newline(buf *b, int depth) {
    buf_putc(b, '\n');
    for (int i = 0; i < depth; i++) buf_puts(b, "  ");
}

static void print_scalar(buf *b, const cJSON *item) {
    if (cJSON_IsNumber(item)) {
        print_number(b, item->valuedouble);
    } else if (cJSON_IsString(item)) {
        print_string(b, item->valuestring);
    } else if (cJSON_IsRaw(item) && item->valuestring) {
        buf_puts(b, item->valuestring);
    } else if (cJSON_IsBool(item)) {
        buf_puts(b, cJSON_IsTrue(item) ? "true" : "false");
    } else {
        buf_puts(b, "null");
    }
}

static void print_value(buf *b, const cJSON *item, int depth) {
    bool object = cJSON_IsObject(item);
    if (!object && !cJSON_IsArray(item)) {
        print_scalar(b, item);
        return;
    }
    if (depth > CJSON_NESTING_LIMIT) {
        b->failed = true; /* built by hand and cyclic, or deeper than anyone can read */
        return;
    }
    buf_putc(b, object ? '{' : '[');
    for (const cJSON *child = item->child; child; child = child->next) {
        print_newline(b, depth + 1);
        if (object) {
            print_string(b, child->string ? child->string : "");
            buf_puts(b, ": ");
        }
        print_value(b, child, depth + 1);
        if (child->next) buf_putc(b, ',');
    }
    if (item->child) print_newline(b, depth);
    buf_putc(b, object ? '}' : ']');
}

char *json_print(const cJSON *root) {
    buf b;
    buf_init(&b, JSON_PRINT_MAX);
    print_value(&b, root, 0);
    buf_putc(&b, '\n');
    return buf_take(&b);
}
