/* covers: src/prompt/dataset.c src/prompt/record_reader.c */
/* dictionary: data.dict */
/* covers: src/prompt/record_columns.c src/prompt/record_json.c src/prompt/record_rows.c */
/* Data files in every format and labelling: the first byte chooses, the rest is the file. */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "prompt/dataset.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *text, size_t n) {
    if (strlen(text) != n || utf8_valid_prefix(text, n) != n) abort();
}

static void check_dataset(const dataset *data, const dataset_options *opts) {
    int64_t line = 0;
    int32_t column = 0;
    if (data->n < 1) abort();
    for (int64_t i = 0; i < data->n; i++) {
        const example *ex = &data->examples[i];
        check_text(ex->text, ex->text_len);
        if (ex->text_b) check_text(ex->text_b, ex->text_b_len);
        if (ex->line < line || (ex->line == line && ex->column <= column)) abort();
        if (ex->label != -1) abort();
        line = ex->line;
        column = ex->column;
        if ((ex->label_name != NULL) != data->labelled) abort();
        if (ex->label_name && !ex->label_name[0]) abort();
    }
    if (opts->labelling == DATASET_LABELS_REQUIRED && !data->labelled) abort();
    if (opts->labelling == DATASET_LABELS_NONE && data->labelled) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const names[] = {"f.txt", "f.csv", "f.jsonl", "f.tsv"};
    if (size == 0) return 0;
    unsigned choice = data[0];
    dataset_options opts = {.labelling = (dataset_labelling)(choice % 3),
                            .format = choice & 64 ? (dataset_format)(choice / 3 % 8) : DATASET_AUTO,
                            .text_column = choice & 128 ? "text" : NULL};
    dataset set;
    label_set labels;
    cloze_error err = {0};
    const char *name = names[choice / 3 % 4];
    cloze_status status =
        dataset_parse((const char *)data + 1, size - 1, name, &opts, NULL, &set, &err);
    if (status == CLOZE_OK) {
        check_dataset(&set, &opts);
        if (set.labelled) {
            if (dataset_collect_labels(&set, &labels, &err) != CLOZE_OK) abort();
            if (dataset_assign_labels(&set, &labels, &err) != CLOZE_OK) abort();
            label_set_deinit(&labels);
        }
    } else if (status != CLOZE_ERR_DATA || !err.message[0] || set.n) {
        abort();
    }
    dataset_deinit(&set);
    return 0;
}
