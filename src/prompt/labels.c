/* Label files: collected line by line as (label, word) pairs, then sorted and grouped once. */
#include "prompt/labels.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"
#include "prompt/grow.h"
#include "prompt/line_reader.h"

#define LABEL_FILE_MAX ((size_t)64 << 20)
#define NAME_MAX_CODE_POINTS 64 /* longer names are not compared for hints */
#define HINT_MAX_LABELS 20000   /* among more labels no near one is looked for */

typedef struct label_pair {
    const char *name, *word; /* in the arena; word NULL = the default one */
    int64_t line;            /* order in the source */
} label_pair;

typedef struct label_builder {
    label_set *out;
    label_pair *pairs;
    int64_t n, cap;
    buf *notes; /* may be NULL */
} label_builder;

static void builder_init(label_builder *b, label_set *out, buf *notes) {
    *b = (label_builder){.out = out, .notes = notes};
    *out = (label_set){0};
    arena_init(&out->memory, 1 << 16);
}

static const char *copy_string(arena *a, const char *text, size_t n, cloze_error *err) {
    char *copy = arena_alloc(a, n + 1);
    if (!copy) {
        error_set(err, CLOZE_ERR_MEMORY, "out of memory (labels)");
        return NULL;
    }
    memcpy(copy, text, n);
    return copy;
}

static cloze_status builder_add(label_builder *b, const char *name, size_t name_n, const char *word,
                                size_t word_n, int64_t line, cloze_error *err) {
    GROW_TO(err, b->pairs, b->cap, b->n + 1);
    label_pair pair = {.line = line};
    pair.name = copy_string(&b->out->memory, name, name_n, err);
    if (word) pair.word = copy_string(&b->out->memory, word, word_n, err);
    if (!pair.name || (word && !pair.word)) return CLOZE_ERR_MEMORY;
    b->pairs[b->n++] = pair;
    return CLOZE_OK;
}

static int compare_pairs(const void *a, const void *b) {
    const label_pair *x = a, *y = b;
    int order = strcmp(x->name, y->name); /* byte order is code-point order in UTF-8 */
    if (order != 0) return order;
    return (x->line > y->line) - (x->line < y->line);
}

/* What follows the last "##": in a hierarchy the path is the label and its leaf the word. */
static const char *default_word(const char *name) {
    const char *leaf = name;
    for (const char *p; (p = strstr(leaf, "##")) != NULL && p[2];) leaf = p + 2;
    return leaf;
}

/* Adds the pair's word to the last label. seen: word -> the last label that has it. */
static cloze_status add_word(label_set *out, const label_pair *pair, const char *what, buf *notes,
                             hash_map *seen, cloze_error *err) {
    label_entry *entry = &out->entries[out->n - 1];
    const char *word = pair->word ? pair->word : default_word(entry->name);
    if (hash_map_get(seen, word, strlen(word), -1) == out->n - 1) {
        if (notes)
            buf_printf(notes, "%s: label \"%s\" has the word \"%s\" twice\n", what, entry->name,
                       word);
        return CLOZE_OK;
    }
    entry->words[entry->n_words++] = word;
    return hash_map_put(seen, word, strlen(word), out->n - 1, err);
}

/* The labels of sorted pairs, each with its words. */
static cloze_status fill_entries(label_builder *b, const char **words, const char *what, buf *notes,
                                 cloze_error *err) {
    label_set *out = b->out;
    hash_map seen = {0};
    cloze_status status = hash_map_init(&seen, 64, err);
    for (int64_t i = 0; i < b->n && status == CLOZE_OK; i++) {
        if (i == 0 || strcmp(b->pairs[i - 1].name, b->pairs[i].name) != 0) {
            label_entry *entry = &out->entries[out->n++];
            *entry = (label_entry){.name = b->pairs[i].name, .words = words + i};
        }
        status = add_word(out, &b->pairs[i], what, notes, &seen, err);
    }
    hash_map_deinit(&seen);
    return status;
}

/* A word that two labels share cannot tell them apart under a manual verbalizer. */
static cloze_status note_shared_words(const label_set *labels, buf *notes, cloze_error *err) {
    hash_map seen = {0};
    if (!notes) return CLOZE_OK;
    CLOZE_TRY(hash_map_init(&seen, (size_t)labels->n, err));
    cloze_status status = CLOZE_OK;
    for (int32_t i = 0; i < labels->n && status == CLOZE_OK; i++) {
        const label_entry *entry = &labels->entries[i];
        for (int32_t w = 0; w < entry->n_words && status == CLOZE_OK; w++) {
            size_t n = strlen(entry->words[w]);
            int32_t other = hash_map_get(&seen, entry->words[w], n, -1);
            if (other >= 0)
                buf_printf(notes, "labels \"%s\" and \"%s\" share the word \"%s\"\n",
                           labels->entries[other].name, entry->name, entry->words[w]);
            else
                status = hash_map_put(&seen, entry->words[w], n, i, err);
        }
    }
    hash_map_deinit(&seen);
    return status;
}

static cloze_status group_pairs(label_builder *b, const char *what, buf *notes, cloze_error *err) {
    label_set *out = b->out;
    qsort(b->pairs, (size_t)b->n, sizeof *b->pairs, compare_pairs);
    int64_t n_labels = 0;
    for (int64_t i = 0; i < b->n; i++)
        n_labels += i == 0 || strcmp(b->pairs[i - 1].name, b->pairs[i].name) != 0;
    out->entries = arena_alloc(&out->memory, (size_t)n_labels * sizeof *out->entries);
    const char **words = arena_alloc(&out->memory, (size_t)b->n * sizeof *words);
    if (!out->entries || !words) CLOZE_FAIL(err, MEMORY, "out of memory (labels)");
    CLOZE_TRY(fill_entries(b, words, what, notes, err));
    CLOZE_TRY(hash_map_init(&out->index, (size_t)out->n, err));
    for (int32_t i = 0; i < out->n; i++)
        CLOZE_TRY(
            hash_map_put(&out->index, out->entries[i].name, strlen(out->entries[i].name), i, err));
    return note_shared_words(out, notes, err);
}

/* Ends the building: groups the pairs when all went well, else frees everything. */
static cloze_status builder_finish(label_builder *b, cloze_status status, const char *what,
                                   cloze_status empty_code, buf *notes, cloze_error *err) {
    if (status == CLOZE_OK && b->n == 0)
        status = error_set(err, empty_code, "%s: there is no label in it", what);
    if (status == CLOZE_OK && b->n > INT32_MAX)
        status = error_set(err, empty_code, "%s: too many labels", what);
    if (status == CLOZE_OK) status = group_pairs(b, what, notes, err);
    mem_free(b->pairs);
    if (status != CLOZE_OK) label_set_deinit(b->out);
    return status;
}

/* Bytes of a quotation mark, straight or typographic, at text[0..n); 0 = none. */
static size_t quote_prefix(const char *text, size_t n) {
    static const char *const quotes[] = {"'",
                                         "\"",
                                         "`",
                                         "\xC2\xB4",
                                         "\xE2\x80\x98",
                                         "\xE2\x80\x99",
                                         "\xE2\x80\x9C",
                                         "\xE2\x80\x9D",
                                         "\xE2\x80\x9B",
                                         "\xE2\x80\xB2",
                                         "\xE2\x80\xB3",
                                         "\xEF\xBC\x87",
                                         "\xEF\xBC\x82"};
    for (size_t i = 0; i < sizeof quotes / sizeof *quotes; i++) {
        size_t len = strlen(quotes[i]);
        if (n >= len && memcmp(text, quotes[i], len) == 0) return len;
    }
    return 0;
}

static size_t quote_suffix(const char *text, size_t n) {
    for (size_t len = 1; len <= 3 && len <= n; len++)
        if (quote_prefix(text + n - len, len) == len) return len;
    return 0;
}

typedef struct span {
    const char *text;
    size_t n;
} span;

static void unquote_both_ends(span *s) {
    size_t head = quote_prefix(s->text, s->n), tail = quote_suffix(s->text, s->n);
    if (head == 0 || tail == 0 || head + tail > s->n) return;
    s->text += head;
    s->n -= head + tail;
}

/* Removes quotation marks round "==" (the tutorials print label'=='word and 'label'=='word'), and
 * such as enclose a whole side. A mark on one side only belongs to the label. */
static void unquote(span *name, span *word) {
    size_t left = quote_suffix(name->text, name->n), right = quote_prefix(word->text, word->n);
    unquote_both_ends(name);
    unquote_both_ends(word);
    size_t left_now = quote_suffix(name->text, name->n),
           right_now = quote_prefix(word->text, word->n);
    if (left == 0 || right == 0) return;
    if (left_now > 0) name->n -= left_now;
    if (right_now > 0) {
        word->text += right_now;
        word->n -= right_now;
    }
}

/* The first "==" (ASCII or full-width) in s, or NULL; *len its bytes. */
static const char *find_separator(span s, size_t *len) {
    for (size_t i = 0; i < s.n; i++) {
        *len = 2;
        if (s.n - i >= 2 && memcmp(s.text + i, "==", 2) == 0) return s.text + i;
        *len = 6;
        if (s.n - i >= 6 && memcmp(s.text + i, "\xEF\xBC\x9D\xEF\xBC\x9D", 6) == 0)
            return s.text + i;
    }
    return NULL;
}

/* label=word and label:word are labels of that name; whoever wrote them may have meant ==. */
static void note_half_separator(label_builder *b, const char *what, int64_t line, span s) {
    static const char *const marks[] = {"=", "\xEF\xBC\x9D", ":", "\xEF\xBC\x9A"};
    for (size_t i = 0; b->notes && i < sizeof marks / sizeof *marks; i++) {
        size_t n = strlen(marks[i]);
        for (size_t at = 1; at + n < s.n; at++) {
            if (memcmp(s.text + at, marks[i], n) != 0) continue;
            buf_printf(b->notes,
                       "%s:%lld: \"%.*s\" is taken as a label; a word follows == (%.*s==%.*s)\n",
                       what, (long long)line, (int)s.n, s.text, (int)at, s.text,
                       (int)(s.n - at - n), s.text + at + n);
            return;
        }
    }
}

static cloze_status parse_label_line(label_builder *b, const char *what, int64_t line, span s,
                                     cloze_error *err) {
    size_t separator_n = 0;
    span name = s, word = {NULL, 0};
    const char *tab = memchr(s.text, '\t', s.n);
    if (tab)
        CLOZE_FAIL(err, DATA,
                   "%s:%lld:%zu: a tab; a label file has one label or label==word a line", what,
                   (long long)line, utf8_count(s.text, (size_t)(tab - s.text)) + 1);
    const char *separator = find_separator(s, &separator_n);
    if (!separator) {
        note_half_separator(b, what, line, s);
        unquote_both_ends(&name);
    } else {
        name.n = (size_t)(separator - s.text);
        word = (span){separator + separator_n, s.n - name.n - separator_n};
        if (find_separator(word, &separator_n))
            CLOZE_FAIL(err, DATA,
                       "%s:%lld: more than one ==; for a second word repeat the label on "
                       "a line of its own",
                       what, (long long)line);
        text_trim(&name.text, &name.n);
        text_trim(&word.text, &word.n);
        unquote(&name, &word);
        text_trim(&word.text, &word.n);
        if (word.n == 0) CLOZE_FAIL(err, DATA, "%s:%lld: no word after ==", what, (long long)line);
    }
    text_trim(&name.text, &name.n);
    if (name.n == 0) CLOZE_FAIL(err, DATA, "%s:%lld: the label is empty", what, (long long)line);
    return builder_add(b, name.text, name.n, word.text, word.n, line, err);
}

static cloze_status parse_label_lines(label_builder *b, line_reader *reader, cloze_error *err) {
    for (;;) {
        span s;
        CLOZE_TRY(line_reader_next(reader, &s.text, &s.n, err));
        if (!s.text) return CLOZE_OK;
        text_trim(&s.text, &s.n);
        if (s.n > 0) CLOZE_TRY(parse_label_line(b, reader->name, reader->line, s, err));
    }
}

/* One "label": "word" or "label": ["word", ...] of the JSON form. */
static cloze_status parse_json_label(label_builder *b, const cJSON *item, const char *what,
                                     cloze_status code, int64_t order, cloze_error *err) {
    const char *name = item->string;
    if (!name || !*name) return error_set(err, code, "%s: a label is empty", what);
    if (cJSON_IsNumber(item))
        return error_set(
            err, code,
            "%s: label \"%s\" has a number where its word belongs; if the data's labels "
            "are numbers, write {\"0\": \"word\", ...}",
            what, name);
    bool is_list = cJSON_IsArray(item);
    if (is_list && !item->child)
        return error_set(err, code, "%s: label \"%s\" has no word", what, name);
    for (const cJSON *word = is_list ? item->child : item; word;
         word = is_list ? word->next : NULL) {
        if (!cJSON_IsString(word) || text_is_blank(word->valuestring, strlen(word->valuestring)))
            return error_set(err, code, "%s: the words of label \"%s\" must be non-empty strings",
                             what, name);
        CLOZE_TRY(builder_add(b, name, strlen(name), word->valuestring, strlen(word->valuestring),
                              order, err));
    }
    return CLOZE_OK;
}

cloze_status label_set_parse_json(const char *text, size_t n, const char *what, cloze_status code,
                                  label_set *out, buf *notes, cloze_error *err) {
    label_builder b;
    cJSON *root = NULL;
    int64_t order = 0;
    builder_init(&b, out, notes);
    if (n >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) {
        text += 3;
        n -= 3;
    }
    cloze_status status = json_parse(text, n, what, code, &root, err);
    if (status == CLOZE_OK && !cJSON_IsObject(root))
        status =
            error_set(err, code, "%s: a JSON object {\"label\": [\"word\", ...]} is wanted", what);
    for (const cJSON *item = root ? root->child : NULL; item && status == CLOZE_OK;
         item = item->next) {
        int64_t first = b.n;
        status = parse_json_label(&b, item, what, code, ++order, err);
        for (int64_t i = first; i < b.n; i++)
            b.pairs[i].line = i; /* keeps the order of the words */
    }
    json_destroy(root);
    return builder_finish(&b, status, what, code, notes, err);
}

/* ---- JSON lines: {"label": "101", "label_desc": "news_culture", "label_zh": "文化"} ---- */

/* A label or word as text: a string, or a number as JSON writes it. NULL = neither. */
static const char *json_text(const cJSON *object, const char *key, char number[32]) {
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, key);
    if (cJSON_IsString(value)) return value->valuestring;
    if (!cJSON_IsNumber(value)) return NULL;
    snprintf(number, 32, "%.15g", value->valuedouble);
    return number;
}

static cloze_status parse_label_object(label_builder *b, const char *what, int64_t line,
                                       const cJSON *object, cloze_error *err) {
    static const char *const words[] = {"label_zh", "label_desc", "label_des", "label_name",
                                        "word",     "name",       "desc"};
    char label_number[32], word_number[32];
    const char *name = json_text(object, "label", label_number), *word = NULL;
    for (size_t i = 0; i < sizeof words / sizeof *words && !word; i++)
        word = json_text(object, words[i], word_number);
    if (!name || text_is_blank(name, strlen(name)))
        CLOZE_FAIL(err, DATA, "%s:%lld: the object has no \"label\"", what, (long long)line);
    if (word && text_is_blank(word, strlen(word))) word = NULL;
    return builder_add(b, name, strlen(name), word, word ? strlen(word) : 0, line, err);
}

static cloze_status parse_label_objects(label_builder *b, line_reader *reader, cloze_error *err) {
    for (;;) {
        const char *line;
        size_t n;
        cJSON *object = NULL;
        CLOZE_TRY(line_reader_next(reader, &line, &n, err));
        if (!line) return CLOZE_OK;
        if (text_is_blank(line, n)) continue;
        cloze_error inner = {0};
        cloze_status status = json_parse(line, n, "", CLOZE_ERR_DATA, &object, &inner);
        if (status != CLOZE_OK) /* ":1:column: reason" */
            return error_set(err, status, "%s:%lld:%s", reader->name, (long long)reader->line,
                             inner.message + (strncmp(inner.message, ":1:", 3) == 0 ? 3 : 0));
        status = parse_label_object(b, reader->name, reader->line, object, err);
        json_destroy(object);
        CLOZE_TRY(status);
    }
}

/* True when the first line is an object of its own that tells of one label. */
static bool is_label_objects(const char *text, size_t n) {
    cJSON *object = NULL;
    char number[32];
    const char *end = memchr(text, '\n', n);
    size_t line_n = end ? (size_t)(end - text) : n;
    bool is = json_parse(text, line_n, "", CLOZE_ERR_DATA, &object, NULL) == CLOZE_OK &&
              cJSON_IsObject(object) && json_text(object, "label", number);
    json_destroy(object);
    return is;
}

static cloze_status parse_labels(const char *text, size_t n, const char *what,
                                 cloze_status (*parse)(label_builder *, line_reader *,
                                                       cloze_error *),
                                 label_set *out, buf *notes, cloze_error *err) {
    label_builder b;
    line_reader reader = {0};
    builder_init(&b, out, notes);
    cloze_status status = line_reader_open_memory(&reader, text, n, what, err);
    if (status == CLOZE_OK) status = parse(&b, &reader, err);
    line_reader_close(&reader);
    return builder_finish(&b, status, what, CLOZE_ERR_DATA, notes, err);
}

cloze_status label_set_parse_text(const char *text, size_t n, const char *what, label_set *out,
                                  buf *notes, cloze_error *err) {
    return parse_labels(text, n, what, parse_label_lines, out, notes, err);
}

cloze_status label_set_parse(const char *text, size_t n, const char *what, label_set *out,
                             buf *notes, cloze_error *err) {
    size_t start = n >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
    while (start < n && isspace((unsigned char)text[start])) start++;
    if (start == n || text[start] != '{')
        return label_set_parse_text(text, n, what, out, notes, err);
    if (is_label_objects(text + start, n - start))
        return parse_labels(text, n, what, parse_label_objects, out, notes, err);
    return label_set_parse_json(text, n, what, CLOZE_ERR_DATA, out, notes, err);
}

cloze_status label_set_read(const char *path, label_set *out, buf *notes, cloze_error *err) {
    char *text = NULL;
    size_t n = 0;
    *out = (label_set){0};
    CLOZE_TRY(file_read(path, LABEL_FILE_MAX, CLOZE_ERR_DATA, &text, &n, err));
    cloze_status status = label_set_parse(text, n, path, out, notes, err);
    mem_free(text);
    return status;
}

cloze_status label_set_from_names(const char *const names[], size_t n, label_set *out,
                                  cloze_error *err) {
    label_builder b;
    cloze_status status = CLOZE_OK;
    builder_init(&b, out, NULL);
    for (size_t i = 0; i < n && status == CLOZE_OK; i++)
        status = builder_add(&b, names[i], strlen(names[i]), NULL, 0, (int64_t)i + 1, err);
    return builder_finish(&b, status, "the data", CLOZE_ERR_DATA, NULL, err);
}

void label_set_deinit(label_set *labels) {
    hash_map_deinit(&labels->index);
    arena_deinit(&labels->memory);
    *labels = (label_set){0};
}

int32_t label_set_find(const label_set *labels, const char *name, size_t n) {
    return labels->n == 0 ? -1 : hash_map_get(&labels->index, name, n, -1);
}

/* Code points of text, ASCII letters lowered; 0 when there are more than NAME_MAX_CODE_POINTS. */
static int decode_name(const char *text, size_t n, uint32_t out[NAME_MAX_CODE_POINTS]) {
    int count = 0;
    while (n > 0) {
        int step = utf8_decode(text, n, &out[count]);
        if (step == 0) return 0;
        if (out[count] < 128) out[count] = (uint32_t)tolower((int)out[count]);
        text += step;
        n -= (size_t)step;
        if (++count == NAME_MAX_CODE_POINTS && n > 0) return 0;
    }
    return count;
}

/* Levenshtein distance, one row at a time. */
static int edit_distance(const uint32_t *a, int n_a, const uint32_t *b, int n_b) {
    int row[NAME_MAX_CODE_POINTS + 1];
    for (int j = 0; j <= n_b; j++) row[j] = j;
    for (int i = 1; i <= n_a; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= n_b; j++) {
            int replace = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            int insert = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            row[j] = replace < insert ? replace : insert;
        }
    }
    return row[n_b];
}

/* True when `part` stands at the beginning or end of `whole` (sports in news_sports). */
static bool is_affix(const uint32_t *part, int n_part, const uint32_t *whole, int n_whole) {
    size_t bytes = (size_t)n_part * sizeof *part;
    return n_part >= 2 && n_part <= n_whole &&
           (memcmp(part, whole, bytes) == 0 || memcmp(part, whole + n_whole - n_part, bytes) == 0);
}

const char *label_set_nearest(const label_set *labels, const char *name, size_t n) {
    uint32_t wanted[NAME_MAX_CODE_POINTS], known[NAME_MAX_CODE_POINTS];
    int n_wanted = decode_name(name, n, wanted), best = INT32_MAX;
    const char *nearest = NULL;
    for (int32_t i = 0; i < labels->n && i < HINT_MAX_LABELS && n_wanted > 0; i++) {
        const char *candidate = labels->entries[i].name;
        int n_known = decode_name(candidate, strlen(candidate), known);
        if (n_known == 0) continue;
        int distance = edit_distance(wanted, n_wanted, known, n_known);
        bool near = distance <= 1 + n_known / 4 && distance < n_known && distance < n_wanted;
        if (is_affix(wanted, n_wanted, known, n_known) ||
            is_affix(known, n_known, wanted, n_wanted))
            near = true;
        if (near && distance < best) {
            best = distance;
            nearest = candidate;
        }
    }
    return nearest;
}

void label_set_write_json(const label_set *labels, buf *out) {
    for (int32_t i = 0; i < labels->n; i++) {
        const label_entry *entry = &labels->entries[i];
        buf_puts(out, i == 0 ? "{" : ", ");
        buf_json_string(out, entry->name, strlen(entry->name));
        for (int32_t w = 0; w < entry->n_words; w++) {
            buf_puts(out, w == 0 ? ": [" : ", ");
            buf_json_string(out, entry->words[w], strlen(entry->words[w]));
        }
        buf_puts(out, "]");
    }
    buf_puts(out, labels->n > 0 ? "}" : "{}");
}
