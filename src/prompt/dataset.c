/* Data sets in memory: records copied into one arena, checked, and their labels looked up. */
#include "prompt/dataset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "prompt/grow.h"
#include "prompt/record_reader.h"

#define TEXT_CHUNK ((size_t)64 << 10)
#define NOTED_LABELS_MAX 10 /* labels without examples that a note names */
#define LISTED_LABELS_BYTES 400

/* Arena blocks are aligned for tensors; strings share chunks instead. */
typedef struct string_pool {
    arena *memory;
    char *chunk;
    size_t left;
} string_pool;

static cloze_status pool_copy(string_pool *pool, const char *text, size_t n, const char **out,
                              cloze_error *err) {
    if (!text) return CLOZE_OK;
    if (n + 1 > pool->left) {
        size_t bytes = n + 1 > TEXT_CHUNK ? n + 1 : TEXT_CHUNK;
        pool->chunk = arena_alloc(pool->memory, bytes);
        pool->left = pool->chunk ? bytes : 0;
        if (!pool->chunk) CLOZE_FAIL(err, MEMORY, "out of memory (data set)");
    }
    memcpy(pool->chunk, text, n);
    pool->chunk[n] = '\0';
    *out = pool->chunk;
    pool->chunk += n + 1;
    pool->left -= n + 1;
    return CLOZE_OK;
}

/* What a labelled or unlabelled record must have. */
static cloze_status check_record(record *rec, dataset_labelling labelling, const char *name,
                                 cloze_error *err) {
    char place[RECORD_PLACE_MAX];
    record_place(place, name, rec->line, rec->column);
    if (labelling == DATASET_LABELS_NONE) return CLOZE_OK;
    if (text_is_blank(rec->text, rec->text_len))
        CLOZE_FAIL(err, DATA, "%s: the text is empty", place);
    if (!rec->label && labelling == DATASET_LABELS_REQUIRED)
        CLOZE_FAIL(err, DATA, "%s: no label", place);
    if (!rec->label) return CLOZE_OK;
    text_trim(&rec->label, &rec->label_len);
    if (rec->label_len == 0) CLOZE_FAIL(err, DATA, "%s: the label is empty", place);
    return CLOZE_OK;
}

static cloze_status add_example(dataset *data, int64_t *cap, string_pool *pool, const record *rec,
                                cloze_error *err) {
    if (data->n >= INT32_MAX)
        CLOZE_FAIL(err, DATA, "%s: more than %d examples", data->path, INT32_MAX);
    GROW_TO(err, data->examples, *cap, data->n + 1);
    example ex = {.text_len = rec->text_len,
                  .text_b_len = rec->text_b_len,
                  .label = -1,
                  .line = rec->line,
                  .column = rec->column};
    CLOZE_TRY(pool_copy(pool, rec->text, rec->text_len, &ex.text, err));
    CLOZE_TRY(pool_copy(pool, rec->text_b, rec->text_b_len, &ex.text_b, err));
    CLOZE_TRY(pool_copy(pool, rec->label, rec->label_len, &ex.label_name, err));
    data->examples[data->n++] = ex;
    return CLOZE_OK;
}

static bool contains(const char *text, size_t n, const char *part) {
    size_t m = strlen(part);
    for (size_t i = 0; i + m <= n; i++)
        if (memcmp(text + i, part, m) == 0) return true;
    return false;
}

/* What people write where a tab belongs. "" = nothing of the kind is there. */
static const char *no_tab_hint(const char *text, size_t n) {
    static const struct {
        const char *found, *hint;
    } hints[] = {
        {"\\t", " (here stand a backslash and a t)"},
        {"\xE3\x80\x80", " (here stands a full-width blank)"},
        {"\xC2\xA0", " (here stands a no-break space)"},
        {"  ", " (here stand blanks)"},
    };
    size_t digits = 0;
    while (digits < n && text[digits] >= '0' && text[digits] <= '9') digits++;
    if ((digits > 0 && digits < n && text[digits] == ' ') ||
        (n > 9 && memcmp(text, "__label__", 9) == 0))
        return "; a label, a blank and the text is --data_format label_text";
    for (size_t i = 0; i < sizeof hints / sizeof *hints; i++)
        if (contains(text, n, hints[i].found)) return hints[i].hint;
    return "";
}

/* All examples have a label or none has. */
static cloze_status check_labelling(dataset *data, cloze_error *err) {
    const example *with = NULL, *without = NULL;
    for (int64_t i = 0; i < data->n && !(with && without); i++) {
        const example *ex = &data->examples[i];
        if (ex->label_name && !with) with = ex;
        if (!ex->label_name && !without) without = ex;
    }
    if (with && without && data->format == DATASET_LINES)
        CLOZE_FAIL(err, DATA,
                   "%s:%lld: no tab, but line %lld has one; either every line is "
                   "text<TAB>label or none is",
                   data->path, (long long)without->line, (long long)with->line);
    if (with && without)
        CLOZE_FAIL(err, DATA, "%s:%lld: no label, but line %lld has one", data->path,
                   (long long)without->line, (long long)with->line);
    data->labelled = with && !without;
    return CLOZE_OK;
}

static cloze_status read_records(record_reader *reader, dataset *data, cloze_error *err) {
    string_pool pool = {.memory = &data->memory};
    dataset_labelling labelling = reader->options.labelling;
    int64_t cap = 0;
    for (;;) {
        record rec;
        bool done = false;
        CLOZE_TRY(record_reader_next(reader, &rec, &done, err));
        if (done) break;
        if (rec.blank) {
            data->blank_lines++;
            continue;
        }
        if (data->format == DATASET_LINES && !rec.label && labelling == DATASET_LABELS_REQUIRED)
            CLOZE_FAIL(err, DATA, "%s:%lld: no tab; a line is text<TAB>label%s", data->path,
                       (long long)rec.line, no_tab_hint(rec.text, rec.text_len));
        CLOZE_TRY(check_record(&rec, labelling, data->path, err));
        CLOZE_TRY(add_example(data, &cap, &pool, &rec, err));
        if (rec.text_b) data->has_text_b = true;
    }
    if (data->n == 0) CLOZE_FAIL(err, DATA, "%s: there is no example in it", data->path);
    CLOZE_TRY(pool_copy(&pool, reader->text_column,
                        reader->text_column ? strlen(reader->text_column) : 0, &data->text_column,
                        err));
    CLOZE_TRY(pool_copy(&pool, reader->text_b_column,
                        reader->text_b_column ? strlen(reader->text_b_column) : 0,
                        &data->text_b_column, err));
    return check_labelling(data, err);
}

static cloze_status read_source(const char *path, const char *text, size_t n, const char *name,
                                const dataset_options *opts, const label_set *labels, dataset *out,
                                cloze_error *err) {
    record_reader reader;
    *out = (dataset){0};
    arena_init(&out->memory, TEXT_CHUNK);
    out->path = arena_strdup(&out->memory, strcmp(name, "-") == 0 ? "standard input" : name);
    cloze_status status =
        out->path ? CLOZE_OK : error_set(err, CLOZE_ERR_MEMORY, "out of memory (data set)");
    if (status == CLOZE_OK)
        status = record_reader_open(&reader, path, text, n, name, opts, labels, err);
    if (status == CLOZE_OK) {
        out->format = reader.format;
        status = read_records(&reader, out, err);
        record_reader_close(&reader);
    }
    if (status == CLOZE_OK && labels && out->labelled)
        status = dataset_assign_labels(out, labels, err);
    if (status != CLOZE_OK) dataset_deinit(out);
    return status;
}

bool dataset_format_from_name(const char *name, dataset_format *out) {
    static const struct {
        const char *name;
        dataset_format format;
    } formats[] = {
        {"auto", DATASET_AUTO},
        {"lines", DATASET_LINES},
        {"tsv", DATASET_TABLE},
        {"jsonl", DATASET_JSONL},
        {"csv", DATASET_CSV},
        {"json", DATASET_JSON_LIST},
        {"label_text", DATASET_LABEL_TEXT},
        {"pairs", DATASET_PAIRS},
    };
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (strcmp(formats[i].name, name) != 0) continue;
        *out = formats[i].format;
        return true;
    }
    return false;
}

cloze_status dataset_read(const char *path, const dataset_options *opts, const label_set *labels,
                          dataset *out, cloze_error *err) {
    return read_source(path, NULL, 0, path, opts, labels, out, err);
}

cloze_status dataset_parse(const char *text, size_t n, const char *what,
                           const dataset_options *opts, const label_set *labels, dataset *out,
                           cloze_error *err) {
    return read_source(NULL, text, n, what, opts, labels, out, err);
}

/* The names of a label set for an error: all of a few, the first ones of many. */
static void list_labels(const label_set *labels, char out[LISTED_LABELS_BYTES]) {
    size_t used = 0;
    out[0] = '\0';
    for (int32_t l = 0; l < labels->n; l++) {
        size_t n = strlen(labels->entries[l].name);
        if (used + n + 40 > LISTED_LABELS_BYTES) {
            snprintf(out + used, LISTED_LABELS_BYTES - used, " and %d more", (int)(labels->n - l));
            return;
        }
        used += (size_t)snprintf(out + used, LISTED_LABELS_BYTES - used, "%s%s", l ? ", " : "",
                                 labels->entries[l].name);
    }
}

static cloze_status fail_unknown(const dataset *data, const example *ex, const label_set *labels,
                                 cloze_error *err) {
    char list[LISTED_LABELS_BYTES], place[RECORD_PLACE_MAX];
    record_place(place, data->path, ex->line, ex->column);
    const char *near = label_set_nearest(labels, ex->label_name, strlen(ex->label_name));
    if (near)
        CLOZE_FAIL(err, DATA, "%s: unknown label \"%.100s\"; is \"%.100s\" meant?", place,
                   ex->label_name, near);
    list_labels(labels, list);
    CLOZE_FAIL(err, DATA, "%s: unknown label \"%.100s\"; the labels are: %s", place, ex->label_name,
               list);
}

cloze_status dataset_assign_labels(dataset *data, const label_set *labels, cloze_error *err) {
    for (int64_t i = 0; i < data->n; i++) {
        example *ex = &data->examples[i];
        if (!ex->label_name) continue;
        ex->label = label_set_find(labels, ex->label_name, strlen(ex->label_name));
        if (ex->label < 0) return fail_unknown(data, ex, labels, err);
    }
    return CLOZE_OK;
}

cloze_status dataset_collect_labels(const dataset *data, label_set *out, cloze_error *err) {
    const char **names;
    *out = (label_set){0};
    MEM_NEW(err, names, data->n);
    hash_map seen = {0};
    int64_t n = 0;
    cloze_status status = hash_map_init(&seen, 64, err);
    for (int64_t i = 0; i < data->n && status == CLOZE_OK; i++) {
        const char *name = data->examples[i].label_name;
        if (!name || hash_map_get(&seen, name, strlen(name), -1) >= 0) continue;
        names[n++] = name;
        status = hash_map_put(&seen, name, strlen(name), 1, err);
    }
    hash_map_deinit(&seen);
    if (status == CLOZE_OK && n == 0)
        status = error_set(err, CLOZE_ERR_DATA, "%s: no example has a label", data->path);
    if (status == CLOZE_OK) status = label_set_from_names(names, (size_t)n, out, err);
    mem_free(names);
    return status;
}

void dataset_count_labels(const dataset *data, const label_set *labels, int64_t *counts,
                          buf *notes) {
    int32_t n_without = 0;
    for (int32_t l = 0; l < labels->n; l++) counts[l] = 0;
    for (int64_t i = 0; i < data->n; i++)
        if (data->examples[i].label >= 0) counts[data->examples[i].label]++;
    if (!notes) return;
    for (int32_t l = 0; l < labels->n && data->labelled; l++) {
        if (counts[l] > 0) continue;
        if (n_without == 0) buf_printf(notes, "%s: no example of", data->path);
        if (n_without < NOTED_LABELS_MAX)
            buf_printf(notes, "%s \"%s\"", n_without ? "," : "", labels->entries[l].name);
        n_without++;
    }
    if (n_without > NOTED_LABELS_MAX)
        buf_printf(notes, " and %d more labels", (int)(n_without - NOTED_LABELS_MAX));
    if (n_without > 0) buf_puts(notes, "\n");
    if (data->blank_lines > 0)
        buf_printf(notes, "%s: %lld blank line%s skipped\n", data->path,
                   (long long)data->blank_lines, data->blank_lines == 1 ? "" : "s");
}

void dataset_deinit(dataset *data) {
    mem_free(data->examples);
    arena_deinit(&data->memory);
    *data = (dataset){0};
}
