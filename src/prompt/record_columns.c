/* Column names: what data sets in the wild call their fields, most telling names first. */
#include "prompt/record_columns.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define LISTED_NAMES_MAX 300 /* bytes of column names quoted in an error */

/* A text column and the pair column that goes with it. */
static const struct {
    const char *text, *pair;
} TEXT_NAMES[] = {
    {"text_a", "text_b"},
    {"text", "text_b"},
    {"text", "text_pair"},
    {"text1", "text2"},
    {"sentence1", "sentence2"},
    {"sentence_a", "sentence_b"},
    {"premise", "hypothesis"},
    {"question1", "question2"},
    {"question", "passage"},
    {"question", "sentence"},
    {"query", "passage"},
    {"sentence", NULL},
    {"content", NULL},
    {"review", NULL},
    {"review_body", NULL},
    {"headline", NULL},
    {"title", "description"},
    {"title", "abstract"},
    {"title", "content"},
    {"abstract", NULL},
    {"abst", NULL},
    {"medical_abstract", NULL},
    {"description", NULL},
    {"comment", NULL},
    {"tweet", NULL},
    {"document", NULL},
    {"passage", NULL},
    {"body", NULL},
    {"question", NULL},
    {"query", NULL},
    {"title", NULL},
    {"input", NULL},
};
#define N_TEXT_NAMES ((int)(sizeof TEXT_NAMES / sizeof *TEXT_NAMES))

static const char *const LABEL_NAMES[] = {
    "label",     "label_desc", "label_des",   "label_name", "label_text", "labels",
    "class",     "class_name", "class index", "category",   "target",     "condition_label",
    "sentiment", "stars",      "rating",      "intent",     "topic",
};
#define N_LABEL_NAMES ((int)(sizeof LABEL_NAMES / sizeof *LABEL_NAMES))

bool column_is_text(const char *name) {
    for (int i = 0; i < N_TEXT_NAMES; i++)
        if (strcasecmp(TEXT_NAMES[i].text, name) == 0) return true;
    return false;
}

bool column_is_pair(const char *name) {
    for (int i = 0; i < N_TEXT_NAMES; i++)
        if (TEXT_NAMES[i].pair && strcasecmp(TEXT_NAMES[i].pair, name) == 0) return true;
    return false;
}

bool column_is_label(const char *name) {
    for (int i = 0; i < N_LABEL_NAMES; i++)
        if (strcasecmp(LABEL_NAMES[i], name) == 0) return true;
    return false;
}

static int32_t find_name(const char *const names[], int32_t n, const char *wanted) {
    for (int32_t i = 0; i < n; i++)
        if (strcmp(names[i], wanted) == 0) return i;
    for (int32_t i = 0; i < n; i++)
        if (strcasecmp(names[i], wanted) == 0) return i;
    return -1;
}

static cloze_status fail_column(const char *const names[], int32_t n, const char *wanted,
                                const char *flag, const char *what, int64_t line,
                                cloze_error *err) {
    char list[LISTED_NAMES_MAX + 16] = "";
    size_t used = 0;
    for (int32_t i = 0; i < n; i++) {
        size_t length = strlen(names[i]);
        if (used + length + 2 > LISTED_NAMES_MAX) {
            memcpy(list + used, ", ...", 6);
            break;
        }
        if (i > 0) memcpy(list + used, ", ", 2), used += 2;
        memcpy(list + used, names[i], length + 1);
        used += length;
    }
    CLOZE_FAIL(err, DATA, "%s:%lld: no column %s; the columns are: %s; name it with %s", what,
               (long long)line, wanted, list, flag);
}

/* Of two columns with one name nobody can tell which is meant. */
static cloze_status check_unique(const char *const names[], int32_t n, int32_t chosen,
                                 const char *what, int64_t line, cloze_error *err) {
    for (int32_t i = 0; i < n && chosen >= 0; i++)
        if (i != chosen && strcmp(names[i], names[chosen]) == 0)
            CLOZE_FAIL(err, DATA, "%s:%lld: two columns are called \"%.100s\"; rename one of them",
                       what, (long long)line, names[chosen]);
    return CLOZE_OK;
}

/* A named column must be there. */
static cloze_status choose_named(const char *const names[], int32_t n, const char *wanted,
                                 const char *flag, const char *what, int64_t line, int32_t *out,
                                 cloze_error *err) {
    char quoted[128];
    *out = find_name(names, n, wanted);
    if (*out >= 0) return CLOZE_OK;
    snprintf(quoted, sizeof quoted, "\"%s\"", wanted);
    return fail_column(names, n, quoted, flag, what, line, err);
}

/* The common pair of two columns first; a lone text column otherwise. */
static void guess_texts(const char *const names[], int32_t n, const dataset_options *options,
                        column_choice *out) {
    if (options->usual_text_column) out->text = find_name(names, n, options->usual_text_column);
    if (out->text >= 0 && options->usual_text_b_column)
        out->text_b = find_name(names, n, options->usual_text_b_column);
    if (out->text >= 0) return;
    for (int i = 0; i < N_TEXT_NAMES && out->text < 0; i++) {
        int32_t text = find_name(names, n, TEXT_NAMES[i].text);
        int32_t pair = TEXT_NAMES[i].pair ? find_name(names, n, TEXT_NAMES[i].pair) : -1;
        if (text < 0 || (TEXT_NAMES[i].pair && pair < 0)) continue;
        out->text = text;
        out->text_b = pair;
    }
    for (int i = 0; i < N_TEXT_NAMES && out->text < 0; i++)
        out->text = find_name(names, n, TEXT_NAMES[i].text);
}

static int32_t guess_label(const char *const names[], const char *const values[], int32_t n,
                           const label_set *labels) {
    int32_t first = -1;
    for (int i = 0; i < N_LABEL_NAMES; i++) {
        int32_t at = find_name(names, n, LABEL_NAMES[i]);
        if (at < 0) continue;
        if (first < 0) first = at;
        if (values && values[at] && labels &&
            label_set_find(labels, values[at], strlen(values[at])) >= 0)
            return at;
    }
    return first;
}

cloze_status columns_choose(const char *const names[], const char *const values[], int32_t n,
                            const dataset_options *options, const label_set *labels,
                            const char *what, int64_t line, column_choice *out, cloze_error *err) {
    *out = (column_choice){-1, -1, -1};
    if (options->text_column)
        CLOZE_TRY(choose_named(names, n, options->text_column, "--text_column", what, line,
                               &out->text, err));
    else
        guess_texts(names, n, options, out);
    if (options->text_b_column)
        CLOZE_TRY(choose_named(names, n, options->text_b_column, "--text_b_column", what, line,
                               &out->text_b, err));
    if (out->text < 0)
        return fail_column(names, n, "looks like the text", "--text_column", what, line, err);
    CLOZE_TRY(check_unique(names, n, out->text, what, line, err));
    CLOZE_TRY(check_unique(names, n, out->text_b, what, line, err));
    if (options->labelling == DATASET_LABELS_NONE) return CLOZE_OK;
    if (options->label_column)
        out->label = find_name(names, n, options->label_column);
    else
        out->label = guess_label(names, values, n, labels);
    CLOZE_TRY(check_unique(names, n, out->label, what, line, err));
    if (out->label >= 0 || options->labelling == DATASET_LABELS_AUTO) return CLOZE_OK;
    if (options->label_column)
        return choose_named(names, n, options->label_column, "--label_column", what, line,
                            &out->label, err);
    return fail_column(names, n, "looks like the label", "--label_column", what, line, err);
}
