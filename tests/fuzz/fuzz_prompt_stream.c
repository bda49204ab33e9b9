/* covers: src/prompt/dataset_stream.c src/prompt/dataset.c src/prompt/line_reader.c */
/* dictionary: data.dict */
/*
 * Data files as predict reads them, one example for each record whatever is in it, and as a run
 * reads them; both must agree on what a labelled file says. The first byte chooses, the rest is the
 * file.
 */
#include "base/utf8.h"
#include "fuzz_files.h"
#include "prompt/dataset.h"

static const char *const names[] = {"f.txt", "f.csv", "f.jsonl", "f.tsv"};

/* All examples of the stream; texts compared where `data` has them. */
static void run_stream(const char *path, const dataset_options *opts, const dataset *data) {
    dataset_stream *stream = NULL;
    cloze_error err = {0};
    example ex;
    int64_t n = 0, line = 0;
    bool done = false;
    cloze_status status = dataset_stream_open(path, opts, &stream, &err);
    while (status == CLOZE_OK) {
        dataset_stream_ready(stream, 0);
        status = dataset_stream_next(stream, &ex, &done, &err);
        if (status != CLOZE_OK || done) break;
        if (ex.line <= line || utf8_valid_prefix(ex.text, ex.text_len) != ex.text_len) abort();
        if (data && n < data->n && data->examples[n].line == ex.line) {
            if (strcmp(data->examples[n].text, ex.text) != 0) abort();
            n++;
        }
        line = ex.line;
    }
    if (status != CLOZE_OK && (err.code != status || !err.message[0])) abort();
    if (status == CLOZE_OK && data && n != data->n) abort(); /* it saw what the run saw */
    dataset_stream_close(stream);
}

/* Labels as a run finds them where there is no label file. */
static void use_labels(dataset *data) {
    label_set labels;
    cloze_error err = {0};
    buf notes;
    buf_init(&notes, (size_t)1 << 24);
    if (dataset_collect_labels(data, &labels, &err) != CLOZE_OK ||
        dataset_assign_labels(data, &labels, &err) != CLOZE_OK)
        abort();
    int64_t *counts = calloc((size_t)labels.n + 1, sizeof *counts);
    if (!counts) abort();
    dataset_count_labels(data, &labels, counts, &notes);
    free(counts);
    buf_deinit(&notes);
    label_set_deinit(&labels);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    unsigned choice = data[0];
    const char *name = names[choice % 4], *path = fuzz_path(name);
    dataset_options opts = {.labelling = DATASET_LABELS_NONE,
                            .text_column = choice & 16 ? "text" : NULL,
                            .text_b_column = choice & 32 ? "b" : NULL,
                            .label_column = choice & 64 ? "class" : NULL};
    dataset set;
    label_set known = {0};
    cloze_error err = {0};
    fuzz_put(name, data + 1, size - 1);
    if (!file_exists(path)) return 0;
    if (dataset_read(path, &opts, NULL, &set, &err) == CLOZE_OK) run_stream(path, &opts, &set);
    else run_stream(path, &opts, NULL);
    dataset_deinit(&set);
    opts.labelling = choice & 4 ? DATASET_LABELS_AUTO : DATASET_LABELS_REQUIRED;
    if (choice & 8 && label_set_parse_text("a\nb==c\nc", 8, "labels", &known, NULL, &err) != CLOZE_OK)
        abort();
    if (dataset_read(path, &opts, choice & 8 ? &known : NULL, &set, &err) == CLOZE_OK && set.labelled)
        use_labels(&set);
    dataset_deinit(&set);
    label_set_deinit(&known);
    return 0;
}
