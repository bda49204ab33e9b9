/* Results for people: the JSON documents of the library as aligned tables. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#define CONFUSION_MAX 20 /* labels of the largest confusion matrix that is printed */
#define NAME_COLUMNS 40

static double number(const cJSON *object, const char *prefix, const char *key, double missing) {
    char name[96];
    snprintf(name, sizeof name, "%s%s", prefix, key);
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsNumber(item) ? item->valuedouble : missing;
}

static bool has(const cJSON *object, const char *prefix, const char *key) {
    char name[96];
    snprintf(name, sizeof name, "%s%s", prefix, key);
    return cJSON_HasObjectItem(object, name);
}

static void print_padded(const char *text, int width) {
    fputs(text, stdout);
    for (int w = text_width(text); w < width; w++) putchar(' ');
}

/* ---- per label ---- */

typedef struct label_row {
    const char *name;
    double precision, recall, f1, support;
    int id;
} label_row;

static int by_support(const void *a, const void *b) {
    const label_row *x = a, *y = b;
    if (x->support != y->support) return x->support < y->support ? 1 : -1;
    return x->id - y->id;
}

/* Rows (n) in label order, free(); widest name in *width. */
static label_row *read_labels(const cJSON *per_label, int *n, int *width) {
    label_row *rows = calloc((size_t)cJSON_GetArraySize(per_label) + 1, sizeof *rows);
    const cJSON *label;
    *n = 0;
    *width = 5;
    if (!rows) return NULL;
    cJSON_ArrayForEach(label, per_label) {
        int columns = text_width(label->string);
        if (columns > *width) *width = columns;
        rows[*n] = (label_row){.name = label->string,
                               .precision = number(label, "", "precision", 0),
                               .recall = number(label, "", "recall", 0),
                               .f1 = number(label, "", "f1", 0),
                               .support = number(label, "", "support", 0),
                               .id = *n};
        (*n)++;
    }
    if (*width > NAME_COLUMNS) *width = NAME_COLUMNS;
    return rows;
}

static void print_labels(const label_row *in_order, int n, int width) {
    label_row *rows = malloc((size_t)(n + 1) * sizeof *rows);
    if (!rows) return;
    memcpy(rows, in_order, (size_t)n * sizeof *rows);
    qsort(rows, (size_t)n, sizeof *rows, by_support);
    putchar('\n');
    print_padded("label", width);
    puts("  precision  recall      f1  support");
    for (int i = 0; i < n; i++) {
        print_padded(rows[i].name, width);
        printf("  %9.4f  %6.4f  %6.4f  %7.0f\n", rows[i].precision, rows[i].recall, rows[i].f1,
               rows[i].support);
    }
    free(rows);
}

/* Columns are as narrow as their numbers allow: fifteen labels fit a terminal of 80. */
static int cell_width(const cJSON *matrix, int n) {
    const cJSON *row, *cell;
    double most = n; /* the heads are numbers of labels */
    cJSON_ArrayForEach(row, matrix) cJSON_ArrayForEach(cell, row) {
        if (cell->valuedouble > most) most = cell->valuedouble;
    }
    return snprintf(NULL, 0, "%.0f", most);
}

static void print_confusion(const cJSON *matrix, const label_row *labels, int n, int width) {
    const cJSON *row, *cell;
    int i = 0, cells = cell_width(matrix, n);
    puts("\nconfusion matrix: a row is the true label, a column the predicted one");
    printf("%*s", width + 4, "");
    for (int c = 0; c < n; c++) printf(" %*d", cells, c + 1);
    putchar('\n');
    cJSON_ArrayForEach(row, matrix) {
        if (i >= n) break;
        printf("%3d ", i + 1);
        print_padded(labels[i++].name, width);
        cJSON_ArrayForEach(cell, row) {
            if (cell->valuedouble == 0)
                printf(" %*s", cells, ".");
            else
                printf(" %*.0f", cells, cell->valuedouble);
        }
        putchar('\n');
    }
}

/* ---- documents ---- */

static cJSON *parse(const char *json) {
    cJSON *document = json ? cJSON_Parse(json) : NULL;
    if (!document && json) fputs(json, stdout); /* better than nothing */
    return document;
}

void report_eval(const char *json) {
    cJSON *r = parse(json);
    if (!r) return;
    printf("accuracy  %.4f\n", number(r, "eval_", "accuracy", 0));
    printf("macro F1  %.4f\n", number(r, "eval_", "macro_f1", 0));
    printf("micro F1  %.4f\n", number(r, "eval_", "micro_f1", 0));
    printf("loss      %.4f\n", number(r, "eval_", "loss", 0));
    const cJSON *per_label = cJSON_GetObjectItemCaseSensitive(r, "eval_per_label");
    const cJSON *matrix = cJSON_GetObjectItemCaseSensitive(r, "eval_confusion_matrix");
    int n, width;
    label_row *labels = read_labels(per_label, &n, &width);
    if (labels && n) {
        print_labels(labels, n, width);
        if (matrix && n <= CONFUSION_MAX) print_confusion(matrix, labels, n, width);
    }
    free(labels);
    cJSON_Delete(r);
}

/* One row of the summary: `key` of the train, eval and test columns that there are. */
static void print_row(const cJSON *r, const char *title, const char *key, const char *format) {
    static const char *const PREFIXES[] = {"train_", "eval_", "test_"};
    printf("%-14s", title);
    for (int i = 0; i < 3; i++) {
        char cell[32] = "";
        if (!has(r, PREFIXES[i], "runtime")) continue;
        if (has(r, PREFIXES[i], key))
            snprintf(cell, sizeof cell, format, number(r, PREFIXES[i], key, 0));
        printf("%10s", cell);
    }
    putchar('\n');
}

void report_train(const char *json) {
    cJSON *r = parse(json);
    if (!r) return;
    if (!has(r, "train_", "runtime") && !has(r, "eval_", "runtime") &&
        !has(r, "test_", "runtime")) {
        cJSON_Delete(r); /* an unlabelled file was labelled: there are no figures */
        return;
    }
    bool evaluated = has(r, "eval_", "accuracy") || has(r, "test_", "accuracy");
    printf("%-14s", "");
    if (has(r, "train_", "runtime")) printf("%10s", "train");
    if (has(r, "eval_", "runtime")) printf("%10s", "eval");
    if (has(r, "test_", "runtime")) printf("%10s", "test");
    putchar('\n');
    if (evaluated) {
        print_row(r, "accuracy", "accuracy", "%.4f");
        print_row(r, "macro F1", "macro_f1", "%.4f");
    }
    print_row(r, "loss", "loss", "%.4f");
    print_row(r, "steps", "steps", "%.0f");
    print_row(r, "samples/s", "samples_per_second", "%.1f");
    print_row(r, "seconds", "runtime", "%.1f");
    cJSON_Delete(r);
}

void report_pretrain(const char *json) {
    cJSON *r = parse(json);
    if (!r) return;
    if (has(r, "eval_", "loss")) {
        printf("held-out loss   %.4f\n", number(r, "eval_", "loss", 0));
        printf("top-1 accuracy  %.4f of %.0f masked tokens\n", number(r, "eval_", "top1", 0),
               number(r, "eval_", "masked_tokens", 0));
        printf("top-5 accuracy  %.4f\n", number(r, "eval_", "top5", 0));
    }
    printf("parameters      %.0f\n", number(r, "", "parameters", 0));
    printf("steps           %.0f (%.0f tokens in %.1f s)\n", number(r, "train_", "steps", 0),
           number(r, "train_", "tokens", 0), number(r, "train_", "runtime", 0));
    cJSON_Delete(r);
}

void report_convert(const char *json) {
    cJSON *r = parse(json);
    if (!r) return;
    const cJSON *dir = cJSON_GetObjectItemCaseSensitive(r, "output_dir");
    const cJSON *format = cJSON_GetObjectItemCaseSensitive(r, "format");
    const cJSON *dtype = cJSON_GetObjectItemCaseSensitive(r, "dtype");
    if (cJSON_IsString(dir) && cJSON_IsString(format) && cJSON_IsString(dtype))
        printf("%s: %s, %s\n", dir->valuestring, format->valuestring, dtype->valuestring);
    printf("tensors         %.0f, each compared with its source\n", number(r, "", "tensors", 0));
    printf("parameters      %.0f in %.1f MB\n", number(r, "", "parameters", 0),
           number(r, "", "bytes", 0) / 1e6);
    cJSON_Delete(r);
}
